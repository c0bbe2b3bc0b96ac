"""Draw the benchmark's figure: ground truth and each detector's detections, side by side.

The images are those that together show the most novel classes, chosen regardless of the detections.
Of each detector as many detections are shown as there are objects: scores of novel classes are
lower than those of base classes, so a common threshold would hide them. The figure is drawn after
all training and only illustrates the results.
"""

__all__ = ['main', 'to_ground_truth']

import pathlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import supervision as sv
from PIL import Image

from oadp.data.drawing import draw, to_detections
from oadp.data.images import read_image
from oadp.dp import build_dataset
from oadp.dp.data.loaders import build_val_loader
from oadp.dp.engine.checkpoints import load_detector
from oadp.dp.engine.predict import predict
from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import load_config
from oadp.utils.files import atomic_write
from oadp.utils.output_names import check_file

OVERLAP = 0.5
"""IoU from which two detections count as detections of one object, whatever their classes."""

TITLES = {'none': 'no distillation', 'vild': 'ViLD', 'oadp': 'OADP'}

POOL = 40
"""Number of validation images among which those to draw are chosen: the first ones."""

SIDE = 320  # pixels of an image in the figure
BANNER = 28  # pixels, height of a column's title
JPEG_QUALITY = 88


def to_ground_truth(dataset: Any, index: int) -> sv.Detections:
    """Convert the annotations of an image to detections without scores.

    Args:
        dataset: a validation set of ``oadp.dp.build_dataset``.
        index: position of the image.

    Returns:
        Detections in pixels of the original image.
    """
    annotation = dataset.get_ann_info(index)
    categories = dataset.categories
    rows = np.pad(annotation['bboxes'], ((0, 0), (0, 1)), constant_values=1)
    detections = to_detections(
        [rows[annotation['labels'] == label] for label in range(categories.num_all)], categories
    )
    detections.confidence = None
    return detections


def select_best(detections: sv.Detections, count: int) -> sv.Detections:
    """Select the ``count`` detections with the highest scores, at most one per object.

    Args:
        detections: with scores, at least one.
        count: greatest number of detections to return.

    Returns:
        Detections by descending score.
    """
    detections = detections.with_nms(OVERLAP, class_agnostic=True)
    assert detections.confidence is not None
    selected = detections[np.argsort(-detections.confidence, kind='stable')[:count]]
    assert isinstance(selected, sv.Detections)
    return selected


def select_most_varied(classes: Sequence[set[int]], count: int) -> list[int]:
    """Select images greedily, each for the most classes that the ones before do not show.

    Args:
        classes: the classes of each image.
        count: number of images; at most as many as there are.

    Returns:
        Their indices in ascending order. Of equal images the first is selected.
    """
    selected: list[int] = []
    shown: set[int] = set()
    while len(selected) < min(count, len(classes)):
        left = [i for i in range(len(classes)) if i not in selected]
        best = max(left, key=lambda i: len(classes[i] - shown))
        selected.append(best)
        shown |= classes[best]
    return sorted(selected)


def _fit(image: np.ndarray) -> np.ndarray:
    """Resize to a longer side of ``SIDE`` pixels and pad to a square with white."""
    scale = SIDE / max(image.shape[:2])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    padding = ((0, SIDE - height), (0, SIDE - width), (0, 0))
    return np.pad(image, padding, constant_values=255)


def _draw_banner(text: str) -> np.ndarray:
    banner = np.full((BANNER, SIDE, 3), 255, np.uint8)
    cv2.putText(banner, text, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    return banner


def _detect(
    name: str, checkpoint: str, num_images: int, world: runtime.ProcessInfo
) -> tuple[Any, list[sv.Detections]]:
    """Return the validation set of a config and the detections in each of its first images."""
    config = load_config(
        f'configs/mini/{name}.py', {'.validator.dataloader.dataset.max_images': num_images}
    )
    dataset = build_dataset(config, 'val')
    loader = build_val_loader(dataset, config.validator.dataloader, world)
    results = predict(load_detector(config, checkpoint, world.device), loader, world)
    assert results is not None  # there is one process
    return dataset, [to_detections(result, dataset.categories) for result in results]


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments, run the detectors and save the figure."""
    parser = ArgumentParser(
        prog='python -m oadp.mini.figure',
        description='Draw ground truth and detections side by side.',
    )
    parser.add_argument('runs', nargs='+', metavar='NAME:CHECKPOINT', help='configs/mini/NAME.py')
    parser.add_argument('--out', type=pathlib.Path, required=True, help='a .jpg')
    parser.add_argument('--images', type=int, default=4, help='how many; default: %(default)s')
    args = parser.parse_args(arguments)
    check_file('--out', args.out, ('.jpg', '.jpeg'))
    columns: dict[str, list[sv.Detections]] = {}
    with runtime.launch() as world:
        for pair in args.runs:
            name, checkpoint = pair.split(':', 1)
            dataset, detections = _detect(name, checkpoint, max(POOL, args.images), world)
            objects = [to_ground_truth(dataset, i) for i in range(len(dataset))]
            columns.setdefault('ground truth', objects)
            columns[TITLES.get(name, name)] = [
                select_best(found, len(truth))
                for found, truth in zip(detections, objects, strict=True)
            ]
    rows = [np.hstack([_draw_banner(title) for title in columns])]
    novel = [
        set(np.asarray(o.class_id)[~np.asarray(o.data['is_base'], bool)].tolist()) for o in objects
    ]
    for i in select_most_varied(novel, args.images):
        file = pathlib.Path(dataset.img_prefix, dataset.data_infos[i]['filename'])
        image = read_image(file)
        rows.append(np.hstack([_fit(draw(image, column[i])) for column in columns.values()]))
    with atomic_write(args.out) as temporary:
        Image.fromarray(np.vstack(rows)).save(temporary, 'JPEG', quality=JPEG_QUALITY)


if __name__ == '__main__':
    run('oadp.mini.figure', main)
