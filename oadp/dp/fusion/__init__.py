"""Fuse the scores of the box head and the object head, and search for better parameters."""
