"""Overrides, configs, environment variables, counts and destinations that make no sense."""

__all__ = ['CASES']

import os
import pathlib
from collections.abc import Callable

from malformed.harness import CODE_RAN, Case, Fails, Passes
from malformed.making import both, edit, edit_torch, nothing, put

TRAIN = ['t', 'ov_coco.py']
TEST = ['ov_coco.py', 'w.pth']
RAN = f'__import__("os").system("touch {CODE_RAN}")'

OVERRIDES: list[tuple[str, str, str, int]] = [
    ('an unknown key', '.modell:1', 'modell', 1),
    ('an unknown key within', '.trainer.optimiser.lr:1', 'optimiser', 1),
    ('no colon', '.trainer', r'\.trainer', 2),
    ('no key', ':1', 'expected a key such as', 1),
    ('no dot', 'trainer.seed:1', 'trainer.seed', 1),
    ('code', f'.trainer.seed:{RAN}', 'literal', 2),
    ('code in the key', f'.trainer[{RAN}]:1', 'expected a key such as', 1),
    ('a list index beyond its end', '.trainer.dataloader.dataset.pipeline[99].type::x', '99', 1),
    ('an index of a dictionary', '.trainer[0]:1', r'\[0\]|trainer', 1),
    ('a key of a number', '.trainer.seed.x:1', 'seed', 1),
    ('half a list', '.trainer.workflow:[1', 'workflow', 2),
    ('1e999 digits', '.trainer.seed:' + '9' * 5000, 'seed|digits', 2),
    ('nested too deeply', '.trainer.seed:' + '[' * 5000, 'seed', 2),
]  # fmt: skip
OVERRIDE_CASES = [
    *(Case(f'override: {n}: dp.train', nothing, 'dp.train', [*TRAIN, '--override', o], Fails(p, s)) for n, o, p, s in OVERRIDES),
    *(Case(f'override: {n}: oake.globals', nothing, 'oake.globals', ['t', 'oake_globals.py', '--override', o], Fails(p, s))
      for n, o, p, s in (('an unknown key', '.vall:1', 'vall', 1), ('code', f'.val:{RAN}', 'literal', 2),
                         ('an unknown key of the dataset', '.val.dataloader.dataset.rot::x', 'rot', 1))),
]  # fmt: skip

CONFIGS: list[tuple[str, str | bytes, str]] = [
    ('a syntax error', 'a = (\n', r'c.py, line \d+: SyntaxError'),
    ('a missing base', "_base_ = ['gone.py']\n", 'gone.py'),
    ('a number as base', '_base_ = 3\n', 'c.py'),
    ('a base of itself', "_base_ = ['c.py']\n", 'c.py'),
    ('a name that is not defined', 'a = b\n', 'c.py, line 1: NameError.*b'),
    ('a division by zero', '\na = 1 / 0\n', 'c.py, line 2: ZeroDivisionError'),
    ('an import of nothing', 'import gone_module\n', 'c.py, line 1.*gone_module'),
    ('nothing', '', 'c.py|trainer|validator|key'),
    ('UTF-16', 'a = 1\n'.encode('utf-16'), 'c.py'),
    ('GBK', 'a = "鸮"\n'.encode('gbk'), 'c.py.*UTF-8'),
    ('binary', b'\x00\x01\x02', 'c.py'),
    ('JSON', '{"a": 1}', 'c.py|trainer|validator'),
    ('a model that is a number', "_base_ = ['ov_coco.py']\nmodel = 3\n", 'model|c.py'),
    ('an unknown detector', "_base_ = ['ov_coco.py']\nmodel = dict(type='Gone')\n", 'Gone'),
    ('an unknown argument of the detector', "_base_ = ['ov_coco.py']\nmodel = dict(gone=1)\n", 'gone'),
    ('an unknown category set', "_base_ = ['ov_coco.py']\ncategories = 'coca'\n", 'coca'),
    ('a dataset without annotations', "_base_ = ['ov_coco.py']\nvalidator = dict(dataloader=dict(dataset=dict(ann_file='gone.json')))\n", 'gone.json'),
    ('an unknown dataset', "_base_ = ['ov_coco.py']\nvalidator = dict(dataloader=dict(dataset=dict(type='VOC')))\n", 'VOC'),
    ('an unknown step of the pipeline', "_base_ = ['ov_coco.py']\nvalidator = dict(dataloader=dict(dataset=dict(pipeline=[dict(type='Gone')])))\n", 'Gone'),
    ('a validator that is None', "_base_ = ['ov_coco.py']\nvalidator = None\n", 'validator'),
    ('a list as dataset', "_base_ = ['ov_coco.py']\nvalidator = dict(dataloader=dict(dataset=[1]))\n", 'dataset'),
]  # fmt: skip
CONFIG_CASES = [
    *(Case(f'config: {n}: dp.test', put('c.py', c), 'dp.test', ['c.py', 'w.pth'], Fails(p)) for n, c, p in CONFIGS),
    *(Case(f'config: {n}: oake.globals', put('c.py', c), 'oake.globals', ['t', 'c.py'], Fails(p)) for n, c, p in CONFIGS[:7]),
    Case('config: missing: dp.test', nothing, 'dp.test', ['gone.py', 'w.pth'], Fails('gone.py')),
    Case('config: a folder: dp.test', nothing, 'dp.test', ['images', 'w.pth'], Fails('images')),
    Case('config: of OAKE: dp.train', nothing, 'dp.train', ['t', 'oake_globals.py'], Fails('trainer')),
    Case('config: of a detector: oake.globals', nothing, 'oake.globals', ['t', 'ov_coco.py'], Fails('train|val|dataloader')),
    Case('config: of OAKE: dp.test_nni', nothing, 'dp.test_nni', ['t', 'oake_globals.py', 'dump'], Fails('categories|validator')),
    Case('config: of OAKE: ml_coco', nothing, 'prompts.ml_coco', ['oake_globals.py'], Fails('seed|train|key')),
]  # fmt: skip


