"""Helpers that know nothing of detection or CLIP: files, command line, errors, memory."""
