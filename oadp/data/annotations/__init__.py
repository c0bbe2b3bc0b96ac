"""Annotation files in COCO's and LVIS's format, and the checks they pass before use."""
