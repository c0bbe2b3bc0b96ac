"""Detect what you name, in pictures of your own.

Writes a picture with boxes, names and scores for each picture, and all detections in one file,
``detections.json``, in the form of COCO's results with two keys more: the name of the class and of
the picture.
"""

from __future__ import annotations

__all__ = ['main']

import argparse
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from oadp.clip.files import CLIP_PATH
from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import add_config_arguments, load_config
from oadp.utils.files import atomic_write
from oadp.utils.output_names import check_apart, check_folder, output_stems
from oadp.utils.progress import Progress

if TYPE_CHECKING:
    import supervision

    from oadp.inference.torch_detector import Detector

DRY_RUN_IMAGES = 2
RESULTS = 'detections.json'

_logger = runtime.get_logger()


def coco_results(
    detections: supervision.Detections, image_id: int, file_name: str
) -> list[dict[str, Any]]:
    """Detections as COCO's results, which ``pycocotools`` loads.

    Returns:
        One dict a detection: ``image_id``, ``category_id`` (the position of the name in the
        vocabulary), ``bbox`` (x, y, width, height in pixels), ``score``, ``segmentation`` (run
        lengths) where there are masks, ``category_name`` and ``file_name``.
    """
    import numpy as np
    from pycocotools import mask as coco_mask

    results = []
    for i in range(len(detections)):
        x1, y1, x2, y2 = (round(float(v), 2) for v in detections.xyxy[i])
        result = {
            'image_id': image_id,
            'category_id': int(detections.class_id[i]),
            'bbox': [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
            'score': round(float(detections.confidence[i]), 5),
            'category_name': str(detections.data['class_name'][i]),
            'file_name': file_name,
        }
        if detections.mask is not None:
            run_lengths = coco_mask.encode(np.asfortranarray(detections.mask[i], dtype=np.uint8))
            size, counts = run_lengths['size'], run_lengths['counts'].decode()
            result['segmentation'] = {'size': list(size), 'counts': counts}
        results.append(result)
    return results


def image_ids(paths: Sequence[pathlib.Path]) -> list[int]:
    """COCO's ids, if the files are called after them (``000000000139.jpg``); else 0, 1, 2, …"""
    stems = [path.stem for path in paths]
    if all(stem.isdecimal() for stem in stems):
        ids = [int(stem) for stem in stems]
        if len(set(ids)) == len(ids):
            return ids
    return list(range(len(paths)))


def detect_all(
    detector: Detector,
    paths: Sequence[pathlib.Path],
    folder: pathlib.Path,
    score_threshold: float,
    max_detections: int,
    by_class: bool,
) -> list[str]:
    """Detect in pictures, draw, and write ``detections.json``.

    An image that cannot be done is logged, and the others are done.

    Args:
        detector: with the vocabulary.
        paths: the images.
        folder: where to write; made if need be.
        score_threshold, max_detections: see ``Detector``.
        by_class: a colour for each class, in place of one for base and one for novel classes.

    Returns:
        What went wrong, a sentence an image.
    """
    from oadp.data.drawing import draw, save_drawing
    from oadp.data.images import read_image

    folder.mkdir(parents=True, exist_ok=True)
    results, faults = [], []
    jobs = zip(paths, image_ids(paths), output_stems([p.name for p in paths]), strict=True)
    with Progress(len(paths), 'detect', 'images') as progress:
        for path, image_id, stem in jobs:
            try:
                image = read_image(path)
                detections = detector(image, score_threshold, max_detections)
                if by_class:
                    detections.data.pop('is_base')
                results += coco_results(detections, image_id, os.fspath(path))
                save_drawing(folder / stem, draw(image, detections))
            except Exception as e:  # whatever is wrong with an image, the others are done
                faults.append(_log_fault(path, e))
            progress.update()
    _write_json(folder / RESULTS, results)
    _logger.info(
        '%d detections in %d images: %s',
        len(results),
        len(paths) - len(faults),
        folder / RESULTS,
    )
    return faults


def _log_fault(path: pathlib.Path, error: Exception) -> str:
    """Log why an image could not be done, and return that as a sentence."""
    from oadp.utils.memory import is_out_of_memory

    if is_out_of_memory(error):
        cause = 'too little memory for this image; try another --device, or a smaller image'
    elif isinstance(error, (OSError, ValueError)):
        cause = str(error)
    else:
        cause = repr(error)
        _logger.debug('%s', path, exc_info=error)
    fault = cause if str(path) in cause else f'{path}: {cause}'
    _logger.error('%s', fault)
    return fault


def _write_json(path: pathlib.Path, results: Iterable[dict[str, Any]]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(list(results)), encoding='utf-8')


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``load_detector``: config, checkpoint, CLIP, device."""
    add_config_arguments(parser)
    parser.add_argument(
        'checkpoint',
        type=pathlib.Path,
        nargs='?',
        help='weights of a detector of CONFIG. In place of both, an .onnx file of oadp.export',
    )
    parser.add_argument(
        '--clip',
        type=pathlib.Path,
        help='weights of the CLIP that taught the detector, for names that its prompt files lack '
        f"and the cache has not seen (default: the config's `clip`, or {CLIP_PATH})",
    )
    parser.add_argument('--device', help='such as cpu or cuda:1 (default: a GPU if there is one)')


def is_exported(args: argparse.Namespace) -> bool:
    """Whether an ONNX file stands in place of CONFIG and CHECKPOINT."""
    return args.config.suffix == '.onnx'


def check_detector_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program where what ``load_detector`` needs is missing or contradictory."""
    if is_exported(args) and args.override:
        parser.error('--override changes a config, and an ONNX file has none')
    if not is_exported(args) and args.checkpoint is None:
        parser.error('CHECKPOINT is missing; only an .onnx file of oadp.export needs none')


def load_detector(args: argparse.Namespace) -> Detector:
    """Build the detector of a command; errors are those of ``Detector``."""
    from oadp.inference.torch_detector import Detector

    if is_exported(args):
        return Detector.from_onnx(args.config, device=args.device, clip=args.clip)
    config = load_config(args.config, args.override)
    return Detector.from_checkpoint(config, args.checkpoint, device=args.device, clip=args.clip)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog='python -m oadp.detect',
        description='Detect what you name, in pictures of your own. Needs the prompt files of CONFIG, '
        'not its data. Writes a picture for each picture, and detections.json (COCO results with '
        f'names). DRY_RUN=True takes {DRY_RUN_IMAGES} pictures and writes under work_dirs/dry_run/.',
    )
    add_detector_arguments(parser)
    parser.add_argument(
        'images', nargs='*', metavar='IMAGE', help='picture, folder of pictures, or pattern'
    )
    words = parser.add_mutually_exclusive_group()
    words.add_argument(
        '--vocabulary',
        metavar='WORDS',
        help='what to detect, such as "red kite, mug" (default: the classes of CONFIG)',
    )
    words.add_argument(
        '--vocabulary-file', type=pathlib.Path, metavar='FILE', help='the same, a name a line'
    )
    parser.add_argument(
        '--score-threshold', type=_fraction, default=0.3, help='(default: %(default)s)'
    )
    parser.add_argument(
        '--max-detections', type=_positive, default=100, help='a picture (default: %(default)s)'
    )
    parser.add_argument(
        '--output',
        type=pathlib.Path,
        default=pathlib.Path('work_dirs/detect'),
        metavar='DIR',
        help='(default: %(default)s)',
    )
    # Intermixed: options may stand among the positional arguments, of which some may be missing.
    args = parser.parse_intermixed_args(argv)
    if is_exported(args) and args.checkpoint is not None:
        args.images.insert(0, str(args.checkpoint))
        args.checkpoint = None
    check_detector_arguments(parser, args)
    if not args.images:
        parser.error('an IMAGE is missing')
    return args


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text}: expected a number from 0 to 1')
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text}: expected a number of at least 1')
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Returns: the exit status, 1 if any picture is missing from the output."""
    args = parse_args(argv)
    from oadp.data.images import find_images

    paths, faults = find_images(args.images)
    for fault in faults:
        _logger.error('%s', fault)
    folder = args.output
    if runtime.dry_run():
        paths, folder = paths[:DRY_RUN_IMAGES], pathlib.Path('work_dirs/dry_run/detect')
    if paths:
        _check_folder(folder, paths)
        names = _names(args)
        detector = load_detector(args)
        detector.set_vocabulary(names)
        faults += detect_all(
            detector, paths, folder, args.score_threshold, args.max_detections, names is not None
        )
    if faults:
        _logger.error('%d could not be done: %s', len(faults), '; '.join(faults))
    return 1 if faults else 0


def _names(args: argparse.Namespace) -> list[str] | None:
    from oadp.inference.vocabulary import parse_names, read_names

    if args.vocabulary_file is not None:
        return read_names(args.vocabulary_file)
    return None if args.vocabulary is None else parse_names(args.vocabulary)


def _check_folder(folder: pathlib.Path, paths: Sequence[pathlib.Path]) -> None:
    check_folder('--output', folder)
    check_apart('--output', [folder / RESULTS], paths)


if __name__ == '__main__':
    run('oadp.detect', main)
