"""What follows the detections of a test: metrics as a table and a file, results, pictures."""

__all__ = ['check_destinations', 'evaluate', 'metrics_file', 'metrics_table', 'set_fusion']

import argparse
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import rich.console
import rich.table
from torch import nn

from oadp.categories import Categories
from oadp.data.drawing import draw, save_drawing, to_detections
from oadp.data.images import read_image
from oadp.dp.data.loaders import build_val_loader
from oadp.dp.engine.predict import predict
from oadp.dp.evaluation import metric_prefixes
from oadp.dp.evaluation.classwise import classwise_csv, classwise_table
from oadp.dp.evaluation.error_images import draw_errors
from oadp.dp.evaluation.files import write_results
from oadp.dp.fusion.scores import FusionParameters
from oadp.utils import runtime
from oadp.utils.config import to_plain
from oadp.utils.files import atomic_write
from oadp.utils.output_names import check_apart, check_file, check_folder, output_stems
from oadp.utils.runtime import World

_COCO_ITEMS = {
    'AP': 'mAP_',
    'AP50': 'mAP_50',
    'AP75': 'mAP_75',
    'APs': 'mAP_s',
    'APm': 'mAP_m',
    'APl': 'mAP_l',
    'AR': 'AR_1000',
}
_LVIS_ITEMS = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'APr', 'APc', 'APf', 'AR@300', 'ARr@300')


def evaluate(
    detector: nn.Module,
    dataset: Any,
    config: Mapping[str, Any],
    args: argparse.Namespace,
    world: World,
) -> None:
    """Detect on a dataset, print the metrics and write what the arguments ask for.

    Args:
        detector: in evaluation mode, on ``world.device``.
        dataset: ``OV_COCO`` or ``OV_LVIS``, in test mode.
        config: the whole config.
        args: of ``oadp.dp.test``.
        world: this process among the others.
    """
    if args.show_errors and args.show_dir is None:
        raise ValueError('--show-errors adds to the images of --show-dir, which is not given')
    if 'segm' in args.metrics and not getattr(detector, 'with_mask', False):
        raise ValueError('--metrics segm needs masks, and the detector of this config has none')
    if 'segm' in args.metrics:
        dataset.require_masks()
    visit = None
    out, out_json, show_dir = map(_aside, (args.out, args.out_json, args.show_dir))
    if show_dir is not None:
        visit = _Drawings(show_dir, dataset, args.show_score_thr, args.show_errors).write

    loader = build_val_loader(dataset, to_plain(config['validator']['dataloader']), world)
    results = predict(detector, loader, world, visit)
    if results is None:
        return
    if out is not None:
        write_results(out, results, dataset.ground_truth, dataset.img_ids)
    metrics = dataset.evaluate(results, metric=args.metrics, classwise=args.classwise)
    path, by_class = out_json or metrics_file(args.checkpoint), None
    if args.classwise:
        by_class = path.with_name(f'{path.stem}.classwise.csv')
        _report_classes({name: metrics[f'{name}_classwise'] for name in args.metrics}, by_class)
    rich.console.Console().print(metrics_table(metrics, dataset.categories, args.metrics))
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(metrics, indent=1), encoding='utf-8')
    places = {
        'pictures': show_dir,
        'detections': out,
        'metrics by class': by_class,
        'metrics': path,
    }
    for what, where in places.items():
        if where is not None:
            print(f'{what}: {where}')


def _report_classes(rows: Mapping[str, Any], path: pathlib.Path) -> None:
    for metric, of_metric in rows.items():
        rich.console.Console().print(classwise_table(of_metric, metric))
    with atomic_write(path) as temporary:
        temporary.write_text(classwise_csv(rows), encoding='utf-8')


def set_fusion(detector: nn.Module, parameters: FusionParameters) -> None:
    """Fuse the two heads' scores by other parameters.

    Raises:
        ValueError: the detector has no object head.
    """
    if getattr(getattr(detector, 'roi_head', None), '_object_head', None) is None:
        raise ValueError(
            f'--fusion: this {type(detector).__name__} has no object head whose scores could be '
            'fused with those of the box head; expected a ViLD or OADP detector that has one'
        )
    detector.roi_head.fusion = parameters


