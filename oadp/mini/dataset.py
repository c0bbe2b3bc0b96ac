"""Write the benchmark's images and annotations in COCO's format.

All commands treat the dataset like COCO. The annotation files hold all classes.
``oadp.build_annotations`` extracts the boxes of base classes, the only ones for training, as for
any dataset.
"""

__all__ = ['Split', 'draw_split', 'main', 'write_dataset']

import enum
import json
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from oadp.mini.classes import BASES, NOVELS
from oadp.mini.scene import OBJECT_SIDES, Scene, draw_scene
from oadp.mini.settings import NUM_TRAIN, NUM_VAL
from oadp.utils.command import ArgumentParser, run
from oadp.utils.files import atomic_write
from oadp.utils.progress import Progress

ROOT = pathlib.Path('data/mini')
NOVEL_FREQUENCY = 0.46
"""Frequency of a novel class in training images, relative to that of a base class.

It is that of OV-COCO, whose validation images have 28,538 boxes of 48 base classes and 4,614 of 17
novel ones (Zareian et al., CVPR 2021). Novel objects are unlabelled, so the detector is trained to
classify them as background. In validation images all classes are equally frequent, so that novel AP
is computed from enough boxes."""
_WEIGHTS = np.array([1.0] * len(BASES) + [NOVEL_FREQUENCY] * len(NOVELS))
_TRAIN_WEIGHTS = (_WEIGHTS / _WEIGHTS.sum()).tolist()
JPEG_QUALITY = 95


class Split(enum.IntEnum):
    """A set of images. No two sets share an image: the number is part of the seed of each."""

    train = 0
    val = 1
    teacher = 2
    teacher_held_out = 3


def draw_split(
    split: Split, count: int, seed: int, sides: tuple[float, float] = OBJECT_SIDES
) -> Iterator[Scene]:
    """Draw the images of a split; each depends on the split, the seed and its position only.

    Args:
        split: which images.
        count: number of images.
        seed: of the dataset.
        sides: least and greatest side of an object before stretch and rotation, in pixels.

    Yields:
        The images and their objects.
    """
    weights = _TRAIN_WEIGHTS if split is Split.train else None
    for i in range(count):
        rng = np.random.default_rng([seed, split, i])
        yield draw_scene(rng, BASES + NOVELS, weights, sides)


def write_dataset(
    root: pathlib.Path, seed: int = 0, num_train: int = NUM_TRAIN, num_val: int = NUM_VAL
) -> None:
    """Write images, annotations and the category file.

    Args:
        root: the folder for ``{train,val}/{id:012d}.jpg``,
            ``annotations/instances_{train,val}.json`` with boxes of all classes, and
            ``categories.json`` with the base and the novel classes.
        seed: of all images.
        num_train: number of training images.
        num_val: number of validation images.
    """
    root.mkdir(parents=True, exist_ok=True)
    _write_json(root / 'categories.json', dict(bases=BASES, novels=NOVELS))
    first_id = 1
    for split, count in ((Split.train, num_train), (Split.val, num_val)):
        # The annotation file is written last: where it exists, the images are complete.
        annotations = root / 'annotations' / f'instances_{split.name}.json'
        annotations.unlink(missing_ok=True)
        shutil.rmtree(root / split.name, ignore_errors=True)
        _write_json(annotations, _write_split(root, split, count, seed, first_id))
        first_id += count


def _info(split: Split, count: int, seed: int) -> dict[str, Any]:
    return dict(description=f"OADP's embedded benchmark, {split.name}", images=count, seed=seed)


def _write_split(
    root: pathlib.Path, split: Split, count: int, seed: int, first_id: int
) -> dict[str, Any]:
    folder = root / split.name
    folder.mkdir(parents=True)
    # In alphabetical order: as in COCO, ids do not tell base from novel classes.
    categories = [dict(id=i, name=name) for i, name in enumerate(sorted(BASES + NOVELS), start=1)]
    ids = {category['name']: category['id'] for category in categories}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with Progress(count, f'draw {split.name}', 'images') as progress:
        for image_id, scene in enumerate(draw_split(split, count, seed), start=first_id):
            name = f'{image_id:012d}.jpg'
            Image.fromarray(scene.image).save(folder / name, quality=JPEG_QUALITY, subsampling=0)
            height, width = scene.image.shape[:2]
            images.append(dict(id=image_id, file_name=name, width=width, height=height))
            for (x0, y0, x1, y1), area, label in zip(
                scene.boxes.tolist(), scene.areas.tolist(), scene.names, strict=True
            ):
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=image_id,
                        category_id=ids[label],
                        bbox=[x0, y0, x1 - x0, y1 - y0],
                        area=area,
                        iscrowd=0,
                    )
                )
            progress.update()
    return dict(
        info=_info(split, count, seed),
        images=images,
        annotations=annotations,
        categories=categories,
    )


def _write_json(path: pathlib.Path, data: dict[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(data), encoding='utf-8')


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments and write the dataset."""
    parser = ArgumentParser(
        prog='python -m oadp.mini.dataset',
        description='Draw the embedded benchmark: images, COCO annotations, categories.json.',
    )
    parser.add_argument('--root', type=pathlib.Path, default=ROOT, help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument(
        '--train', type=int, default=NUM_TRAIN, help='training images; default: %(default)s'
    )
    parser.add_argument(
        '--val', type=int, default=NUM_VAL, help='validation images; default: %(default)s'
    )
    args = parser.parse_args(arguments)
    if args.seed < 0:
        parser.error(f'--seed {args.seed}: expected 0 or more')
    write_dataset(args.root, args.seed, args.train, args.val)


if __name__ == '__main__':
    run('oadp.mini.dataset', main)
