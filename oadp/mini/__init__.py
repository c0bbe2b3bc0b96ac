"""The embedded benchmark: a small drawn world in which the method can be seen to work.

``python -m oadp.mini`` makes the world and a small CLIP, then runs the commands that a COCO user
types, with the configs under ``configs/mini/``.
"""
