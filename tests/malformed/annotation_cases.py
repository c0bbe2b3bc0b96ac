"""Annotation files with one fault each, given to the commands that read annotations."""

__all__ = ['CASES']

import json
import pathlib
from typing import Any

from malformed.harness import Case, Fails, Passes
from malformed.making import both, edit, put, set_value

NAN = float('nan')

ARGV: dict[str, list[str]] = {
    'check_annotations': ['val.json', '--masks'],
    'build_annotations': ['--annotations', 'val.json', '--categories', 'categories.json'],
    'dp.test': ['ov_coco.py', 'w.pth', '--out', 'out.pkl'],
    'dp.train': ['t', 'ov_coco.py', '--override', '.trainer.runner.max_iters:1'],
    'dp.test_nni': ['t', 'ov_coco.py', 'dump'],
    'oake.globals': ['t', 'oake_globals.py'],
    'oake.objects': ['t', 'oake_objects.py'],
    'proposals': ['ov_coco.py', 'w.pth', '--annotations', 'val.json', '--out', 'p.pkl', '--workers', '0'],
    'analyze': ['ov_coco.py', 'results.pkl'],
    'probe': ['ov_coco.py'],
    'prompts.ml_coco': ['ml.py'],
}  # fmt: skip
LVIS = {'dp.test': ['ov_lvis.py', 'm.pth'], 'dp.train': ['t', 'ov_lvis.py']}
FILES = {'dp.train': 'train.json', 'prompts.ml_coco': 'train.3.json'}
"""Which file a command reads, where it is not ``val.json``."""

CHECK = ('check_annotations',)
ANY = (*CHECK, 'dp.test')
"""A report and a command that stops are the least for each kind of fault."""

