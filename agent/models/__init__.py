"""`preread models`: which there are, how to get one, and whether it is what it should be."""
