"""Features, archives, pickles, ONNX files and bundles that are broken, forged or of another kind."""

__all__ = ['CASES']

import io
import pathlib
import shutil
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from malformed.harness import Case, Fails
from malformed.making import NAN, Code, both, cut, edit_torch, nothing, pickled, put, zip_bytes


def _bomb() -> bytes:
    """A torch file whose storage unfolds to 2 GiB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as z:
        z.writestr('a/code/x.py', '')
        z.writestr('a/data.pkl', b'.')
        z.writestr('a/version', '3')
        with z.open('a/data/0', 'w', force_zip64=True) as f:
            for _ in range(64):
                f.write(bytes(1 << 20))
    return file.getvalue()


FEATURE = 'oake/globals/train/000000000003.pth'
BLOCK = 'oake/blocks/train/000000000003.pth'
TRAIN = ['t', 'ov_coco.py', '--override', '.trainer.runner.max_iters:6']


def _record(path: str, change: Callable[[Any], Any]) -> Callable[[], None]:
    return edit_torch(path, change)


FEATURES: list[tuple[str, Callable, str]] = [
    ('NaN', _record(FEATURE, lambda t: t.fill_(NAN)), f'{FEATURE}.*(NaN|finite)'),
    ('another length', _record(FEATURE, lambda t: t[:7]), 'features of image 3 have .* numbers'),
    ('two rows', _record(FEATURE, lambda t: torch.stack([t, t])), FEATURE),
    ('text', put(FEATURE, 'x'), FEATURE),
    ('cut off', cut(FEATURE, 0.5), FEATURE),
    ('empty', put(FEATURE, b''), FEATURE),
    ('code in a pickle', put(FEATURE, pickled(Code())), FEATURE),
    ('missing', lambda: pathlib.Path(FEATURE).unlink(), FEATURE),
    ('blocks: NaN in a box', _record(BLOCK, lambda d: d['bboxes'].fill_(NAN) is None or None), f'{BLOCK}.*(NaN|finite)'),
    ('blocks: fewer boxes', _record(BLOCK, lambda d: d | {'bboxes': d['bboxes'][:1]}), BLOCK),
    ('blocks: no boxes', _record(BLOCK, lambda d: {'embeddings': d['embeddings']}), BLOCK),
    ('blocks: a list', _record(BLOCK, lambda d: [1]), BLOCK),
]  # fmt: skip

PACK = ['pack', 'oake/globals/train', 'new.lmdb']
LMDB = 'packed/val.lmdb/data.mdb'
UNPACK = ['unpack', 'packed/val.lmdb', 'new']


def _feature_cases() -> list[Case]:
    cases = []
    for name, make, pattern in FEATURES:
        cases.append(Case(f'features: {name}: dp.train', make, 'dp.train', TRAIN, Fails(pattern)))
        if not name.startswith('blocks') and name not in ('missing', 'another length'):
            cases.append(
                Case(
                    f'features: {name}: features check',
                    make,
                    'features',
                    ['check', 'oake/globals/train'],
                    Fails(FEATURE),
                )
            )
    for name, make in (
        ('cut off', cut(LMDB, 0.5)),
        ('cut off after a page', cut(LMDB, 0.1)),
        ('empty', put(LMDB, b'')),
        ('something else', put(LMDB, b'no database' * 1000)),
    ):
        cases += [
            Case(f'packed features: {name}: unpack', make, 'features', UNPACK, Fails('val.lmdb')),
            Case(
                f'packed features: {name}: check',
                make,
                'features',
                ['check', 'packed/val.lmdb'],
                Fails('val.lmdb'),
            ),
        ]
    cases += [
        Case('features: pack of a folder with a broken record', put(FEATURE, 'x'), 'features', PACK,
             Fails(FEATURE), may_change=()),
        Case('features: pack into a folder', nothing, 'features', ['pack', 'oake/globals/train', 'new'], Fails('ends in .lmdb, found new')),
        Case('features: unpack into .lmdb', nothing, 'features', ['unpack', 'packed/val.lmdb', 'new.lmdb'], Fails('does not end in .lmdb')),
        Case('features: unpack over other records', nothing, 'features', ['check', 'packed/val.lmdb', 'oake/blocks/val'], Fails('blocks')),
        Case('features: no such folder', nothing, 'features', ['check', 'gone'], Fails('gone: expected feature records')),
        Case('features: no command', nothing, 'features', [], Fails('required', 2)),
        Case('features: another kind', nothing, 'dp.train',
             ['t', 'ov_coco.py', '--override', '.trainer.dataloader.dataset.pipeline[2].globals_.data_root::oake/blocks'], Fails('oake/blocks')),
    ]  # fmt: skip
    return cases


def _rewritten_archive(change: Callable[[str, bytes], bytes | None]) -> Callable[[], None]:
    def make() -> None:
        source = pathlib.Path('clip.pt').resolve()
        pathlib.Path('clip.pt').unlink()
        with zipfile.ZipFile(source) as old, zipfile.ZipFile('clip.pt', 'w') as new:
            for name in old.namelist():
                if (data := change(name, old.read(name))) is not None:
                    new.writestr(name, data)

    return make


def _archive_pickle(data: bytes) -> Callable[[], None]:
    return _rewritten_archive(lambda n, old: data if n.endswith('data.pkl') else old)


ARCHIVES: list[tuple[str, Callable]] = [
    ('cut off', cut('clip.pt', 0.5)),
    ('text', put('clip.pt', 'x')),
    ('empty', put('clip.pt', b'')),
    ('zip of nothing', put('clip.pt', zip_bytes())),
    ('code in its pickle', _archive_pickle(pickled(Code()))),
    ('a class with a state of its own', _archive_pickle(b'\x80\x02c__torch__\nM\n)\x81K\x01b.')),
    ('a forged memo', _archive_pickle(b'\x80\x02Nr\xff\xff\xff\x7f.')),
    ('a number', _archive_pickle(b'\x80\x02K\x01.')),
    ('a storage cut off', _rewritten_archive(lambda n, old: old[:-1] if n.endswith('data/0') else old)),
    ('a storage missing', _rewritten_archive(lambda n, old: None if n.endswith('data/0') else old)),
    ('a zip bomb', put('clip.pt', _bomb())),
    ('a checkpoint of a detector', lambda: (pathlib.Path('clip.pt').unlink(), shutil.copy('w.pth', 'clip.pt'))),
    ('code in a plain pickle', put('clip.pt', pickled(Code()))),
    ('missing', lambda: pathlib.Path('clip.pt').unlink()),
]  # fmt: skip


def _archive_cases() -> list[Case]:
    vild = ['--categories', 'categories.json', '--clip', 'clip.pt', '--out', 'new.pth']
    cases = [
        Case(f'CLIP archive: {name}: prompts.vild', make, 'prompts.vild', vild, Fails('clip.pt'))
        for name, make in ARCHIVES
    ]
    cases += [
        Case(
            f'CLIP archive: {name}: oake.globals',
            make,
            'oake.globals',
            ['t', 'oake_globals.py'],
            Fails('clip.pt'),
        )
        for name, make in ARCHIVES[:6]
    ]
    return cases


def _dtype(code: bytes) -> bytes:
    state = b'(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb'
    return b'cnumpy\ndtype\n(U' + bytes([len(code)]) + code + b'I00\nI01\ntR' + state


def _forged(code: bytes, num: int, data: bytes) -> bytes:
    """A pickled list of one array whose shape and type are chosen, as NumPy writes it."""
    shape = b'(\x8a\x08' + num.to_bytes(8, 'little', signed=True) + b't'
    raw = b'B' + len(data).to_bytes(4, 'little') + data
    head = b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR'
    return b'\x80\x02]' + head + b'(K\x01' + shape + _dtype(code) + b'I00\n' + raw + b'tba.'


FORGED: list[tuple[str, bytes]] = [
    ('objects from bytes', _forged(b'O8', 2, b'\x41' * 16)),
    ('a shape beyond its data', _forged(b'f4', 1 << 30, b'A' * 4)),
    ('a negative shape', _forged(b'f4', -1, b'A' * 4)),
    ('structures', _forged(b'V8', 1, b'A' * 8)),
    ('code', pickled([Code()])),
    ('a long string that is cut off', b'\x80\x04\x8e' + (1 << 40).to_bytes(8, 'little')),
    ('2^31 memo entries', b'\x80\x02]r\xff\xff\xff\x7f.'),
    ('4 GiB of zeros', b'\x80\x02]c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x00\x01\x85Ra.'),
    ('text', b'no pickle'),
    ('empty', b''),
    ('Python objects', pickled([np.array([None, 'x'], object)])),
]


def _pickle_cases() -> list[Case]:
    cases = []
    for name, data in FORGED:
        cases += [
            Case(f'pickled proposals: {name}: oake.objects', put('val.pkl', data), 'oake.objects', ['t', 'oake_objects.py'], Fails('val.pkl')),
            Case(f'pickled results: {name}: analyze', put('r.pkl', data), 'analyze', ['ov_coco.py', 'r.pkl'], Fails('r.pkl')),
        ]  # fmt: skip
    return cases


DETECT_BUNDLE = ['bundle/config.py', 'bundle/model.safetensors', 'images/val', '--output', 'out']
ONNX = ['x.onnx', 'images/val', '--output', 'out']
EXPORTS = [
    Case(f'ONNX: {name}: detect', put('x.onnx', data), 'detect', ONNX, Fails('x.onnx'))
    for name, data in (('empty', b''), ('text', b'no graph'), ('zeros', bytes(1000)), ('a zip', zip_bytes(a=b'b')))
] + [
    Case('ONNX: missing: detect', nothing, 'detect', ONNX, Fails('x.onnx')),
    Case('ONNX: with --override: detect', put('x.onnx', b''), 'detect', [*ONNX, '--override', '.a:1'], Fails('--override', 2)),
    Case('export: another suffix', nothing, 'export', ['ov_coco.py', 'w.pth', 'x.pt'], Fails('ends in .onnx', 2)),
    Case('export: image size of 1', nothing, 'export', ['ov_coco.py', 'w.pth', 'x.onnx', '--image-size', '1', '1'], Fails('at least 32', 2)),
    Case('export: opset 3', nothing, 'export', ['ov_coco.py', 'w.pth', 'x.onnx', '--opset', '3'], Fails('opset')),
    Case('export: no checkpoint', nothing, 'export', ['ov_coco.py', 'gone.pth', 'x.onnx'], Fails('gone.pth')),
    Case('bundle: a folder that holds something', put('new/a', 'b'), 'bundle', ['ov_coco.py', 'w.pth', 'new'], Fails('new: exists already')),
    Case('bundle: a file as folder', put('new', 'b'), 'bundle', ['ov_coco.py', 'w.pth', 'new'], Fails('new: exists already')),
    Case('bundle: metrics that are text', put('m.json', 'AP 3'), 'bundle', ['ov_coco.py', 'w.pth', 'new', '--metrics', 'm.json'],
         Fails('m.json.*JSON')),
    Case('bundle: metrics in GBK', put('m.json', '{"鸮": 1}'.encode('gbk')), 'bundle', ['ov_coco.py', 'w.pth', 'new', '--metrics', 'm.json'],
         Fails('m.json.*UTF-8')),
    Case('bundle: no licence', nothing, 'bundle', ['ov_coco.py', 'w.pth', 'new', '--licence', 'gone'], Fails('gone')),
    Case('bundle: --private alone', nothing, 'bundle', ['ov_coco.py', 'w.pth', 'new', '--private'], Fails('--push', 2)),
]  # fmt: skip

BUNDLE_FAULTS: list[tuple[str, Callable, str]] = [
    ('a wrong digest', both(lambda: pathlib.Path('bundle/vocabulary.json').write_text('{"bases": ["x"], "novels": ["y"]}')), 'SHA256SUMS.*vocabulary.json'),
    ('no weights', lambda: pathlib.Path('bundle/model.safetensors').unlink(), 'expected a complete bundle.*model.safetensors'),
    ('no digests', lambda: pathlib.Path('bundle/SHA256SUMS').unlink(), 'SHA256SUMS'),
    ('digests that are text', put('bundle/SHA256SUMS', 'hello\n'), 'SHA256SUMS, line 1'),
    ('digests in UTF-16', put('bundle/SHA256SUMS', 'hello\n'.encode('utf-16')), 'SHA256SUMS.*UTF-16'),
    ('empty digests', put('bundle/SHA256SUMS', ''), 'SHA256SUMS'),
]  # fmt: skip

CASES = [
    *_feature_cases(),
    *_archive_cases(),
    *_pickle_cases(),
    *EXPORTS,
    *(Case(f'bundle: {n}: from_pretrained', m, 'from_pretrained', ['bundle'], Fails(p)) for n, m, p in BUNDLE_FAULTS),
]  # fmt: skip
