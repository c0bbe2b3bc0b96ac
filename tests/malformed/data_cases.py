"""Proposals, results, dumps, vocabularies and parameters of the fusion that are not what they should be."""

__all__ = ['CASES']

import json
import pathlib
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from malformed.harness import Case, Fails, Passes
from malformed.making import both, cut, edit, nothing, put, set_value

NAN = float('nan')
OBJECTS = ['t', 'oake_objects.py']
ANALYZE = ['ov_coco.py', 'results.pkl', '--proposals', 'val.pkl']


def _change_list(path: str, change: Callable[[list], Any]) -> Callable[[], None]:
    """Change a pickled list."""

    def make() -> None:
        data = pickle.loads(pathlib.Path(path).read_bytes())
        new = change(data)
        pathlib.Path(path).write_bytes(pickle.dumps(data if new is None else new))

    return make


def _nan(arrays: list) -> None:
    arrays[1][2, 1] = NAN


def _swap(arrays: list) -> None:
    arrays[1][:, [0, 2]] = arrays[1][:, [2, 0]]


PROPOSALS: list[tuple[str, Callable, str]] = [
    ('in another order', lambda a: a[::-1], 'val.pkl.*proposal_sorted'),
    ('one image too few', lambda a: a[:-1], 'val.pkl: proposals of 4 images.*5 images'),
    ('strings', lambda a: [np.array([['a'] * 5])] * 5, 'val.pkl'),
    ('numbers', lambda a: [1, 2, 3, 4, 5], 'val.pkl.*expected an .n, 5. array'),
    ('four columns', lambda a: [x[:, :4] for x in a], 'val.pkl.*expected an .n, 5. array'),
    ('one dimension', lambda a: [x[0] for x in a], 'val.pkl.*expected an .n, 5. array'),
    ('complex numbers', lambda a: [x.astype(complex) for x in a], 'val.pkl.*numbers'),
    ('a dictionary', lambda a: {'boxes': a}, 'val.pkl.*expected a list'),
    ('corners swapped', _swap, 'val.pkl.*corners x1, y1, x2, y2'),
    ('of images 10 times as large', lambda a: [x * [10, 10, 10, 10, 1] for x in a], 'val.pkl.*proposal_sorted'),
    ('negative boxes', lambda a: [x - [90, 90, 90, 90, 0] for x in a], 'val.pkl.*proposal_sorted'),
]  # fmt: skip


def _proposal_cases() -> list[Case]:
    cases = []
    for name, change, pattern in PROPOSALS:
        make = _change_list('val.pkl', change)
        cases += [
            Case(f'proposals: {name}: oake.objects', make, 'oake.objects', OBJECTS, Fails(pattern)),
            Case(f'proposals: {name}: analyze', make, 'analyze', ANALYZE, Fails('val.pkl')),
        ]
    nan = _change_list('val.pkl', _nan)
    cases += [
        Case('proposals: NaN: oake.objects', nan, 'oake.objects', OBJECTS,
             Fails('000000000022.png.*not finite', check=lambda: len(list(pathlib.Path('out/objects/val').glob('*.pth'))) == 4)),
        Case('proposals: NaN: analyze', nan, 'analyze', ANALYZE, Fails('val.pkl|finite')),
        Case('proposals: no boxes at all: oake.objects', _change_list('val.pkl', lambda a: [np.zeros((0, 5), np.float32)] * 5),
             'oake.objects', OBJECTS, Passes('', lambda: len(list(pathlib.Path('out/objects/val').glob('*.pth'))) == 5)),
        Case('proposals: cut off: oake.objects', cut('val.pkl', 0.5), 'oake.objects', OBJECTS, Fails('val.pkl')),
        Case('proposals: missing: oake.objects', lambda: pathlib.Path('val.pkl').unlink(), 'oake.objects', OBJECTS, Fails('val.pkl: no such file')),
        Case('proposals: a folder as --out', lambda: pathlib.Path('p.pkl').mkdir(), 'proposals',
             ['ov_coco.py', 'w.pth', '--annotations', 'val.json', '--out', 'p.pkl'], Fails('--out p.pkl')),
        Case('proposals: --out is the checkpoint', nothing, 'proposals',
             ['ov_coco.py', 'w.pth', '--annotations', 'val.json', '--out', 'w.pth'], Fails('--out w.pth')),
        Case('proposals: annotations of no config', put('other.json', '{}'), 'proposals',
             ['ov_coco.py', 'w.pth', '--annotations', 'other.json', '--out', 'p.pkl'], Fails('other.json.*--images')),
        Case('proposals: -1 workers', nothing, 'proposals',
             ['ov_coco.py', 'w.pth', '--annotations', 'val.json', '--out', 'p.pkl', '--workers', '-1'], Fails('--workers', 2)),
    ]  # fmt: skip
    return cases


