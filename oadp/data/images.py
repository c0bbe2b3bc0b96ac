"""Read images, for OAKE, training, test, proposals, detection and the web page.

All commands read the same pixels of a file, or raise the same error. Pillow decodes the files: for 8-bit
JPEG, PNG, BMP, TIFF and WebP files it returns the same bytes as OpenCV (``tests/data/test_images.py``), and
it detects truncated files, which OpenCV fills with gray. The header is checked before any pixel is decoded,
so a wrong size needs no memory.
"""

__all__ = [
    'MAX_PIXELS',
    'SUFFIXES',
    'Image',
    'decode_image',
    'find_images',
    'read_image',
    'read_pil_image',
    'to_array',
]

import glob
import io
import os
import pathlib
from collections.abc import Iterable
from typing import IO

import numpy as np
import PIL.Image

Image = str | os.PathLike | np.ndarray | PIL.Image.Image
"""A file, an (h, w, 3) uint8 array in the order RGB, or a PIL image."""

SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
"""Suffixes of the files that are treated as images in a folder."""

MAX_PIXELS = 178_956_970
"""Maximum number of pixels, as in Pillow (0.5 GB of RGB): a larger file may be made to exhaust the memory."""

_ORIENTATION = 0x0112  # EXIF's tag
_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
"""EXIF orientation to the operation that turns the stored image upright; 1 needs none."""

_WIDE_INTEGERS = ('PNG', 'PPM')
"""Formats whose 16-bit samples some versions of Pillow return as 32-bit integers (mode ``I``)."""


def find_images(patterns: Iterable[str | os.PathLike]) -> tuple[list[pathlib.Path], list[str]]:
    """Find images.

    Args:
        patterns: files, folders (images directly in them), and patterns with ``*``, ``?``, ``[]`` or
            ``**``, for shells that do not expand patterns.

    Returns:
        Paths in the given order, sorted within a folder or pattern, without duplicates; and a message
        for each pattern without an image. A file given by name may have any suffix.
    """
    found: dict[pathlib.Path, None] = {}
    faults = []
    for pattern in [os.fspath(p) for p in patterns]:
        path = pathlib.Path(pattern)
        if path.is_file():
            matches = [path]
        elif path.is_dir():
            matches = _images(path.iterdir())
        else:
            matches = _images(map(pathlib.Path, glob.glob(pattern, recursive=True)))
        if not matches:
            is_pattern = path.is_dir() or glob.has_magic(pattern)
            faults.append(f'{pattern}: no image' if is_pattern else f'{pattern}: no such file')
        found.update(dict.fromkeys(matches))
    return list(found), faults


def _images(paths: Iterable[pathlib.Path]) -> list[pathlib.Path]:
    return sorted(p for p in paths if p.suffix.lower() in SUFFIXES and p.is_file())


