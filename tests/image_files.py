"""Image files of many formats, valid and broken, and the pixels or the error expected of each."""

import pathlib
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image

RGB = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
GREY = RGB[..., 0]
SMOOTH = np.repeat(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], 48, 0).repeat(3, 2)
TALL = np.repeat(np.arange(64, dtype=np.uint8)[:, None, None], 48, 1).repeat(3, 2)


def _saved(pixels: np.ndarray, suffix: str, **options: Any) -> Callable[[pathlib.Path], Any]:
    def write(folder: pathlib.Path) -> pathlib.Path:
        path = folder / f'a{suffix}'
        mode = options.pop('mode', None)
        image = PIL.Image.fromarray(pixels)
        (image.convert(mode) if mode else image).save(path, **options)
        return path

    return write


def _turned(orientation: int, suffix: str) -> Callable[[pathlib.Path], Any]:
    def write(folder: pathlib.Path) -> pathlib.Path:
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        path = folder / f'a{suffix}'
        PIL.Image.fromarray(RGB).save(path, exif=exif)
        return path

    return write


def _transparent(folder: pathlib.Path) -> pathlib.Path:
    alpha = np.full((48, 64, 1), 7, np.uint8)
    PIL.Image.fromarray(np.concatenate([RGB, alpha], axis=2)).save(folder / 'a.png')
    return folder / 'a.png'


def _palette(folder: pathlib.Path) -> pathlib.Path:
    image = PIL.Image.fromarray(GREY % 8, mode='P')
    image.putpalette([i * 10 for i in range(24)])
    image.save(folder / 'a.png', transparency=bytes([0, 128]))
    return folder / 'a.png'


def _animated(folder: pathlib.Path) -> pathlib.Path:
    frames = [PIL.Image.fromarray(pixels) for pixels in (RGB, 255 - RGB)]
    frames[0].save(folder / 'a.png', save_all=True, append_images=frames[1:])
    return folder / 'a.png'


def _bytes(name: str, content: bytes) -> Callable[[pathlib.Path], pathlib.Path]:
    def write(folder: pathlib.Path) -> pathlib.Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def _truncated(suffix: str) -> Callable[[pathlib.Path], pathlib.Path]:
    def write(folder: pathlib.Path) -> pathlib.Path:
        path = _saved(RGB, suffix)(folder)
        path.write_bytes(path.read_bytes()[:-600])
        return path

    return write


def _broken_exif(folder: pathlib.Path) -> pathlib.Path:
    path = _saved(SMOOTH, '.jpg', quality=100, exif=b'Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff\x01')(
        folder
    )
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG file that claims a size and has hardly a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'\0' * 99))


def _folder(folder: pathlib.Path) -> pathlib.Path:
    (folder / 'a.jpg').mkdir()
    return folder / 'a.jpg'


READABLE = {
    'PNG': (_saved(RGB, '.png'), RGB),
    'BMP': (_saved(RGB, '.bmp'), RGB),
    'TIFF': (_saved(RGB, '.tif'), RGB),
    'WebP': (_saved(RGB, '.webp', lossless=True), RGB),
    'grey': (_saved(GREY, '.png'), GREY[..., None].repeat(3, 2)),
    '16 bits': (
        _saved(GREY.astype(np.uint16) * 256 + 200, '.png'),
        GREY[..., None].repeat(3, 2),
    ),
    'alpha': (_transparent, RGB),
    'palette with transparency': (
        _palette,
        np.array([i * 10 for i in range(24)], np.uint8).reshape(8, 3)[GREY % 8],
    ),
    'animated': (_animated, RGB),
    'turned PNG': (_turned(6, '.png'), np.rot90(RGB, -1)),
    'turned TIFF': (_turned(6, '.tif'), np.rot90(RGB, -1)),
    'upside down': (_turned(3, '.png'), np.rot90(RGB, 2)),
    'mirrored': (_turned(2, '.png'), RGB[:, ::-1]),
    'mirrored and turned': (_turned(5, '.png'), RGB.transpose(1, 0, 2)),
    'orientation of 9': (_turned(9, '.png'), RGB),
    'strip': (_saved(TALL[:1].repeat(5000, 0)[:, :1], '.png'), TALL[:1].repeat(5000, 0)[:, :1]),
}
"""Name to what writes the file, and its pixels: (h, w, 3) uint8, RGB."""

NEARLY = {
    'JPEG': (_saved(SMOOTH, '.jpg', quality=100), SMOOTH),
    'broken EXIF': (_broken_exif, SMOOTH),
    'CMYK': (_saved(SMOOTH, '.jpg', mode='CMYK', quality=100), SMOOTH),
}
"""The same, of files that lose a little."""

UNREADABLE = {
    'truncated JPEG': (_truncated('.jpg'), 'a.jpg: not a readable image .*truncated'),
    'truncated PNG': (_truncated('.png'), 'a.png: not a readable image'),
    'empty': (_bytes('a.jpg', b''), 'a.jpg: not a readable image .the file is empty'),
    'text': (_bytes('a.jpg', b'no image\n'), 'a.jpg: not a readable image .of no known format'),
    'a folder': (_folder, 'a.jpg: not a readable image .Is a directory'),
    'decompression bomb': (_bytes('a.png', png_header(60000, 60000)), 'a.png: .*pixels'),
    '32 bits': (_saved(RGB[..., 0].astype(np.float32), '.tif'), 'a.tif: .*32-bit samples'),
}
"""Name to what writes the file, and what the error says."""
