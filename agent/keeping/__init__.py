"""Keeping and forgetting: what is deleted and when, backups, and what an operator does with one study."""
