"""CLIP's weights: where they are, and reading them without running what the file holds."""