def _train(name: str, override: str, pattern: str) -> Case:
    return Case(
        f'trainer: {name}', nothing, 'dp.train', [*TRAIN, '--override', override], Fails(pattern)
    )


COUNTS = [
    *(
        _train(f'{key} of {value}', f'.trainer.{key}:{value}', f'{key} is')
        for key in ('dataloader.samples_per_gpu', 'runner.max_iters', 'checkpoint_config.interval', 'log_config.interval', 'evaluation.interval')
        for value in ('0', '-3', "'2'")
    ),
    _train('workers of -1', '.trainer.dataloader.workers_per_gpu:-1', 'workers_per_gpu is -1'),
    _train('a seed of text', ".trainer.seed:'x'", 'seed is'),
    _train('a seed of -1', '.trainer.seed:-1', 'seed'),
    _train('an unknown runner', '.trainer.runner.type::Gone', "runner.type is 'Gone'"),
    _train('a NaN learning rate', '.trainer.optimizer.lr::nan', 'lr|nan|learning rate'),
    _train('a negative learning rate', '.trainer.optimizer.lr:-1.0', 'learning rate|lr'),
    _train('an unknown optimizer', '.trainer.optimizer.type::Gone', 'Gone'),
    _train('a validation workflow', ".trainer.workflow:[('val',1)]", 'workflow is'),
    _train('no seed', '.trainer.seed:None', 'seed is None'),
    Case('validator: two images a step', nothing, 'dp.test', [*TEST, '--override', '.validator.dataloader.samples_per_gpu:2'], Fails('samples_per_gpu is 2')),
    Case('validator: -1 workers', nothing, 'dp.test', [*TEST, '--override', '.validator.dataloader.workers_per_gpu:-1'], Fails('workers_per_gpu is -1')),
    Case('oake: an unknown precision', put('c.py', "_base_ = ['oake_globals.py']\nprecision = 'fp13'\n"), 'oake.globals', ['t', 'c.py'], Fails('fp13')),
    Case('oake: a mini-batch of 0', put('c.py', "_base_ = ['oake_globals.py']\nmini_batch_size = 0\n"), 'oake.globals', ['t', 'c.py'],
         Fails('mini_batch_size is 0')),
    Case('detect: threshold of 2', nothing, 'detect', [*TEST, 'images/val', '--score-threshold', '2'], Fails('from 0 to 1', 2)),
    Case('detect: threshold of nan', nothing, 'detect', [*TEST, 'images/val', '--score-threshold', 'nan'], Fails('from 0 to 1', 2)),
    Case('detect: 0 detections', nothing, 'detect', [*TEST, 'images/val', '--max-detections', '0'], Fails('at least 1', 2)),
    Case('detect: no image', nothing, 'detect', TEST, Fails('IMAGE is missing', 2)),
    Case('detect: an unknown device', nothing, 'detect', [*TEST, 'images/val', '--device', 'abacus', '--output', 'out'], Fails('abacus')),
    Case('ml_coco: a batch of 0', nothing, 'prompts.ml_coco', ['ml.py', '--override', '.batch_size:0'], Fails('batch_size')),
    Case('ml_coco: -1 epochs', nothing, 'prompts.ml_coco', ['ml.py', '--override', '.epochs:-1'], Fails('epochs')),
    Case('vild: an unknown set', nothing, 'prompts.vild', ['--categories', 'coca', '--clip', 'clip.pt', '--out', 'n.pth'], Fails('coca')),
    Case('NNI search: 0 trials', nothing, 'tool:nni_dp_test', ['--config', 'ov_coco.py', '--max-trials', '0'], Fails('max-trials', 2), {'DUMP': 'dump'}),
    Case('NNI search: no dump', nothing, 'tool:nni_dp_test', ['--config', 'ov_coco.py'], Fails('DUMP')),
]  # fmt: skip


