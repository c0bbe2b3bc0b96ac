"""Run the embedded benchmark: list its commands, run them, and print the results."""

__all__ = ['Scale', 'main', 'stages']

import argparse
import dataclasses
import importlib
import os
import pathlib
import signal
import sys
import time

from rich.console import Console

from oadp.mini.results import SETTINGS, collect, tabulate
from oadp.mini.settings import NUM_TRAIN, NUM_VAL, TeacherSettings
from oadp.mini.stages import Runner, Stage, StageError
from oadp.utils.command import ArgumentParser
from oadp.utils.config_files import shipped_configs

DATA = pathlib.Path('data/mini')
WORK = pathlib.Path('work_dirs/mini')
CLIP = pathlib.Path('pretrained/mini/clip.pt')
SMALL_ROOT = pathlib.Path('work_dirs/mini_small')

DATA_SEED = 0
"""Seed of the images, the teacher and the proposals; ``--seeds`` sets those of the detectors."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes of the stages.

    The default is the benchmark; ``SMALL`` only checks that every stage runs.

    Attributes:
        train: number of training images.
        val: number of validation images.
        teacher_images: number of the teacher's training images.
        teacher_steps: number of the teacher's training steps.
        rpn_steps: number of steps of the region proposal network; None: as in its config.
        student_steps: number of steps of each detector; None: as in its config.
    """

    train: int = NUM_TRAIN
    val: int = NUM_VAL
    teacher_images: int = TeacherSettings.images
    teacher_steps: int = TeacherSettings.iterations
    rpn_steps: int | None = None
    student_steps: int | None = None


SMALL = Scale(train=48, val=16, teacher_images=60, teacher_steps=60, rpn_steps=20, student_steps=20)


def stages(seeds: range | list[int], scale: Scale) -> list[Stage]:
    """List the stages, in an order in which their commands could be typed one by one.

    Args:
        seeds: of the detectors.
        scale: sizes of the stages.
    """
    annotations = DATA / 'annotations'
    proposals = DATA / 'proposals' / 'rpn_train.pkl'
    base_boxes = str(annotations / 'instances_train.18.json')
    categories = str(DATA / 'categories.json')
    result = [
        Stage(
            'dataset',
            ('-m', 'oadp.mini.dataset', '--root', str(DATA), '--seed', str(DATA_SEED))
            + ('--train', str(scale.train), '--val', str(scale.val)),
            (DATA,),
        ),
        *(
            Stage(
                f'annotations/{split}',
                ('-m', 'oadp.build_annotations', '--categories', categories)
                + ('--annotations', str(annotations / f'instances_{split}.json')),
                tuple(annotations / f'instances_{split}.{kind}.json' for kind in kinds),
                needs=('dataset',),
            )
            for split, kinds in (('train', ('18', '27')), ('val', ('27', '27.min')))
        ),
        Stage(
            'teacher',
            ('-m', 'oadp.mini.teacher', '--out', str(CLIP), '--seed', str(DATA_SEED))
            + ('--images', str(scale.teacher_images), '--iterations', str(scale.teacher_steps)),
            (CLIP,),
        ),
        Stage(
            'rpn',
            ('-m', 'oadp.dp.train', 'mini/rpn', 'configs/mini/rpn.py') + _steps(scale.rpn_steps),
            (WORK / 'rpn',),
            needs=('annotations/train', 'annotations/val'),
        ),
        Stage(
            'proposals',
            ('-m', 'oadp.proposals', 'configs/mini/rpn.py', str(WORK / 'rpn' / 'latest.pth'))
            + ('--annotations', base_boxes, '--out', str(proposals)),
            (proposals,),
            needs=('rpn',),
        ),
        Stage(
            'prompts',
            ('-m', 'oadp.prompts.vild', '--categories', categories, '--clip', str(CLIP))
            + ('--out', str(DATA / 'prompts' / 'vild.pth')),
            (DATA / 'prompts' / 'vild.pth',),
            needs=('teacher', 'dataset'),
        ),
        *_features(),
        Stage(
            'probe',
            ('-m', 'oadp.probe', _config('oadp'), '--split', 'train')
            + ('--annotations', str(annotations / 'instances_train.27.json'))
            + ('--out', str(WORK / 'probe.json')),
            (WORK / 'probe.json',),
            needs=('prompts', 'annotations/train', 'objects', 'blocks', 'globals'),
        ),
    ]
    for seed in seeds:
        result += _students(seed, scale)
    result.append(_figure(seeds[0]))
    return result


def _features() -> list[Stage]:
    return [
        Stage(
            kind,
            ('-m', f'oadp.oake.{kind}', f'mini/oake/{kind}', f'configs/mini/{kind}.py'),
            tuple(DATA / 'oake' / kind / split for split in splits),
            needs=('teacher', 'annotations/train', *needs),
            resumes=True,
        )
        for kind, splits, needs in (
            ('objects', ('train',), ('proposals',)),
            ('blocks', ('val', 'train'), ('annotations/val',)),
            ('globals', ('train',), ()),
        )
    ]