A1, I1, C1 = ('annotations', 1), ('images', 1), ('categories', 1)
FAULTS: list[tuple[str, tuple, Any, str, tuple[str, ...]]] = [
    ('repeated id', (*A1, 'id'), 3, r'with duplicate ids.*id 3', (*ANY, 'build_annotations', 'dp.train', 'oake.globals')),
    ('no id', (*A1, 'id'), ..., r'annotations without id.*annotations\[1\]', (*ANY, 'dp.test_nni')),
    ('text as id', (*A1, 'id'), '2', "id is not an integer.*'2'", (*ANY, 'analyze')),
    ('float as id', (*A1, 'id'), 2.5, 'id is not an integer', ANY),
    ('negative id', (*A1, 'id'), -2, 'id is out of range', ANY),
    ('id of 2^63', (*A1, 'id'), 2**63, 'id is out of range', (*ANY, 'probe')),
    ('image_id of no image', (*A1, 'image_id'), 1021, 'image_id is not among the images.*1021',
     (*ANY, 'build_annotations', 'dp.train', 'prompts.ml_coco', 'oake.objects', 'proposals')),
    ('text as image_id', (*A1, 'image_id'), '21', "image_id is not an integer.*'21'", ANY),
    ('float as image_id', (*A1, 'image_id'), 21.0, 'image_id is not an integer', CHECK),
    ('no image_id', (*A1, 'image_id'), ..., 'annotations without image_id', ANY),
    ('unknown category_id', (*A1, 'category_id'), 99, 'category_id is not among the categories.*99',
     (*ANY, 'build_annotations', 'prompts.ml_coco', 'analyze')),
    ('null as category_id', (*A1, 'category_id'), None, 'without category_id', CHECK),
    ('no bbox', (*A1, 'bbox'), ..., 'without bbox.*id 2', (*ANY, 'dp.train')),
    ('empty bbox', (*A1, 'bbox'), [], r'bbox is not four finite numbers.*id 2', (*ANY, 'dp.train')),
    ('NaN in bbox', (*A1, 'bbox', 2), NAN, 'bbox is not four finite numbers', (*ANY, 'dp.train', 'probe')),
    ('infinity in bbox', (*A1, 'bbox', 0), float('inf'), 'bbox is not four finite numbers', CHECK),
    ('text in bbox', (*A1, 'bbox', 2), '3', 'bbox is not four finite numbers', CHECK),
    ('corners as bbox', (*A1, 'bbox'), [40, 40, -30, -30], 'negative width or height.*two corners', (*ANY, 'dp.train')),
    ('NaN as area', (*A1, 'area'), NAN, 'area is not a number from 0', ANY),
    ('2 as iscrowd', (*A1, 'iscrowd'), 2, 'iscrowd is neither 0 nor 1', ANY),
    ('list as annotation', A1, [1], 'that are not objects', (*ANY, 'oake.globals')),
    ('annotations as object', ('annotations',), {}, '"annotations" is a dict', (*ANY, 'build_annotations')),
    ('no list of annotations', ('annotations',), ..., 'lists missing.*"annotations"', ANY),
    ('no list of categories', ('categories',), ..., 'lists missing.*"categories"', ANY),
    ('no list of images', ('images',), ..., 'lists missing.*"images"', (*ANY, 'oake.globals', 'proposals')),
    ('empty list of images', ('images',), [], 'empty lists.*"images"', (*CHECK, 'oake.globals')),
    ('repeated image id', (*I1, 'id'), 21, 'images with duplicate ids.*id 21', (*ANY, 'oake.globals', 'oake.objects')),
    ('no file_name', (*I1, 'file_name'), ..., 'without file_name', ('dp.test', 'oake.globals')),
    ('number as file_name', (*I1, 'file_name'), 3, 'file_name is not a name', (*CHECK, 'oake.globals', 'proposals')),
    ('NUL in file_name', (*I1, 'file_name'), 'a\0b', 'file_name is not a name', CHECK),
    ('width of -1', (*I1, 'width'), -1, 'no size of an image.*-1', (*ANY, 'dp.train', 'oake.globals', 'proposals')),
    ('no width', (*I1, 'width'), ..., 'no size of an image.*None', (*ANY, 'dp.train')),
    ('text as width', (*I1, 'width'), '96', 'no size of an image', CHECK),
    ('width of 3e8', (*I1, 'width'), 300_000_000, 'no size of an image.*300000000', (*ANY, 'dp.train', 'oake.objects')),
    ('repeated category name', (*C1, 'name'), 'cat', "names that several categories have.*'cat'", (*ANY, 'build_annotations')),
    ('category of the set absent', (*C1, 'name'), 'bat', "set that the file lacks.*'dog'", ('dp.test', 'build_annotations')),
    ('category without a name', (*C1, 'name'), ..., 'categories without a name', CHECK),
    ('repeated category id', (*C1, 'id'), 9, 'categories with duplicate ids', ANY),
    ('empty segmentation', (*A1, 'segmentation'), [], 'without segmentation.*id 2', CHECK),
    ('polygon of two points', (*A1, 'segmentation'), [[1, 2, 3, 4]], 'neither polygons', CHECK),
    ('NaN in polygon', (*A1, 'segmentation'), [[1, 2, 3, 4, 5, NAN]], 'neither polygons', CHECK),
    ('wrong run lengths', (*A1, 'segmentation'), dict(size=[96, 64], counts=[1, 2]), 'neither polygons', CHECK),
    ('run lengths of another size', (*A1, 'segmentation'), dict(size=[9, 9], counts=[81]), 'size of the annotation', CHECK),
]  # fmt: skip
"""Id, keys, value (``...``: deleted), what the error says, commands."""

LVIS_FAULTS: list[tuple[str, tuple, Any, str, tuple[str, ...]]] = [
    ('empty segmentation', (*A1, 'segmentation'), [], 'without segmentation.*id 2', ('dp.train',)),
    ('no segmentation', (*A1, 'segmentation'), ..., 'without segmentation.*id 2', ('dp.train',)),
    ('no neg_category_ids', (*I1, 'neg_category_ids'), ..., 'without neg_category_ids.*OV_COCO', ('dp.test',)),
    ('no not_exhaustive_category_ids', (*I1, 'not_exhaustive_category_ids'), ..., 'without not_exhaustive', ('dp.test',)),
    ('unknown neg_category_ids', (*I1, 'neg_category_ids'), [99], 'not among the categories.*99', ('dp.test',)),
    ('text as neg_category_ids', (*I1, 'neg_category_ids'), 'x', 'not a list of category ids', ('dp.test',)),
    ('no frequency', (*C1, 'frequency'), ..., 'without a frequency.*OV_COCO', ('dp.test',)),
    ('frequency of x', (*C1, 'frequency'), 'x', 'without a frequency', ('dp.test',)),
    ('no coco_url', (*I1, 'coco_url'), ..., 'without coco_url', ('dp.test',)),
    ('repeated id', (*A1, 'id'), 3, 'with duplicate ids', ('dp.test', 'dp.train')),
]  # fmt: skip