def _row(**changes: Any) -> Callable[[], None]:
    def change(rows: list[dict]) -> None:
        for key, value in changes.items():
            if value is ...:
                del rows[0][key]
            else:
                rows[0][key] = value

    return edit('results.json', change)


def _results_nan(results: list) -> None:
    next(boxes for image in results for boxes in image if len(boxes))[0, 4] = NAN


RESULTS: list[tuple[str, Callable, str, str]] = [
    ('one image too few', _change_list('results.pkl', lambda r: r[:-1]), 'results.pkl', 'results.pkl.*4'),
    ('one category too few', _change_list('results.pkl', lambda r: [x[:-1] for x in r]), 'results.pkl', 'results.pkl'),
    ('NaN as score', _change_list('results.pkl', _results_nan), 'results.pkl', 'results.pkl.*(NaN|finite)'),
    ('proposals', both(lambda: pathlib.Path('results.pkl').write_bytes(pathlib.Path('val.pkl').read_bytes())), 'results.pkl', 'results.pkl'),
    ('cut off pickle', cut('results.pkl', 0.5), 'results.pkl', 'results.pkl'),
    ('no score', _row(score=...), 'results.json', 'results.json.*score'),
    ('NaN in JSON', _row(score=NAN), 'results.json', 'results.json.*(NaN|finite)'),
    ('infinite box in JSON', _row(bbox=[0, 0, float('inf'), 3]), 'results.json', 'results.json.*(NaN|finite)'),
    ('eight numbers as a box', edit('results.json', lambda r: [x | {'bbox': x['bbox'] * 2} for x in r]), 'results.json', 'results.json'),
    ('text as score', _row(score='high'), 'results.json', 'results.json'),
    ('an unknown category', _row(category_id=99), 'results.json', 'results.json.*99'),
    ('an unknown image', _row(image_id=1021), 'results.json', 'results.json.*1021'),
    ('a float as image', _row(image_id=21.5), 'results.json', 'results.json.*21.5'),
    ('a list as image', _row(image_id=[21]), 'results.json', 'results.json'),
    ('metrics', put('results.json', '{"AP": 0.3}'), 'results.json', 'results.json.*--out-json'),
    ('cut off JSON', cut('results.json', 0.5), 'results.json', 'results.json.*cut off'),
    ('numbers', put('results.json', '[1, 2]'), 'results.json', 'results.json'),
    ('UTF-16', put('results.json', '[]'.encode('utf-16')), 'results.json', 'results.json.*UTF-16'),
    ('nothing', put('results.json', ''), 'results.json', 'results.json.*empty'),
    ('missing', nothing, 'gone.json', 'gone.json'),
    ('another suffix', put('r.txt', 'x'), 'r.txt', 'r.txt'),
]  # fmt: skip
ANALYZE_CASES = [
    *(Case(f'results: {n}: analyze', m, 'analyze', ['ov_coco.py', f], Fails(p)) for n, m, f, p in RESULTS),
    Case('analyze: --confusions 0', nothing, 'analyze', ['ov_coco.py', 'results.pkl', '--confusions', '0'], Fails('--confusions 0', 2)),
    Case('analyze: --out is the results', nothing, 'analyze', ['ov_coco.py', 'results.json', '--out', 'results.png'], Fails('--out.*results.json')),
    Case('analyze: --out without a known suffix', nothing, 'analyze', ['ov_coco.py', 'results.pkl', '--out', 'a.txt'], Fails('a.txt', 2)),
    Case('analyze: no dump', nothing, 'analyze', ['ov_coco.py', 'results.pkl', '--dump', 'images'], Fails('images')),
    Case('probe: --images 0', nothing, 'probe', ['ov_coco.py', '--images', '0'], Fails('--images 0', 2)),
    Case('probe: no features', nothing, 'probe',
         ['ov_coco.py', '--override', *(f'.trainer.dataloader.dataset.pipeline[2].{k}.data_root::gone' for k in ('globals_', 'blocks', 'objects'))],
         Fails('no CLIP features')),
    Case('probe: annotations missing', nothing, 'probe', ['ov_coco.py', '--annotations', 'gone.json'], Fails('gone.json')),
    Case('probe: prompts missing', nothing, 'probe', ['ov_coco.py', '--prompts', 'gone.pth'], Fails('gone.pth')),
    Case('probe: broken features', put('oake/objects/val/000000000022.pth', 'x'), 'probe', ['ov_coco.py'], Fails('000000000022.pth')),
    Case('probe: --out is a folder', nothing, 'probe', ['ov_coco.py', '--out', 'images'], Fails('images')),
]  # fmt: skip

