"""Compute the metrics of settings of the score fusion from a dump."""

__all__ = ['FusionSearch', 'choose_images', 'detect']

import concurrent.futures
import hashlib
import pathlib
from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch

from oadp.dp.evaluation import Detections, GroundTruth
from oadp.dp.fusion.records import Dump
from oadp.dp.fusion.scores import FusionParameters, fuse_scores
from oadp.dp.models.nms import nms_settings, top_detections
from oadp.utils.distributed import all_gather
from oadp.utils.json_text import parse_json, read_text
from oadp.utils.progress import Progress
from oadp.utils.runtime import ProcessInfo

_PARTS = ('train', 'val')

_REPORT_AT = (0.25, 0.5)
"""The fractions of the images after which an intermediate result is reported."""

_ALONE = ProcessInfo(rank=0, local_rank=0, size=1, device=torch.device('cpu'))


def choose_images(choice: str | None, image_ids: Collection[int]) -> list[int]:
    """Select images for a search, so that others can be held out.

    Args:
        choice: None for all; ``'train'`` or ``'val'`` for one of two halves, which depend on the
            image ids only, so that they never mix; or a file of image ids, as a JSON list or
            separated by whitespace.
        image_ids: the ids of all images.

    Returns:
        The selected ids, in ascending order.

    Raises:
        FileNotFoundError: ``choice`` is neither of the two words nor a file.
        ValueError: the file has another format or unknown ids, or no image is selected.
    """
    if choice is None:
        return sorted(image_ids)
    if choice in _PARTS:
        chosen = {i for i in image_ids if _PARTS[_coin(i)] == choice}
    else:
        chosen = _read_ids(pathlib.Path(choice))
        unknown = sorted(chosen - set(image_ids))
        if unknown:
            raise ValueError(
                f'{choice}: {len(unknown)} of {len(chosen)} images are not in the dataset, such as '
                f'{unknown[:3]}'
            )
    if not chosen:
        raise ValueError(
            f'--images {choice} selects none of {len(image_ids)} images; expected at least one'
        )
    return sorted(chosen)


def _coin(image_id: int) -> int:
    return hashlib.sha256(str(image_id).encode()).digest()[0] % 2


def _read_ids(path: pathlib.Path) -> set[int]:
    if not path.is_file():
        raise FileNotFoundError(f'--images {path}: expected train, val or a file of image ids')
    text = read_text(path)
    try:
        ids = parse_json(path, text) if text.lstrip().startswith('[') else text.split()
        return {int(i) for i in ids}
    except (ValueError, TypeError) as e:
        raise ValueError(
            f'{path}: expected image ids, as a JSON list or separated by whitespace ({e})'
        ) from e


def detect(
    dump: Dump,
    image_ids: Sequence[int],
    parameters: FusionParameters,
    device: torch.device | str = 'cpu',
    done: Callable[[], None] = lambda: None,
) -> Detections:
    """Return the detections of the detector with other fusion parameters.

    Args:
        dump: the records.
        image_ids: the ids of the images.
        parameters: the setting to evaluate.
        device: the device to compute on.
        done: called after each image.

    Returns:
        The detections on all images, in their order.
    """
    is_base = dump.meta.is_base.to(device)
    settings = nms_settings(dump.meta.nms)

    @torch.inference_mode()
    def one(image_id: int) -> Detections:
        record = dump.read(image_id)
        boxes, bbox_logits, object_logits, objectness = (t.to(device) for t in record)
        scores = fuse_scores(bbox_logits, object_logits, is_base, parameters, objectness)
        found, labels = (t.cpu().numpy() for t in top_detections(boxes, scores, **settings))
        return Detections(np.full(len(labels), image_id), labels, found[:, :4], found[:, 4])

    # Operators on one image are too small to run in parallel, and they release the GIL.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    parts = []
    try:
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            for part in pool.map(one, image_ids):
                parts.append(part)
                done()
    finally:
        torch.set_num_threads(threads)
    return Detections.concatenate(parts)


class FusionSearch:
    """Evaluate any number of settings on one dump.

    Args:
        dump: the records.
        ground_truth: the ground truth of the images to evaluate on.
        world: this process among those that share the images; None means a single process.

    Raises:
        FileNotFoundError: images of the ground truth have no record.
    """

    def __init__(
        self, dump: Dump, ground_truth: GroundTruth, world: ProcessInfo | None = None
    ) -> None:
        missing = sorted(set(ground_truth.image_ids) - set(dump.image_ids()))
        if missing:
            raise FileNotFoundError(
                f'{dump.root}: no record of {len(missing)} of {len(ground_truth.image_ids)} images, '
                f'such as {missing[:3]}; run DUMP={dump.root} python -m oadp.dp.test … again, '
                'which writes the missing records'
            )
        self._dump = dump
        self._ground_truth = ground_truth
        self._world = world or _ALONE

    def evaluate(
        self,
        parameters: FusionParameters,
        metrics: Collection[str] | None = None,
        report: tuple[str, Callable[[float], None]] | None = None,
        show_progress: bool = False,
    ) -> dict[str, float]:
        """Return the metrics of one setting.

        Args:
            parameters: the setting to evaluate.
            metrics: the names of metrics; None means all of :attr:`GroundTruth.metrics`.
            report: a metric, and a function to call with its value on the first quarter and the
                first half of the images.
            show_progress: show a progress bar.

        Returns:
            The value of each metric in [0, 1] on the first process; an empty dictionary on the
            others.
        """
        image_ids = self._ground_truth.image_ids
        bounds = (
            [round(len(image_ids) * f) for f in (*_REPORT_AT, 1)] if report else [len(image_ids)]
        )
        found, start = [], 0
        with Progress(
            len(image_ids), 'fuse', 'images', enabled=show_progress and self._world.is_main
        ) as progress:
            for bound in bounds:
                part = image_ids[start:bound]
                found.append(self._detect(part, parameters, progress))
                if report and start < bound < len(image_ids) and self._world.is_main:
                    name, call = report
                    so_far = Detections.concatenate(found)
                    call(self._ground_truth.evaluate(so_far, [name], image_ids[:bound])[name])
                start = bound
        if not self._world.is_main:
            return {}
        return self._ground_truth.evaluate(Detections.concatenate(found), metrics)

    def _detect(
        self, image_ids: Sequence[int], parameters: FusionParameters, progress: Progress
    ) -> Detections:
        """Return the detections of all processes, in ascending order of image id."""
        rank, size = self._world.rank, self._world.size
        found = detect(
            self._dump,
            image_ids[rank::size],
            parameters,
            self._world.device,
            lambda: progress.update(size),
        )
        gathered = Detections.concatenate(all_gather(found, self._world))
        return gathered.select(np.argsort(gathered.image_ids, kind='stable'))
