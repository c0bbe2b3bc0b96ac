"""The embedded benchmark, from nothing to a table: the commands, what they need and make, and the result."""

__all__ = ['Scale', 'main', 'stages']

import argparse
import dataclasses
import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from ..atomic import atomic_write
from .stages import Runner, Stage, StageError
from .teacher import Teacher
from .world import NUM_TRAIN, NUM_VAL

SETTINGS = {'none': 'no distillation', 'vild': 'ViLD (objects)', 'oadp': 'OADP (+ blocks, image)'}
"""Configs under ``configs/mini/``, and what the table calls them."""

METRICS = {
    'novel_AP50': 'COCO_9_bbox_mAP_50',
    'base_AP50': 'COCO_18_bbox_mAP_50',
    'all_AP50': 'COCO_18_9_bbox_mAP_50',
}
"""Keys of ``results.json``, and those of ``oadp.dp.test``."""

DATA = pathlib.Path('data/mini')
WORK = pathlib.Path('work_dirs/mini')
CLIP = pathlib.Path('pretrained/mini/clip.pt')
SMALL_ROOT = pathlib.Path('work_dirs/mini_small')

WORLD_SEED = 0
"""Of the pictures, the teacher and the proposals. ``--seeds`` are those of the detectors."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of everything. The default is the benchmark; ``SMALL`` only shows that all of it runs."""

    train: int = NUM_TRAIN
    val: int = NUM_VAL
    teacher_images: int = Teacher.images
    teacher_steps: int = Teacher.iterations
    rpn_steps: int | None = None
    student_steps: int | None = None


SMALL = Scale(train=48, val=16, teacher_images=60, teacher_steps=60, rpn_steps=20, student_steps=20)