def _students(seed: int, scale: Scale) -> list[Stage]:
    """List the trainings, the longest first, and then the tests: two commands run at a time."""
    trainings, tests = [], []
    for name in reversed(SETTINGS):
        run, folder, config = f'seed{seed}/{name}', WORK / f'seed{seed}' / name, _config(name)
        features = ('objects', 'blocks', 'globals')
        trainings.append(
            Stage(
                run,
                ('-m', 'oadp.dp.train', f'mini/{run}', config)
                + (*_steps(scale.student_steps, '--override'), f'.trainer.seed:{seed}'),
                (folder,),
                needs=('prompts', 'rpn', 'annotations/train', 'annotations/val', *features),
            )
        )
        tests.append(
            Stage(
                f'{run}/test',
                ('-m', 'oadp.dp.test', config, str(folder / 'latest.pth'))
                + ('--out-json', str(WORK / f'metrics/seed{seed}_{name}.json')),
                (WORK / f'metrics/seed{seed}_{name}.json',),
                needs=(run,),
            )
        )
    return trainings + tests


def _config(name: str) -> str:
    return f'configs/mini/{name}.py'


def _steps(count: int | None, always: str | None = None) -> tuple[str, ...]:
    """Return the overrides for a number of steps; None keeps that of the config."""
    if count is None:
        return (always,) if always else ()
    keys = ('.trainer.runner.max_iters', '.trainer.checkpoint_config.interval')
    return ('--override', *(f'{key}:{count}' for key in keys))


def _figure(seed: int) -> Stage:
    out = WORK / 'detections.jpg'
    return Stage(
        'figure',
        ('-m', 'oadp.mini.figure', '--out', str(out))
        + tuple(f'{name}:{WORK}/seed{seed}/{name}/latest.pth' for name in ('none', 'oadp')),
        (out,),
        needs=tuple(f'seed{seed}/{name}' for name in ('none', 'oadp')),
    )


_NEXT = """\
Images: {root}/{work}/detections.jpg   Metrics: {root}/{work}/results.json
Next steps:
  python -m oadp.detect configs/mini/oadp.py {work}/seed{seed}/oadp/latest.pth data/mini/val --score-threshold 0.2 --output {work}/detect
  python -m oadp.detect configs/mini/oadp.py {work}/seed{seed}/oadp/latest.pth data/mini/val --vocabulary "{words}" --score-threshold 0.2 --output {work}/detect_words
  python -m oadp.web configs/mini/oadp.py {work}/seed{seed}/oadp/latest.pth
  docs/custom_dataset.md: the same with your own images and categories"""

_WORDS = 'star, heart, house, bottle, key, triangle, spook, moth, bunny, tiara, parasol, shamrock'


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse and check the arguments of the command line."""
    parser = ArgumentParser(
        prog='python -m oadp.mini',
        description='Run the method on a laptop: draw a small dataset, train a small CLIP on all of '
        'its classes, then detectors on boxes of two thirds of them, without and with '
        'distillation. Needs no data or weights. Completed stages are skipped. Writes data/mini, '
        f'pretrained/mini and {WORK} (results.json, detections.jpg).',
    )
    parser.add_argument('--seeds', type=int, default=1, help='number of seeds, from 0; default: 1')
    parser.add_argument(
        '--small',
        action='store_true',
        help='check that every stage runs, in a minute instead of twenty; the results mean nothing; '
        f'in {SMALL_ROOT}',
    )
    parser.add_argument(
        '--root',
        type=pathlib.Path,
        help='folder of data, pretrained and work_dirs; default: the working directory',
    )
    parser.add_argument(
        '--teacher-steps',
        type=int,
        metavar='N',
        help=f'training steps of the CLIP; default: {TeacherSettings.iterations}; stages that depend on '
        'it are run again',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace outputs that this command has no record of',
    )
    args = parser.parse_args(arguments)
    if args.seeds < 1:
        parser.error(f'--seeds {args.seeds}: expected 1 or more')
    if args.teacher_steps is not None and args.teacher_steps < 1:
        parser.error(f'--teacher-steps {args.teacher_steps}: expected 1 or more')
    return args


def main(arguments: list[str] | None = None) -> None:
    """Run the stages and print the table."""
    args = parse_args(arguments)
    root = args.root or (SMALL_ROOT if args.small else pathlib.Path())
    root.mkdir(parents=True, exist_ok=True)
    if not (root / 'configs').exists():
        (root / 'configs').symlink_to(shipped_configs())
    cores = os.cpu_count() or 1
    runner = Runner(
        root,
        WORK / 'stages',
        slots=min(cores, 2),
        threads=max(cores // 2, 1),
        overwrite=args.overwrite,
    )
    scale = SMALL if args.small else Scale()
    if args.teacher_steps is not None:
        scale = dataclasses.replace(scale, teacher_steps=args.teacher_steps)
    start = time.monotonic()
    seeds = range(args.seeds)
    # The stages' configs need it: imported before the handlers are set, which raise wherever they come.
    importlib.import_module('oadp.utils.config_layers')
    # When killed, or when the terminal is closed, end as with Ctrl-C, so that no stage keeps
    # running.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        runner.run(stages(seeds, scale))
    except StageError as e:
        sys.exit(str(e))
    console = Console()
    console.print(tabulate(collect(root, WORK, seeds)))
    console.print(
        _NEXT.format(root=root, work=WORK, seed=0, words=_WORDS), highlight=False, soft_wrap=True
    )
    console.print(f'{(time.monotonic() - start) / 60:.1f} minutes')