def read_image(
    path: str | os.PathLike,
    size_wh: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Read an image as displayed: with its EXIF orientation, in 8 bits, without transparency.

    The first frame or page of a file is read. 16-bit samples are reduced to their upper 8 bits.

    Args:
        path: the file.
        size_wh: expected width and height as displayed, for example from an annotation; None to
            accept any.
        max_pixels: larger images are rejected before they are decoded.

    Returns:
        (h, w, 3) uint8, RGB, writable.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image, truncated, too large, or of another size; the message names the file.
    """
    return np.array(read_pil_image(path, size_wh, max_pixels))


def read_pil_image(
    path: str | os.PathLike,
    size_wh: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> PIL.Image.Image:
    """Read an image as ``read_image`` does, as a PIL image of mode RGB."""
    try:
        with open(path, 'rb') as file:
            return _read(file, os.fspath(path), size_wh, max_pixels)
    except (
        FileNotFoundError,
        NotADirectoryError,
    ) as e:  # the latter if a folder in the path is a file
        raise FileNotFoundError(
            f'{os.fspath(path)}: no such image; "Datasets" of the README says where those of a '
            'dataset belong'
        ) from e
    except OSError as e:
        raise ValueError(f'{os.fspath(path)}: not a readable image ({e.strerror})') from e


def decode_image(
    data: bytes, name: str, size_wh: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decode an image in memory as ``read_image`` does.

    Args:
        data: content of the file.
        name: name of the file, for errors.
        size_wh: see ``read_image``.
        max_pixels: see ``read_image``.
    """
    return np.array(_read(io.BytesIO(data), name, size_wh, max_pixels))


def to_array(image: Image) -> np.ndarray:
    """Convert any image to an (h, w, 3) uint8 array, RGB.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a readable image, or an array of another shape or type.
        TypeError: neither a path, a PIL image nor an array.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
    if isinstance(image, PIL.Image.Image):
        return np.array(_unpack(image, 'the image', None, MAX_PIXELS))
    if not isinstance(image, np.ndarray):
        raise TypeError(f'expected a path, a PIL image or an array, found {type(image).__name__}')
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(
            f'expected an (h, w, 3) uint8 array, RGB; found {image.shape} {image.dtype}'
        )
    return image


def _read(
    file: IO[bytes], name: str, size_wh: tuple[int, int] | None, max_pixels: int
) -> PIL.Image.Image:
    if not file.read(1):
        raise ValueError(f'{name}: not a readable image (the file is empty)')
    file.seek(0)
    try:
        image = PIL.Image.open(file)
    except MemoryError:
        raise
    except PIL.UnidentifiedImageError as e:
        raise ValueError(f'{name}: not a readable image (of no known format)') from e
    except Exception as e:  # Pillow raises errors of many kinds for damaged headers
        raise ValueError(f'{name}: not a readable image ({_one_line(e)})') from e
    with image:
        return _unpack(image, name, size_wh, max_pixels)


def _unpack(
    image: PIL.Image.Image, name: str, size_wh: tuple[int, int] | None, max_pixels: int
) -> PIL.Image.Image:
    width, height = image.size
    if width * height > max_pixels:
        raise ValueError(
            f'{name}: {width} × {height} pixels, more than the {max_pixels} of the largest image that '
            'is taken here; make it smaller'
        )
    if not width or not height:
        raise ValueError(f'{name}: not a readable image ({width} × {height} pixels)')
    # For some formats, the orientation is known only after decoding.
    if size_wh is not None and {*size_wh} != {width, height}:
        raise _size_error(name, image, size_wh)
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as e:  # Pillow raises errors of many kinds for damaged data
        raise ValueError(f'{name}: not a readable image ({_one_line(e)})') from e
    rgb = _to_rgb(image, name)
    turn = _TURNS.get(_orientation(image))
    if turn is not None:
        rgb = rgb.transpose(turn)
    if size_wh is not None and tuple(size_wh) != rgb.size:
        raise _size_error(name, rgb, size_wh, is_turned=turn is not None)
    return rgb


def _size_error(
    name: str, image: PIL.Image.Image, size_wh: tuple[int, int], is_turned: bool = False
) -> ValueError:
    turned = ', turned as its EXIF data say,' if is_turned else ''
    return ValueError(
        f'{name}: the image{turned} has {image.width} × {image.height} pixels, and its annotation '
        f'says {size_wh[0]} × {size_wh[1]}: correct width and height in the annotation file, or '
        'get the image that was annotated'
    )


def _to_rgb(image: PIL.Image.Image, name: str) -> PIL.Image.Image:
    """Convert to 8 bits per sample and three samples per pixel, dropping transparency as OpenCV does."""
    if image.mode.startswith('I;16') or (image.mode == 'I' and image.format in _WIDE_INTEGERS):
        samples = np.asarray(image).clip(0, 0xFFFF)
        return PIL.Image.fromarray((samples >> 8).astype(np.uint8)).convert('RGB')
    if image.mode in ('I', 'F'):
        raise ValueError(
            f'{name}: not a readable image (32-bit samples, of which it is not known what is '
            'white; convert it to 8 bits a sample)'
        )
    if image.mode == 'P':
        image = image.convert('RGBA')  # avoids Pillow's warning about the transparency of a palette
    return image.convert('RGB')


def _orientation(image: PIL.Image.Image) -> int:
    """Return the EXIF orientation. Pillow has applied and removed that of a TIFF file."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken EXIF data, which viewers and OpenCV ignore too
        return 1


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