def _fault_cases() -> list[Case]:
    cases = []
    for kind, faults in (('', FAULTS), ('LVIS: ', LVIS_FAULTS)):
        for name, keys, value, pattern, commands in faults:
            for command in commands:
                file = FILES.get(command, 'val.json')
                argv = LVIS[command] if kind else ARGV[command]
                make = set_value(file, *keys, value=value)
                pattern_ = rf'{file}.*{pattern}'
                cases.append(
                    Case(
                        f'annotations: {kind}{name}: {command}',
                        make,
                        command,
                        argv,
                        Fails(pattern_),
                    )
                )
    return cases


def _rewrite(change: Any) -> Any:
    """Rewrite the bytes of the annotations."""

    def make() -> None:
        for path in map(pathlib.Path, ('val.json', 'train.json')):
            path.write_bytes(change(path.read_bytes()))

    return make


FILE_FAULTS: list[tuple[str, Any, str, tuple[str, ...]]] = [
    ('empty', lambda b: b'', 'the file is empty', (*ANY, 'build_annotations')),
    ('cut off', lambda b: b[:2000], 'cut off after 2000', (*ANY, 'dp.train', 'oake.globals', 'dp.test_nni', 'probe')),
    ('cut off in the last byte', lambda b: b[:-1], 'cut off', (*CHECK, 'build_annotations', 'proposals')),
    ('two documents', lambda b: b + b'{}', 'not JSON', (*ANY, 'oake.globals')),
    ('text', lambda b: b'cat', 'not JSON', ANY),
    ('a list', lambda b: b'[1]', 'found a list', (*ANY, 'build_annotations', 'oake.globals')),
    ('100,000 brackets', lambda b: b'{"a": ' + b'[' * 100_000, 'nested too deeply', (*ANY, 'oake.globals')),
    ('a number of 5000 digits', lambda b: b'{"a": ' + b'9' * 5000 + b'}', 'not JSON', ANY),
    ('UTF-16', lambda b: b.decode().encode('utf-16'), 'UTF-16', (*ANY, 'oake.globals')),
    ('GBK', lambda b: b.replace(b'owl', '鸮'.encode('gbk')), 'not encoded in UTF-8', (*ANY, 'build_annotations', 'oake.globals')),
    ('an image', lambda b: b'\x89PNG\r\n\x1a\n', 'UTF-8|not JSON', CHECK),
]  # fmt: skip


def _file_cases() -> list[Case]:
    return [
        Case(
            f'annotation file: {name}: {command}',
            _rewrite(change),
            command,
            ARGV[command],
            Fails(rf'{FILES.get(command, "val.json")}.*{pattern}'),
        )
        for name, change, pattern, commands in FILE_FAULTS
        for command in commands
    ]


def _without(*keys: str) -> Any:
    def change(data: Any) -> None:
        for annotation in data['annotations']:
            for key in keys:
                del annotation[key]

    return both(edit('val.json', change), edit('train.json', change))


def _ids_from_zero(data: Any) -> None:
    for i, annotation in enumerate(data['annotations']):
        annotation['id'] = i


def _perfect_results() -> None:
    """Detections that are the ground truth, in COCO's format."""
    data = json.loads(pathlib.Path('val.json').read_text())
    results = [
        {k: a[k] for k in ('image_id', 'category_id', 'bbox')} | {'score': 0.9}
        for a in data['annotations']
    ]
    pathlib.Path('results.json').write_text(json.dumps(results))


def _num_split(images: int, annotations: int) -> bool:
    data = json.loads(pathlib.Path('val.5.json').read_text())
    return (len(data['images']), len(data['annotations'])) == (images, annotations)


TOLERATED = [
    # The files are LVIS's, whose annotations have no iscrowd: nothing is reported.
    Case('annotations: no iscrowd: dp.test', _without('iscrowd'), 'dp.test', ARGV['dp.test'],
         Passes('', lambda: pathlib.Path('out.pkl').is_file())),
    Case('annotations: no area: dp.test', _without('area'), 'dp.test', ARGV['dp.test'],
         Passes('without area: 15 ')),
    Case('annotations: no area and iscrowd: dp.train', _without('area', 'iscrowd'), 'dp.train', ARGV['dp.train'],
         Passes('without area: 18', lambda: pathlib.Path('work_dirs/t/latest.pth').exists())),
    Case('annotations: no area: build_annotations', _without('area', 'iscrowd'), 'build_annotations', ARGV['build_annotations'],
         Passes('without area: 15', lambda: _num_split(5, 15))),
    Case('annotations: ids from 0: analyze', both(edit('val.json', _ids_from_zero), _perfect_results), 'analyze',
         ['ov_coco.py', 'results.json'], Passes('novel │ 100.0 .*base  │ 100.0 ')),
    Case('annotations: ids from 0: build_annotations', edit('val.json', _ids_from_zero), 'build_annotations',
         ARGV['build_annotations'], Passes('', lambda: _num_split(5, 15))),
    Case('annotations: box of no width: check', set_value('val.json', *A1, 'bbox', 2, value=0), 'check_annotations',
         ['val.json'], Passes('boxes without width or height')),
    Case('annotations: box of no width: dp.train', set_value('train.json', *A1, 'bbox', 2, value=0), 'dp.train',
         ARGV['dp.train'], Passes('boxes without width or height: 1')),
    Case('annotation file: byte order mark: dp.test', _rewrite(lambda b: b'\xef\xbb\xbf' + b), 'dp.test', ARGV['dp.test'],
         Passes('', lambda: pathlib.Path('out.pkl').is_file())),
    Case('annotation file: byte order mark: build_annotations', _rewrite(lambda b: b'\xef\xbb\xbf' + b), 'build_annotations',
         ARGV['build_annotations'], Passes('', lambda: _num_split(5, 15))),
]  # fmt: skip

