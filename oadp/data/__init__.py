"""Data files: annotations, images, features and prompts, and the checks they pass before use."""
