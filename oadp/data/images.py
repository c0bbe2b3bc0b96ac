"""Pictures from the outside: found by path, folder or pattern, read with care.

People point at whatever they have, so each path is looked at on its own, and what cannot be read is
told from what can.
"""

__all__ = ['Image', 'SUFFIXES', 'find_images', 'read_image', 'to_array']

import glob
import os
import pathlib
from collections.abc import Iterable

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps

Image = str | os.PathLike | np.ndarray | PIL.Image.Image
"""A file, an (h, w, 3) uint8 array in the order RGB, or a PIL image."""

SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
"""What is taken for a picture in a folder."""


def find_images(patterns: Iterable[str | os.PathLike]) -> tuple[list[pathlib.Path], list[str]]:
    """Find pictures.

    Args:
        patterns: files, folders (the pictures right in them), and patterns with ``*``, ``?``, ``[]``
            or ``**``, for shells that leave these to the program.

    Returns:
        Paths in the order given, sorted within a folder or pattern, each once; and a sentence for
        each pattern that gave none. A file that is named is taken for a picture whatever its suffix.
    """
    found: dict[pathlib.Path, None] = {}
    faults = []
    for pattern in map(os.fspath, patterns):
        path = pathlib.Path(pattern)
        if path.is_file():
            matches = [path]
        elif path.is_dir():
            matches = _pictures(path.iterdir())
        else:
            matches = _pictures(map(pathlib.Path, glob.glob(pattern, recursive=True)))
        if not matches:
            is_pattern = path.is_dir() or glob.has_magic(pattern)
            faults.append(f'{pattern}: no picture' if is_pattern else f'{pattern}: no such file')
        found.update(dict.fromkeys(matches))
    return list(found), faults


def _pictures(paths: Iterable[pathlib.Path]) -> list[pathlib.Path]:
    return sorted(p for p in paths if p.suffix.lower() in SUFFIXES and p.is_file())


def read_image(path: str | os.PathLike, max_pixels: int | None = None) -> np.ndarray:
    """Read a picture as the detector was trained to see it: by OpenCV, turned as its EXIF data say.

    Args:
        path: the file.
        max_pixels: refuse larger ones before they are unpacked.

    Returns:
        (h, w, 3) uint8, RGB.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, cut off, or too large.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such picture')
    try:
        with PIL.Image.open(path) as image:
            if max_pixels is not None and image.width * image.height > max_pixels:
                raise ValueError(f'{image.width} × {image.height}, more than {max_pixels} pixels')
            image.load()  # OpenCV fills with grey what a cut-off file lacks, without a word.
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as e:
        raise ValueError(f'{path}: not a readable picture ({e})') from e
    bgr = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f'{path}: a picture of a kind that OpenCV does not read')
    return np.ascontiguousarray(bgr[..., ::-1])


def to_array(image: Image) -> np.ndarray:
    """Any picture to an (h, w, 3) uint8 array, RGB.

    Raises:
        FileNotFoundError, ValueError, TypeError: it is none.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
    if isinstance(image, PIL.Image.Image):
        return np.asarray(PIL.ImageOps.exif_transpose(image).convert('RGB'))
    if not isinstance(image, np.ndarray):
        raise TypeError(f'expected a path, a PIL image or an array, found {type(image).__name__}')
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(
            f'expected an (h, w, 3) uint8 array, RGB; found {image.shape} {image.dtype}'
        )
    return image
