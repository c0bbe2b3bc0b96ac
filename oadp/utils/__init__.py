"""Helpers that are independent of detection and CLIP: files, command line, errors, memory."""