def _aside(path: pathlib.Path | None) -> pathlib.Path | None:
    """A path that was asked for, or in ``DRY_RUN`` one that is not taken for a result."""
    return None if path is None else runtime.output_path(path, 'test')


def metrics_file(checkpoint: pathlib.Path) -> pathlib.Path:
    """Where the metrics of a checkpoint go: beside it, or under ``work_dirs`` if it is elsewhere.

    >>> metrics_file(pathlib.Path('work_dirs/oadp_ov_coco/iter_32000.pth')).as_posix()
    'work_dirs/oadp_ov_coco/iter_32000.metrics.json'
    """
    folder = pathlib.Path(os.path.abspath(checkpoint)).parent
    try:
        name = folder.relative_to(runtime.WORK_DIR.absolute())
    except ValueError:
        name = pathlib.Path(folder.name)
    is_of_dry_run = name.parts[:1] == (runtime.DRY_RUN_DIR.name,)
    root = runtime.WORK_DIR if is_of_dry_run else runtime.work_dir()
    return root / name / f'{checkpoint.stem}.metrics.json'


def metrics_table(
    metrics: Mapping[str, Any], categories: Categories, names: Sequence[str]
) -> rich.table.Table:
    """Metrics in percent: a row for novel, base and all (COCO), or for each metric (LVIS).

    Args:
        metrics: of ``dataset.evaluate``.
        categories: of the dataset.
        names: the metrics asked for, ``bbox`` or ``segm``.
    """
    table = rich.table.Table(title='average precision and recall (%)')
    prefixes = metric_prefixes(categories)
    if any(key.startswith(prefixes['all']) for key in metrics):
        counts = dict(
            all=categories.num_all, base=categories.num_bases, novel=categories.num_novels
        )
        columns = ['', *_COCO_ITEMS]
        rows = [
            [
                f'{name} {subset} ({counts[subset]})',
                *(metrics[f'{prefix}{name}_{item}'] for item in _COCO_ITEMS.values()),
            ]
            for name in names
            for subset, prefix in reversed(prefixes.items())
        ]
    else:
        columns = ['', *_LVIS_ITEMS]
        rows = [[name, *(metrics[f'{name}_{item}'] for item in _LVIS_ITEMS)] for name in names]
    for column in columns:
        table.add_column(column, justify='right' if column else 'left')
    for title, *values in rows:
        table.add_row(title, *('–' if v < 0 else f'{100 * v:.1f}' for v in values))
    return table


class _Drawings:
    """Writes what was detected in each image of a dataset; any number of processes."""

    def __init__(
        self, folder: pathlib.Path, dataset: Any, threshold: float, with_errors: bool
    ) -> None:
        """
        Raises:
            ValueError: the folder is one that the images are in.
        """
        names = [info['filename'] for info in dataset.data_infos]
        self._dataset, self._threshold, self._with_errors = dataset, threshold, with_errors
        self._sources = [pathlib.Path(dataset.img_prefix or '', name) for name in names]
        self._stems = [folder / stem for stem in output_stems(names)]
        check_apart('--show-dir', self._stems, self._sources)

    def write(self, index: int, result: Any) -> None:
        """Draw the result of mmdet's for an image, which was read as ``ReadImage`` does."""
        info = self._dataset.data_infos[index]
        image = read_image(self._sources[index], (info['width'], info['height']))
        detections = to_detections(result, self._dataset.categories, self._threshold)
        if self._with_errors:
            image_id = self._dataset.img_ids[index]
            drawn = draw_errors(image, detections, self._dataset.ground_truth, image_id)
        else:
            drawn = draw(image, detections)
        save_drawing(self._stems[index], drawn)


def check_destinations(args: argparse.Namespace, inputs: Sequence[str | os.PathLike]) -> None:
    """Refuse destinations that could not be written, before the work.

    Args:
        args: of ``oadp.dp.test``.
        inputs: files that are read.

    Raises:
        ValueError: says which option, and what is wrong.
    """
    if args.out is not None:
        check_file('--out', _aside(args.out), ('.pkl', '.pickle', '.json'), inputs)
    if args.out_json is not None:
        check_file('--out-json', _aside(args.out_json), ('.json',), inputs)
    else:
        check_file('CHECKPOINT', metrics_file(args.checkpoint))
    if args.show_dir is not None:
        check_folder('--show-dir', _aside(args.show_dir))