ARGUMENTS = [
    Case('check_annotations: no such file', put('x', ''), 'check_annotations', ['gone.json'], Fails('gone.json')),
    Case('check_annotations: a folder', put('x', ''), 'check_annotations', ['images'], Fails('images')),
    Case('check_annotations: unknown category set', put('x', ''), 'check_annotations', ['val.json', '--categories', 'coca'],
         Fails("coca")),
    Case('check_annotations: categories of another set', put('x', ''), 'check_annotations', ['val.json', '--categories', 'coco'],
         Fails('set that the file lacks')),
    Case('check_annotations: no folder of images', put('x', ''), 'check_annotations', ['val.json', '--images', 'gone'],
         Fails('gone')),
    Case('check_annotations: images missing', lambda: pathlib.Path('images/val/000000000022.png').unlink(), 'check_annotations',
         ['val.json', '--images', 'images/val'], Fails('000000000022.png')),
    Case('check_annotations: sizes of other images', set_value('val.json', *I1, 'width', value=97), 'check_annotations',
         ['val.json', '--images', 'images/val'], Fails('97')),
    Case('check_annotations: no argument', put('x', ''), 'check_annotations', [], Fails('required: FILE', 2)),
    Case('build_annotations: two sources of one output',
         both(edit('val.json', lambda d: put('valid/_a.json', json.dumps(d))()), edit('train.json', lambda d: put('train/_a.json', json.dumps(d))())),
         'build_annotations', ['--annotations', 'train/_a.json', 'valid/_a.json', '--categories', 'categories.json', '--out-dir', 'out'],
         Fails('would both be written', check=lambda: not pathlib.Path('out').exists())),
    Case('build_annotations: out-dir is a file', put('out', 'mine'), 'build_annotations',
         [*ARGV['build_annotations'], '--out-dir', 'out'], Fails('--out-dir.*not a folder')),
    Case('build_annotations: no categories', put('x', ''), 'build_annotations', ['--annotations', 'val.json'],
         Fails('--annotations and --categories need each other', 2)),
    Case('build_annotations: no data at all', put('x', ''), 'build_annotations', ['--data-root', 'gone'],
         Fails('no annotation file found.*gone')),
    Case('build_annotations: unknown dataset', put('x', ''), 'build_annotations', ['--datasets', 'voc'], Fails('voc', 2)),
    Case('categories file: cut off', put('categories.json', '{"bases": ["cat"'), 'build_annotations', ARGV['build_annotations'],
         Fails('categories.json.*cut off')),
    Case('categories file: a name twice', put('categories.json', '{"bases": ["cat", "dog"], "novels": ["cat"]}'),
         'build_annotations', ARGV['build_annotations'], Fails('cat')),
    Case('categories file: numbers', put('categories.json', '{"bases": [1], "novels": [2]}'), 'build_annotations',
         ARGV['build_annotations'], Fails('categories.json')),
    Case('categories file: no novels key', put('categories.json', '{"bases": ["cat"]}'), 'build_annotations',
         ARGV['build_annotations'], Fails('categories.json.*novels')),
    Case('categories file: a list', put('categories.json', '["cat"]'), 'build_annotations', ARGV['build_annotations'],
         Fails('categories.json')),
    Case('categories file: GBK', put('categories.json', '{"bases": ["鸮"], "novels": ["cat"]}'.encode('gbk')),
         'build_annotations', ARGV['build_annotations'], Fails('categories.json')),
]  # fmt: skip

CASES = [*_fault_cases(), *_file_cases(), *TOLERATED, *ARGUMENTS]
