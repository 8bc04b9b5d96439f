"""Measured figures, and how to repeat them: `make bench`."""
