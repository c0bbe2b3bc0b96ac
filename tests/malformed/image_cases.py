"""Image files of every kind, given to the commands that read images."""

__all__ = ['CASES']

import json
import pathlib
from collections.abc import Callable

import PIL.Image
from image_files import NEARLY, READABLE, UNREADABLE, png_header
from malformed.harness import Case, Fails, Passes
from malformed.making import both, edit, nothing, put

BAD = '000000000022'
GOOD = '000000000021'
DETECT = [
    'ov_coco.py',
    'w.pth',
    'pics',
    '--device',
    'cpu',
    '--score-threshold',
    '0',
    '--output',
    'out',
]
TEST = ['ov_coco.py', 'w.pth', '--out', 'out.pkl']
PROPOSALS = ['ov_coco.py', 'w.pth', '--annotations', 'val.json', '--out', 'p.pkl', '--workers', '0']


def _pictures(kind: Callable | None = None) -> Callable[[], None]:
    """A folder with good images, and the file that ``kind`` writes, if any."""

    def make() -> None:
        folder = pathlib.Path('pics')
        folder.mkdir()
        for name in ('b', 'z'):
            (folder / f'{name}.png').write_bytes(
                pathlib.Path(f'images/val/{GOOD}.png').read_bytes()
            )
        if kind is not None:
            kind(folder)

    return make


def _image_of_val(
    kind: Callable[[pathlib.Path], pathlib.Path], with_size: bool = True
) -> Callable[[], None]:
    """Let the second validation image be what ``kind`` writes, annotated with its size or another."""

    def make() -> None:
        folder = pathlib.Path('images/val')
        (folder / f'{BAD}.png').unlink()
        name = kind(folder).name

        def change(data: dict) -> None:
            data['images'][1]['file_name'] = name
            if with_size:
                data['images'][1].update(width=64, height=48)

        edit('val.json', change)()

    return make


def _detected(*names: str) -> Callable[[], bool]:
    def check() -> bool:
        rows = json.loads(pathlib.Path('out/detections.json').read_text())
        return {f'pics/{name}' for name in names} <= {row['file_name'] for row in rows}

    return check


def _extracted(num: int) -> Callable[[], bool]:
    return lambda: len(list(pathlib.Path('out/globals/val').glob('*.pth'))) == num


def _unreadable() -> list[Case]:
    cases = []
    for name, (write, message) in UNREADABLE.items():
        if (
            name == 'a folder'
        ):  # in a folder of images it is no image; the annotations name it below
            continue
        cases.append(
            Case(f'image: {name}: detect', _pictures(write), 'detect', DETECT,
                 Fails(message.replace('a\\.', 'pics/a.'), check=_detected('b.png', 'z.png')))
        )  # fmt: skip
    for name, (write, message) in UNREADABLE.items():
        make = _image_of_val(write)
        cases += [
            Case(f'image: {name}: dp.test', make, 'dp.test', TEST, Fails(message)),
            Case(f'image: {name}: oake.globals', make, 'oake.globals', ['t', 'oake_globals.py'],
                 Fails(message, check=_extracted(4))),
        ]  # fmt: skip
    for name in ('truncated JPEG', 'decompression bomb'):
        write, message = UNREADABLE[name]
        cases += [
            Case(f'image: {name}: proposals', _image_of_val(write), 'proposals', PROPOSALS, Fails(message)),
            Case(f'image: {name}: oake.blocks', _image_of_val(write), 'oake.blocks', ['t', 'oake_blocks.py'], Fails(message)),
        ]  # fmt: skip
    return cases


