"""Check that the images of an annotation file exist, and have the sizes in the file."""

__all__ = ['check_image_files', 'oriented_size']

import os
import pathlib
import warnings
from collections.abc import Iterable
from typing import Any

from PIL import Image

from oadp.data.annotations.findings import Findings
from oadp.data.annotations.lists import image_name

_ORIENTATION = 0x0112
_TURNED_BY_A_QUARTER = (5, 6, 7, 8)


def oriented_size(path: str | os.PathLike) -> tuple[int, int]:
    """Read the width and height of an image after its EXIF orientation.

    Only the header is read.

    Raises:
        FileNotFoundError: no such image.
        ValueError: not a readable image.
    """
    path = pathlib.Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                'ignore'
            )  # about large images and invalid metadata, which do not matter here
            with Image.open(path) as image:
                width, height = image.size
                turned = image.getexif().get(_ORIENTATION) in _TURNED_BY_A_QUARTER
    except (FileNotFoundError, NotADirectoryError):  # the latter if a folder in the path is a file
        raise FileNotFoundError(f'{path}: no such image') from None
    except Exception as e:  # Pillow raises errors of many kinds for damaged headers
        raise ValueError(f'{path}: not a readable image ({type(e).__name__}: {e})') from e
    return (height, width) if turned else (width, height)


def check_image_files(
    images: Iterable[dict[str, Any]], folder: str | os.PathLike, errors: Findings
) -> None:
    """Compare the image records of an annotation file with the image files.

    Args:
        images: image records.
        folder: folder of the images.
        errors: faults are added to these.

    Raises:
        FileNotFoundError: no such folder.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: no such folder of images')
    for image in images:
        try:
            name = image_name(image)
        except (KeyError, AttributeError):
            continue  # without a name, which is already an error
        try:
            size = oriented_size(folder / name)
        except FileNotFoundError:
            errors.add(f'images that are not in {folder}', 'correct names or folder', 1, [name])
        except ValueError:
            errors.add(f'files in {folder} that are no readable images', 'replace', 1, [name])
        else:
            said = image.get('width'), image.get('height')
            if said != (None, None) and said != size:
                example = f'{name}: {said[0]} × {said[1]}, is {size[0]} × {size[1]}'
                advice = 'correct width and height, which are those after the EXIF orientation'
                errors.add('images of other sizes than the file says', advice, 1, [example])