RECORD = 'dump/000000000022.npy'
NNI = ['t', 'ov_coco.py', 'dump']


def _nan_record() -> None:
    record = np.load(RECORD)
    record['box'][0] = NAN
    np.save(RECORD, record)


DUMPS: list[tuple[str, Callable, str]] = [
    ('no meta.json', lambda: pathlib.Path('dump/meta.json').unlink(), 'dump/meta.json'),
    ('meta.json cut off', cut('dump/meta.json', 0.5), 'dump/meta.json.*cut off'),
    ('meta.json in UTF-16', put('dump/meta.json', '{}'.encode('utf-16')), 'dump/meta.json.*UTF-16'),
    ('another version', set_value('dump/meta.json', 'version', value=99), 'dump/meta.json.*99'),
    ('keys missing', set_value('dump/meta.json', 'nms', value=...), 'dump/meta.json.*nms'),
    ('a list as meta.json', put('dump/meta.json', '[1]'), 'dump/meta.json'),
    ('numbers as categories', set_value('dump/meta.json', 'categories', value=3), 'dump/meta.json'),
    ('other categories', set_value('dump/meta.json', 'categories', value=dict(bases=['a'], novels=['b'])), 'dump of 2 categories'),
    ('a record missing', lambda: pathlib.Path(RECORD).unlink(), '22'),
    ('a record cut off', cut(RECORD, 0.5), RECORD),
    ('a record of text', put(RECORD, 'x'), RECORD),
    ('an empty record', put(RECORD, b''), RECORD),
    ('a record of another type', lambda: np.save(RECORD, np.ones(3)), RECORD),
    ('a record of objects', lambda: np.save(RECORD, np.array([None]), allow_pickle=True), RECORD),
    ('NaN in a record', _nan_record, f'{RECORD}.*(NaN|finite)'),
]  # fmt: skip
FUSION: list[tuple[str, str, str]] = [
    ('an unknown name', '{"gamma": 1}', "unknown fusion parameters .'gamma'"),
    ('NaN', '{"objectness_gamma": NaN}', 'objectness_gamma is nan'),
    ('a negative number', '{"objectness_gamma": -1}', 'objectness_gamma is -1'),
    ('text as a number', '{"objectness_gamma": "x"}', "objectness_gamma is 'x'"),
    ('cut off', '{"objectness_gamma"', 'fusion parameters'),
    ('a file that is not there', 'gone.json', 'gone.json: no such file'),
    ('a list', '[1]', r'\[1\]'),
    ('a binary file', 'prompts.pth', 'prompts.pth'),
]  # fmt: skip
NNI_CASES = [
    *(Case(f'dump: {n}: dp.test_nni', m, 'dp.test_nni', NNI, Fails(p)) for n, m, p in DUMPS),
    *(Case(f'fusion: {n}: dp.test_nni', nothing, 'dp.test_nni', [*NNI, '--parameters', v], Fails(p)) for n, v, p in FUSION),
    *(Case(f'fusion: {n}: dp.test', nothing, 'dp.test', ['ov_coco.py', 'w.pth', '--fusion', v], Fails(p)) for n, v, p in FUSION[:3]),
    Case('fusion: unknown objective', nothing, 'dp.test_nni', [*NNI, '--objective', 'AP51'], Fails('AP51')),
    Case('fusion: ids that are not there', put('ids', '21 99'), 'dp.test_nni', [*NNI, '--images', 'ids'], Fails('ids.*99')),
    Case('fusion: ids that are text', put('ids', 'a b'), 'dp.test_nni', [*NNI, '--images', 'ids'], Fails('ids')),
    Case('fusion: ids in GBK', put('ids', '鸮'.encode('gbk')), 'dp.test_nni', [*NNI, '--images', 'ids'], Fails('ids.*UTF-8')),
    Case('fusion: no ids', put('ids', ' '), 'dp.test_nni', [*NNI, '--images', 'ids'], Fails('ids')),
    Case('fusion: a file of ids that is not there', nothing, 'dp.test_nni', [*NNI, '--images', 'gone'], Fails('gone')),
    Case('dump: into a folder of another detector', set_value('dump/meta.json', 'source', 'checkpoint', value='x'), 'dp.test', ['ov_coco.py', 'w.pth'],
         Fails('dump'), {'DUMP': 'dump'}),
    Case('dump: to a file', put('d', 'mine'), 'dp.test', ['ov_coco.py', 'w.pth'], Fails(r'\bd\b'), {'DUMP': 'd'}),
    Case('dump: with options that do nothing', nothing, 'dp.test', ['ov_coco.py', 'w.pth', '--out', 'x.pkl'], Fails('--out.*DUMP=d'), {'DUMP': 'd'}),
]  # fmt: skip