def _readable() -> list[Case]:
    kinds = {**READABLE, **NEARLY}
    chosen = (
        '16 bits',
        'palette with transparency',
        'alpha',
        'animated',
        'turned PNG',
        'CMYK',
        'broken EXIF',
        'strip',
    )
    cases = []
    for name in chosen:
        write = kinds[name][0]
        suffix = '.jpg' if name in NEARLY else '.png'
        cases.append(
            Case(f'image: {name}: detect', _pictures(write), 'detect', DETECT,
                 Passes('', _detected('b.png', 'z.png')) if name != 'strip'
                 else Fails('5000', check=_detected('b.png', 'z.png')))
        )  # fmt: skip
        if name != 'strip':  # the size of these is not that of the annotation
            cases.append(
                Case(f'image: {name}, of another size than the annotation: dp.test', _image_of_val(write, False), 'dp.test', TEST,
                     Fails(f'a{suffix}.*(64 × 48|48 × 64)'))
            )  # fmt: skip
    return cases


def _save(name: str, size: tuple[int, int], **options) -> Callable[[pathlib.Path], None]:
    return lambda folder: PIL.Image.new('RGB', size, 'red').save(folder / name, **options)


LONG_NAME = '图' * 83 + '.png'
NAMES_AND_SIZES = [
    Case('image: a name of 83 Chinese characters: detect', _pictures(_save(LONG_NAME, (60, 40))), 'detect', DETECT,
         Passes('', _detected('b.png', 'z.png', LONG_NAME))),
    Case('image: 600 × 66000: detect', _pictures(_save('m.png', (600, 66000))), 'detect', DETECT,
         Passes('', _detected('b.png', 'z.png'))),
    Case('image: 2 × 5000: detect', _pictures(_save('m.png', (2, 5000))), 'detect', DETECT,
         Fails('m.png', check=_detected('b.png', 'z.png'))),
    Case('image: one pixel: detect', _pictures(_save('m.png', (1, 1))), 'detect', DETECT,
         Passes('', _detected('b.png', 'z.png'))),
    Case('image: two of one stem: detect', _pictures(_save('b.bmp', (60, 40))), 'detect', DETECT,
         Passes('', lambda: len(list(pathlib.Path('out').glob('b*.jpg'))) == 2)),
    Case('image: missing: detect', _pictures(), 'detect', [*DETECT, 'gone.jpg'], Fails('gone.jpg: no such', check=_detected('b.png', 'z.png'))),
    Case('image: an empty pattern: detect', _pictures(), 'detect', [*DETECT, 'pics/*.webp'],
         Fails(r'pics/\*.webp: no image', check=_detected('b.png', 'z.png'))),
    Case('image: missing: dp.test', lambda: pathlib.Path(f'images/val/{BAD}.png').unlink(), 'dp.test', TEST, Fails(f'{BAD}.png: no such image')),
    Case('image: missing: dp.train', lambda: [p.unlink() for p in pathlib.Path('images/train').iterdir()], 'dp.train', ['t', 'ov_coco.py'],
         Fails('.png: no such image')),
    Case('image: missing: oake.objects', lambda: pathlib.Path(f'images/val/{BAD}.png').unlink(), 'oake.objects', ['t', 'oake_objects.py'],
         Fails(f'{BAD}.png: no such image')),
    Case('image: no folder: oake.globals', nothing, 'oake.globals', ['t', 'oake_globals.py', '--override', '.val.dataloader.dataset.root::gone'],
         Fails('gone: no such folder')),
    Case('image: a bomb beside an annotation of its size: oake.globals',
         both(put(f'images/val/{BAD}.png', png_header(30000, 30000)),
              edit('val.json', lambda d: d['images'][1].update(width=30000, height=30000))),
         'oake.globals', ['t', 'oake_globals.py'], Fails(f'{BAD}.png', check=_extracted(4))),
    Case('image: an image too large to encode at its size: oake.globals',
         both(lambda: PIL.Image.new('RGB', (5000, 4000)).save(f'images/val/{BAD}.png'),
              edit('val.json', lambda d: d['images'][1].update(width=5000, height=4000))),
         'oake.globals', ['t', 'oake_globals.py'], Fails(f'{BAD}.png.*5000', check=_extracted(4))),
]  # fmt: skip

CASES = [*_unreadable(), *_readable(), *NAMES_AND_SIZES]
