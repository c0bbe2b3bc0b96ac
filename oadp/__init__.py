"""Object-Aware Distillation Pyramid for open-vocabulary object detection (CVPR 2023)."""

__version__ = '0.1.0'
