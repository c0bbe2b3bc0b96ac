"""Mean and standard deviation of CLIP's training pixels, as in the transform of ``clip.load``."""

__all__ = ['MEAN', 'STD']

MEAN = (0.48145466, 0.4578275, 0.40821073)  # RGB in [0, 1]
STD = (0.26862954, 0.26130258, 0.27577711)
