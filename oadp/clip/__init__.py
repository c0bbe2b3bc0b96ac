"""CLIP: load its weights without running code of the file, and encode texts."""
