"""The benchmark's picture: what is there, and what each detector finds, side by side.

The images are those that together show the most novel classes, whatever is found in them. The detections
are as many as there are objects: scores of novel classes are lower than those of base classes, so one
threshold would hide them. It is made after all training, to be looked at.
"""

__all__ = ['main', 'truth']

import pathlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import supervision as sv
from PIL import Image

from .. import runtime
from ..atomic import atomic_write
from ..config import load_config
from ..dp import build_dataset
from ..dp.checkpoints import load_detector
from ..dp.inference import predict
from ..dp.loaders import build_val_loader
from ..utils.command import ArgumentParser, run
from ..visualize import draw, to_detections

OVERLAP = 0.5
"""IoU from which two detections are of one object, whatever their classes."""

TITLES = {'none': 'no distillation', 'vild': 'ViLD', 'oadp': 'OADP'}

POOL = 40
"""The first validation images, among which those to be drawn are chosen."""

SIDE = 320  # pixels of a picture
BANNER = 28  # pixels of the line above a column
JPEG_QUALITY = 88


def truth(dataset: Any, index: int) -> sv.Detections:
    """The annotations of an image as detections, without scores."""
    annotation = dataset.get_ann_info(index)
    categories = dataset.categories
    rows = np.pad(annotation['bboxes'], ((0, 0), (0, 1)), constant_values=1)
    detections = to_detections(
        [rows[annotation['labels'] == label] for label in range(categories.num_all)], categories
    )
    detections.confidence = None
    return detections


def surest(detections: sv.Detections, count: int) -> sv.Detections:
    """The ``count`` detections of the highest scores, one an object."""
    detections = detections.with_nms(OVERLAP, class_agnostic=True)
    return detections[np.argsort(-detections.confidence, kind='stable')[:count]]


def most_varied(classes: Sequence[set[int]], count: int) -> list[int]:
    """Choose images one by one, each for the most classes that those before it do not show.

    Args:
        classes: of each image.
        count: number of images; at most as many as there are.

    Returns:
        Their indices, in order. Of equals the first is chosen.
    """
    chosen: list[int] = []
    shown: set[int] = set()
    while len(chosen) < min(count, len(classes)):
        left = [i for i in range(len(classes)) if i not in chosen]
        best = max(left, key=lambda i: len(classes[i] - shown))
        chosen.append(best)
        shown |= classes[best]
    return sorted(chosen)


def _fit(image: np.ndarray) -> np.ndarray:
    """Shrink to ``SIDE`` and pad below or on the right, white."""
    scale = SIDE / max(image.shape[:2])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    padding = ((0, SIDE - height), (0, SIDE - width), (0, 0))
    return np.pad(image, padding, constant_values=255)


def _banner(text: str) -> np.ndarray:
    banner = np.full((BANNER, SIDE, 3), 255, np.uint8)
    cv2.putText(banner, text, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    return banner


def main(arguments: list[str] | None = None) -> None:
    parser = ArgumentParser(
        prog='python -m oadp.mini.picture',
        description='Draw ground truth and detections side by side.',
    )
    parser.add_argument('runs', nargs='+', metavar='NAME:CHECKPOINT', help='configs/mini/NAME.py')
    parser.add_argument('--out', type=pathlib.Path, required=True, help='a .jpg')
    parser.add_argument('--images', type=int, default=4, help='how many; default %(default)s')
    args = parser.parse_args(arguments)
    columns: dict[str, list[np.ndarray]] = {}
    with runtime.launch() as world:
        for pair in args.runs:
            name, checkpoint = pair.split(':', 1)
            config = load_config(
                f'configs/mini/{name}.py',
                {'.validator.dataloader.dataset.max_images': max(POOL, args.images)},
            )
            dataset = build_dataset(config, 'val')
            loader = build_val_loader(dataset, config.validator.dataloader, world)
            detector = load_detector(config, checkpoint, world.device)
            results = predict(detector, loader, world)
            objects = [truth(dataset, i) for i in range(len(dataset))]
            columns.setdefault('what is there', objects)
            columns[TITLES.get(name, name)] = [
                surest(to_detections(result, dataset.categories), len(there))
                for result, there in zip(results, objects, strict=True)
            ]
    rows = [np.hstack([_banner(title) for title in columns])]
    bases = dataset.categories.num_bases
    novel = [{int(c) for c in there.class_id if c >= bases} for there in objects]
    for i in most_varied(novel, args.images):
        file = pathlib.Path(dataset.img_prefix, dataset.data_infos[i]['filename'])
        image = np.asarray(Image.open(file).convert('RGB'))
        rows.append(np.hstack([_fit(draw(image, column[i])) for column in columns.values()]))
    with atomic_write(args.out) as temporary:
        Image.fromarray(np.vstack(rows)).save(temporary, 'JPEG', quality=JPEG_QUALITY)


if __name__ == '__main__':
    run('oadp.mini.picture', main)
