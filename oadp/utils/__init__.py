"""Helpers that know nothing of detection or CLIP."""