DETECT = [
    'ov_coco.py',
    'w.pth',
    'images/val',
    '--device',
    'cpu',
    '--clip',
    'clip.pt',
    '--score-threshold',
    '0',
    '--output',
    'out',
]


def _named(*names: str) -> Callable[[], bool]:
    def check() -> bool:
        rows = json.loads(pathlib.Path('out/detections.json').read_text())
        return {row['category_name'] for row in rows} <= {*names} and bool(rows)

    return check


VOCABULARIES: list[tuple[str, str | bytes, Fails | Passes]] = [
    ('empty', '', Fails('v.txt|name')),
    ('blank lines', '\n \n', Fails('name')),
    ('GBK', '鸮\n'.encode('gbk'), Fails('v.txt.*UTF-8')),
    ('binary', bytes(range(256)), Fails('v.txt')),
    ('JSON cut off', '[["cat"], ["dog"', Fails('v.txt.*JSON')),
    ('numbers in JSON', '[1, 2]', Fails('v.txt')),
    ('an object', '{"a": ["cat"]}', Fails('v.txt')),
    ('100,000 brackets', '[' * 100_000, Fails('v.txt')),
    ('200 KB of one word', 'cat\n' * 50_000, Passes('given twice')),
    ('3 MB', 'x' * 3_000_000, Fails('v.txt|characters')),
    ('an over-long name', 'x' * 500, Fails('500|characters')),
    ('301 names', '\n'.join(map(str, range(301))), Passes('detections in 5 images')),
    ('JSON lists of lists', '[["cat"], ["owl"]]', Passes('', _named('cat', 'owl'))),
    ('a JSON list', '["cat", "owl"]', Passes('', _named('cat', 'owl'))),
    ('a categories file', '{"bases": ["cat"], "novels": ["owl"]}', Passes('', _named('cat', 'owl'))),
    ('Chinese commas', 'cat，owl、dog', Passes('', _named('cat', 'owl', 'dog'))),
    ('a byte order mark', '\ufeffcat\nowl', Passes('', _named('cat', 'owl'))),
    ('a name twice', 'cat\nCat\n', Passes('twice', _named('cat'))),
]  # fmt: skip
VOCABULARY_CASES = [
    *(Case(f'vocabulary file: {n}: detect', put('v.txt', c), 'detect', [*DETECT, '--vocabulary-file', 'v.txt'], e) for n, c, e in VOCABULARIES),
    Case('vocabulary: no names: detect', nothing, 'detect', [*DETECT, '--vocabulary', ' , '], Fails('at least one')),
    Case('vocabulary: Chinese commas: detect', nothing, 'detect', [*DETECT, '--vocabulary', 'cat，owl'], Passes('', _named('cat', 'owl'))),
    Case('vocabulary: both options: detect', nothing, 'detect', [*DETECT, '--vocabulary', 'cat', '--vocabulary-file', 'words.txt'],
         Fails('not allowed with', 2)),
    Case('vocabulary: missing file: detect', nothing, 'detect', [*DETECT, '--vocabulary-file', 'gone.txt'], Fails('gone.txt')),
    Case('vocabulary: new words and a broken CLIP: detect', cut('clip.pt', 0.5), 'detect', [*DETECT, '--vocabulary', 'red kite'], Fails('clip.pt')),
]  # fmt: skip

CASES = [*_proposal_cases(), *ANALYZE_CASES, *NNI_CASES, *VOCABULARY_CASES]
