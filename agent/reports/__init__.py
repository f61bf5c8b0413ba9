"""Reports of other systems: taken in from messages and files, and matched to the studies they belong to."""
