"""The embedded benchmark: a small synthetic dataset on which the method can be run end to end.

``python -m oadp.mini`` draws the dataset, trains a small CLIP, and then runs the same commands as for
COCO, with the configs under ``configs/mini/``.
"""