def _environment(name: str, value: str, command: str, argv: list[str]) -> Case:
    return Case(
        f'environment: {name}={value}: {command}', nothing, command, argv, Fails(f'{name}.*{value}'), {name: value}
    )  # fmt: skip


ENVIRONMENT = [
    _environment('DRY_RUN', 'maybe', 'dp.train', TRAIN),
    _environment('DRY_RUN', 'maybe', 'dp.test', TEST),
    _environment('DRY_RUN', '2', 'oake.globals', ['t', 'oake_globals.py']),
    _environment('DRY_RUN', 'maybe', 'detect', [*TEST, 'images/val']),
    _environment('DRY_RUN', 'maybe', 'prompts.ml_coco', ['ml.py']),
    _environment('TRAIN_WITH_VAL_DATASET', 'perhaps', 'dp.train', TRAIN),
]

EXPECTED_OUTPUTS: list[tuple[str, Callable, list[str], str]] = [
    ('--out of an unknown suffix', nothing, ['--out', 'x.txt'], '--out x.txt'),
    ('--out is a folder', lambda: pathlib.Path('o.pkl').mkdir(), ['--out', 'o.pkl'], '--out o.pkl'),
    ('--out below a file', nothing, ['--out', 'words.txt/o.pkl'], 'words.txt'),
    ('--out is too long', nothing, ['--out', 'x' * 300 + '.pkl'], 'File name too long'),
    ('--out-json is the annotations', nothing, ['--out-json', 'val.json'], '--out-json val.json: this file is read'),
    ('--out-json is a link to the annotations', lambda: os.symlink('val.json', 'l.json'), ['--out-json', 'l.json'], 'l.json'),
    ('--show-dir is the folder of the images', nothing, ['--show-dir', 'images/val'], 'images/val: holds images that are read'),
    ('--show-dir is a file', nothing, ['--show-dir', 'words.txt'], 'words.txt is not a folder'),
    ('--show-dir is a link to the folder of images', lambda: os.symlink('images/val', 'l'), ['--show-dir', 'l'], 'holds images that are read'),
    ('--show-errors without --show-dir', nothing, ['--show-errors'], '--show-dir'),
    ('--metrics segm without masks', nothing, ['--metrics', 'segm'], 'has none'),
    ('--show-score-thr is text', nothing, ['--show-score-thr', 'high'], 'high'),
]  # fmt: skip


def _renamed(name: Callable[[str], str]) -> Callable[[], None]:
    def change(data: dict) -> None:
        for image in data['images']:
            image['file_name'] = name(image['file_name'])

    return edit('val.json', change)


def _drawn() -> bool:
    return len([p for p in pathlib.Path('show').rglob('*') if p.is_file()]) == 5


SHOW = [*TEST, '--show-dir', 'show', '--show-score-thr', '0']
OUTPUTS = [
    *(Case(f'destination: {n}: dp.test', m, 'dp.test', [*TEST, *a], Fails(p, 2 if 'is text' in n else 1)) for n, m, a, p in EXPECTED_OUTPUTS),
    Case('destination: absolute file names: dp.test', _renamed(lambda n: str(pathlib.Path('images/val', n).resolve())), 'dp.test', SHOW, Passes('', _drawn)),
    Case('destination: file names with ..: dp.test', _renamed(lambda n: f'../val/{n}'), 'dp.test', SHOW, Passes('', _drawn)),
    Case('destination: among the images: detect', nothing, 'detect', [*TEST, 'images/val', '--output', 'images/val'], Fails('--output')),
    Case('destination: a file: detect', nothing, 'detect', [*TEST, 'images/val', '--output', 'words.txt'], Fails('--output.*not a folder')),
    Case('destination: a run whose folder is a file: dp.train', put('work_dirs/t', 'mine'), 'dp.train', TRAIN, Fails('work_dirs/t')),
    Case('destination: a planted link: dp.test', both(lambda: os.symlink('words.txt', 'o.json')), 'dp.test', [*TEST, '--out-json', 'o.json'],
         Passes('metrics: o.json', lambda: not pathlib.Path('o.json').is_symlink() and pathlib.Path('words.txt').read_text() == 'cat\nowl\n'), may_change=('o.json',)),
]  # fmt: skip


def _diverge(data: dict) -> None:
    for key, value in data['state_dict'].items():
        if key.endswith('fc_reg.weight'):
            value.fill_(3e38)


NAN_LOSS = [
    Case('training: a loss that is not finite', edit_torch('w.pth', _diverge), 'dp.train', [*TRAIN, '--override', '.trainer.load_from::w.pth'],
         Fails(r'loss_bbox.*0000000000\d\d.png', check=lambda: not pathlib.Path('work_dirs/t/latest.pth').exists())),
]  # fmt: skip

CASES = [*OVERRIDE_CASES, *CONFIG_CASES, *COUNTS, *ENVIRONMENT, *OUTPUTS, *NAN_LOSS]
