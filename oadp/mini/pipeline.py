"""List the commands of the embedded benchmark, from the dataset to the figure."""

__all__ = ['SMALL', 'Scale', 'stages']

import dataclasses
import pathlib
from collections.abc import Sequence

from oadp.mini.classes import BASES, CLASSES
from oadp.mini.results import ABLATIONS, DEMO, WORK, metrics_file
from oadp.mini.settings import NUM_TRAIN, NUM_VAL, TeacherSettings
from oadp.mini.stages import Stage

DATA = pathlib.Path('data/mini')
CLIP = pathlib.Path('pretrained/mini/clip.pt')

ANNOTATIONS = DATA / 'annotations'
CATEGORIES = DATA / 'categories.json'
PROMPTS = DATA / 'prompts/vild.pth'
PROPOSALS = DATA / 'proposals/rpn_train.pkl'
BASE_BOXES = ANNOTATIONS / f'instances_train.{len(BASES)}.json'

FEATURES = ('objects', 'blocks', 'globals')
FEATURES_READ: dict[str, tuple[str, ...]] = {'none': (), 'vild': ('objects',)}
"""Those that a setting reads, unless it reads all: its training need not wait for the others."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes of the stages.

    The default is the benchmark; ``SMALL`` only checks that every stage runs.

    Attributes:
        train: number of training images.
        val: number of validation images.
        teacher_steps: number of training steps of the CLIP; None: the CLIP that the package ships.
        teacher_images: number of its training images.
        proposals: number of proposals per image that CLIP encodes; None: as in the config of the
            region proposal network.
        rpn_steps: number of steps of the region proposal network; None: as in its config.
        student_steps: number of steps of each detector; None: as in its config.
    """

    train: int = NUM_TRAIN
    val: int = NUM_VAL
    teacher_steps: int | None = None
    teacher_images: int = TeacherSettings.images
    proposals: int | None = None
    rpn_steps: int | None = None
    student_steps: int | None = None


SMALL = Scale(train=48, val=16, teacher_steps=20, teacher_images=20, rpn_steps=6, student_steps=6)


def stages(
    seeds: Sequence[int],
    scale: Scale,
    settings: Sequence[str] = DEMO,
    data_seed: int = 0,
) -> list[Stage]:
    """List the stages, in an order in which their commands could be typed one by one.

    Args:
        seeds: of the detectors and of the region proposal networks that they start from.
        scale: sizes of the stages.
        settings: the detectors, keys of ``oadp.mini.results.SETTINGS``.
        data_seed: of the images, and of the CLIP if it is trained.
    """
    result = [
        *_dataset(scale, data_seed),
        _clip(scale, data_seed),
        _rpn(seeds[0], scale),
        _proposals(seeds[0], scale),
        _prompts(),
        *(_features(kind) for kind in FEATURES),
        _probe(),
    ]
    for seed in seeds:
        if seed != seeds[0]:
            result.append(_rpn(seed, scale))
        # The longest first: two commands run at a time.
        result += [_training(seed, name, scale) for name in reversed(settings)]
        result += [_test(seed, name) for name in reversed(settings)]
    if {'none', 'oadp'} <= set(settings):
        result.append(_figure(seeds[0]))
    return result


def _dataset(scale: Scale, seed: int) -> list[Stage]:
    draw = Stage(
        'dataset',
        ('-m', 'oadp.mini.dataset', '--root', str(DATA), '--seed', str(seed))
        + ('--train', str(scale.train), '--val', str(scale.val)),
        (DATA,),
    )
    split_files = (
        Stage(
            f'annotations/{split}',
            ('-m', 'oadp.build_annotations', '--categories', str(CATEGORIES))
            + ('--annotations', str(ANNOTATIONS / f'instances_{split}.json')),
            tuple(ANNOTATIONS / f'instances_{split}.{kind}.json' for kind in kinds),
            needs=('dataset',),
        )
        for split, kinds in (
            ('train', (len(BASES), len(CLASSES))),
            ('val', (len(CLASSES), f'{len(CLASSES)}.min')),
        )
    )
    return [draw, *split_files]


def _clip(scale: Scale, seed: int) -> Stage:
    if scale.teacher_steps is None:
        return Stage('clip', ('-m', 'oadp.mini.shipped_clip', '--out', str(CLIP)), (CLIP,))
    return Stage(
        'clip',
        ('-m', 'oadp.mini.teacher', '--out', str(CLIP), '--seed', str(seed))
        + ('--images', str(scale.teacher_images), '--iterations', str(scale.teacher_steps)),
        (CLIP,),
    )


