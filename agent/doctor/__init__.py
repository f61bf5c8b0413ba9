"""`preread doctor`: is everything that preread stands on as it should be? Probes look, judgements say what to do."""
