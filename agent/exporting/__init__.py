"""Hands one study over without its patient: its images, what was made of them, and how that came to be."""
