"""The package ``oadp``. Ranges here, the tested versions in requirements.txt."""

import pathlib
import re

from setuptools import find_packages, setup

# The lower ends are those of the paper's authors (mmcv-full 1.7.0, mmdet 2.25.2), but for torch: 1.13 is
# the first that reads a file without running code that is in it.
REQUIRES = [
    'clip-anytorch>=2.5',
    'hotcoco>=1.3,<2',
    'lmdb>=1.3',
    'lvis>=0.5.3',
    'matplotlib>=3.5',
    'mmcv-full>=1.7.0,<1.8',
    'mmdet>=2.25.2,<3',
    'numpy>=1.22,<2',
    'opencv-python<5',
    'packaging',
    'pillow',
    'platformdirs',
    'pycocotools>=2.0.4',
    'rich>=12',
    'safetensors>=0.4',
    'scikit-learn>=1.1.3',
    'setuptools<70',
    'supervision>=0.20',
    'tensorboard>=2.9',
    'todd_ai>=0.3.0,<0.4',
    'torch>=1.13',
    'torchvision>=0.14',
    'tqdm>=4.60',
    'yapf<0.40.2',
]

EXTRAS = {
    'dev': [
        'hypothesis>=6',
        'ipykernel>=6',
        'nbclient>=0.8',
        'nbformat>=5',
        'pytest>=7',
        'pytest-timeout>=2',
        'pytest-xdist>=3',
        'ruff>=0.6',
        'seaborn>=0.12',
        'selenium>=4.20',
    ],
    'export': [
        'ftfy>=6',
        'ml_dtypes<0.6',
        'onnx>=1.15',
        'onnxruntime>=1.17',
        'tokenizers>=0.15',
    ],
    'hub': ['huggingface_hub>=0.30'],
    'nni': ['filelock<3.12', 'nni>=3.0'],
    'web': ['gradio>=6.31,<7'],
}


def _read(name: str) -> str:
    return (pathlib.Path(__file__).parent / name).read_text(encoding='utf-8')


setup(
    name='oadp',
    version=re.search(r"__version__ = '(.+)'", _read('oadp/__init__.py'))[1],
    description='Object-Aware Distillation Pyramid for open-vocabulary object detection',
    license='Apache-2.0',
    python_requires='>=3.10,<3.13',
    packages=find_packages(include=['oadp', 'oadp.*']),
    package_data={'': ['*.json']},
    install_requires=REQUIRES,
    extras_require=EXTRAS,
)