def _rpn(seed: int, scale: Scale) -> Stage:
    run = _run(seed, 'rpn')
    return Stage(
        run,
        ('-m', 'oadp.dp.train', f'mini/{run}', 'configs/mini/rpn.py')
        + ('--override', f'.trainer.seed:{seed}', *_steps(scale.rpn_steps)),
        (WORK / run,),
        needs=('annotations/train', 'annotations/val'),
    )


def _proposals(seed: int, scale: Scale) -> Stage:
    run = _run(seed, 'rpn')
    overrides: tuple[str, ...] = ()
    if scale.proposals is not None:
        overrides = ('--override', f'.model.test_cfg.rpn.max_per_img:{scale.proposals}')
    return Stage(
        'proposals',
        ('-m', 'oadp.proposals', 'configs/mini/rpn.py', str(WORK / run / 'latest.pth'))
        + ('--annotations', str(BASE_BOXES), '--out', str(PROPOSALS), *overrides),
        (PROPOSALS,),
        needs=(run,),
    )


def _prompts() -> Stage:
    return Stage(
        'prompts',
        ('-m', 'oadp.prompts.vild', '--categories', str(CATEGORIES), '--clip', str(CLIP))
        + ('--out', str(PROMPTS)),
        (PROMPTS,),
        needs=('clip', 'dataset'),
    )


def _features(kind: str) -> Stage:
    # Blocks of validation images are for the mAP of learned prompts.
    splits = ('val', 'train') if kind == 'blocks' else ('train',)
    needs = ['clip', *(f'annotations/{split}' for split in splits)]
    if kind == 'objects':
        needs.append('proposals')
    return Stage(
        kind,
        ('-m', f'oadp.oake.{kind}', f'mini/oake/{kind}', f'configs/mini/oake/{kind}.py'),
        tuple(DATA / 'oake' / kind / split for split in splits),
        needs=tuple(needs),
        resumes=True,
    )


def _probe() -> Stage:
    out = WORK / 'probe.json'
    return Stage(
        'probe',
        ('-m', 'oadp.probe', _config('oadp'), '--split', 'train')
        + ('--annotations', str(ANNOTATIONS / f'instances_train.{len(CLASSES)}.json'))
        + ('--out', str(out)),
        (out,),
        needs=('prompts', 'annotations/train', *FEATURES),
    )


def _training(seed: int, name: str, scale: Scale) -> Stage:
    run, warm_up = _run(seed, name), _run(seed, 'rpn')
    return Stage(
        run,
        ('-m', 'oadp.dp.train', f'mini/{run}', _config(name))
        + ('--override', f'.trainer.seed:{seed}')
        + (f'.trainer.load_from::{WORK}/{warm_up}/latest.pth', *_steps(scale.student_steps)),
        (WORK / run,),
        needs=(
            'prompts',
            warm_up,
            'annotations/train',
            'annotations/val',
            *FEATURES_READ.get(name, FEATURES),
        ),
    )


def _test(seed: int, name: str) -> Stage:
    run, out = _run(seed, name), metrics_file(seed, name)
    return Stage(
        f'{run}/test',
        ('-m', 'oadp.dp.test', _config(name), str(WORK / run / 'latest.pth'))
        + ('--out-json', str(out)),
        (out,),
        needs=(run,),
    )


def _run(seed: int, name: str) -> str:
    return f'seed{seed}/{name}'


def _config(name: str) -> str:
    return f'configs/mini/{"ablations/" * (name in ABLATIONS)}{name}.py'


def _steps(count: int | None) -> tuple[str, ...]:
    """Return the overrides for a number of steps; None keeps that of the config."""
    if count is None:
        return ()
    keys = ('.trainer.runner.max_iters', '.trainer.checkpoint_config.interval')
    return tuple(f'{key}:{count}' for key in keys)


def _figure(seed: int) -> Stage:
    out = WORK / 'detections.jpg'
    runs = {name: _run(seed, name) for name in ('none', 'oadp')}
    return Stage(
        'figure',
        ('-m', 'oadp.mini.figure', '--out', str(out))
        + tuple(f'{name}:{WORK}/{run}/latest.pth' for name, run in runs.items()),
        (out,),
        needs=tuple(runs.values()),
    )