def stages(seeds: range | list[int], scale: Scale) -> list[Stage]:
    """The commands, in an order in which they could be typed one by one."""
    annotations = DATA / 'annotations'
    proposals = DATA / 'proposals' / 'rpn_train.pkl'
    base_boxes = str(annotations / 'instances_train.18.json')
    categories = str(DATA / 'categories.json')
    result = [
        Stage(
            'world',
            ('-m', 'oadp.mini.world', '--root', str(DATA), '--seed', str(WORLD_SEED))
            + ('--train', str(scale.train), '--val', str(scale.val)),
            (DATA,),
        ),
        *(
            Stage(
                f'annotations/{split}',
                ('-m', 'oadp.build_annotations', '--categories', categories)
                + ('--annotations', str(annotations / f'instances_{split}.json')),
                tuple(annotations / f'instances_{split}.{kind}.json' for kind in kinds),
                needs=('world',),
            )
            for split, kinds in (('train', ('18', '27')), ('val', ('27', '27.min')))
        ),
        Stage(
            'teacher',
            ('-m', 'oadp.mini.teacher', '--out', str(CLIP), '--seed', str(WORLD_SEED))
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
            needs=('teacher', 'world'),
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
    result.append(_picture(seeds[0]))
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
    """The longest training first, and tests last: two run at a time."""
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
    """Overrides of the schedule's length, if it is to be another than the config's."""
    if count is None:
        return (always,) if always else ()
    keys = ('.trainer.runner.max_iters', '.trainer.checkpoint_config.interval')
    return ('--override', *(f'{key}:{count}' for key in keys))


def _picture(seed: int) -> Stage:
    out = WORK / 'detections.jpg'
    return Stage(
        'picture',
        ('-m', 'oadp.mini.picture', '--out', str(out))
        + tuple(f'{name}:{WORK}/seed{seed}/{name}/latest.pth' for name in ('none', 'oadp')),
        (out,),
        needs=tuple(f'seed{seed}/{name}' for name in ('none', 'oadp')),
    )


def collect(root: pathlib.Path, seeds: range | list[int]) -> dict[str, dict[str, dict[str, float]]]:
    """The metrics of all runs, in percent: setting → seed → metric. Writes ``results.json``."""
    results: dict[str, dict[str, dict[str, float]]] = {name: {} for name in SETTINGS}
    for name in SETTINGS:
        for seed in seeds:
            path = root / WORK / f'metrics/seed{seed}_{name}.json'
            metrics = json.loads(path.read_text(encoding='utf-8'))
            results[name][str(seed)] = {k: 100 * metrics[v] for k, v in METRICS.items()}
    with atomic_write(root / WORK / 'results.json') as temporary:
        temporary.write_text(json.dumps(results, indent=2), encoding='utf-8')
    return results


def tabulate(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """Mean over the seeds and, where there are several, their range."""
    count = len(next(iter(results.values())))
    table = Table(title=f'AP50, percent; {count} seed{"s" * (count > 1)}')
    table.add_column('')
    for key in METRICS:
        table.add_column(key.removesuffix('_AP50'), justify='right')
    for name, by_seed in results.items():
        cells = []
        for key in METRICS:
            values = [metrics[key] for metrics in by_seed.values()]
            spread = f' ({min(values):.1f}–{max(values):.1f})' if count > 1 else ''
            cells.append(f'{sum(values) / count:.1f}{spread}')
        table.add_row(SETTINGS[name], *cells)
    return table


_NEXT = """\
Pictures: {root}/{work}/detections.jpg   Figures: {root}/{work}/results.json
What to try next:
  python -m oadp.detect configs/mini/oadp.py {work}/seed{seed}/oadp/latest.pth data/mini/val --score-threshold 0.2 --output {work}/detect
  python -m oadp.detect configs/mini/oadp.py {work}/seed{seed}/oadp/latest.pth data/mini/val --vocabulary "{words}" --score-threshold 0.2 --output {work}/detect_words
  python -m oadp.web configs/mini/oadp.py {work}/seed{seed}/oadp/latest.pth
  docs/custom_dataset.md: the same with pictures and categories of your own"""

_WORDS = 'star, heart, house, bottle, key, triangle, spook, moth, bunny, tiara, parasol, shamrock'


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m oadp.mini',
        description='The method on a laptop: draw a small world, train a small CLIP on all of its '
        'classes, then a detector with boxes of two thirds of them, without and with distillation. '
        'Needs nothing. Stages that are done are skipped. Writes data/mini, pretrained/mini and '
        f'{WORK} (results.json, detections.jpg).',
    )
    parser.add_argument('--seeds', type=int, default=1, help='how many, from 0; default 1')
    parser.add_argument(
        '--small',
        action='store_true',
        help=f'a minute instead of twenty: every stage, to no purpose but to see it run; in '
        f'{SMALL_ROOT}',
    )
    parser.add_argument(
        '--root', type=pathlib.Path, help='where data, pretrained and work_dirs are; default: here'
    )
    parser.add_argument(
        '--teacher-steps',
        type=int,
        metavar='N',
        help=f'train the CLIP longer than {Teacher.iterations} steps, or shorter; what depends on it is '
        'made anew',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace what is there from elsewhere'
    )
    args = parser.parse_args(arguments)
    if args.seeds < 1:
        parser.error(f'--seeds {args.seeds}: expected 1 or more')
    if args.teacher_steps is not None and args.teacher_steps < 1:
        parser.error(f'--teacher-steps {args.teacher_steps}: expected 1 or more')
    return args


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    root = args.root or (SMALL_ROOT if args.small else pathlib.Path())
    root.mkdir(parents=True, exist_ok=True)
    if not (root / 'configs').exists():
        (root / 'configs').symlink_to(pathlib.Path(__file__).resolve().parents[2] / 'configs')
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
    # Killed, or its terminal closed: end as with Ctrl-C, so that no command of a stage goes on alone.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        runner.run(stages(seeds, scale))
    except StageError as e:
        sys.exit(str(e))
    console = Console()
    console.print(tabulate(collect(root, seeds)))
    console.print(
        _NEXT.format(root=root, work=WORK, seed=0, words=_WORDS), highlight=False, soft_wrap=True
    )
    console.print(f'{(time.monotonic() - start) / 60:.1f} minutes')
