"""Evaluate a detector and write the metrics, the detections and drawings of them."""

__all__ = ['Outputs', 'evaluate', 'metrics_file', 'metrics_table', 'set_fusion']

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

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
from oadp.utils.files import atomic_write
from oadp.utils.output_names import check_apart, check_file, check_folder, output_stems
from oadp.utils.runtime import ProcessInfo

_DRY_RUN_FOLDER = pathlib.Path('work_dirs/dry_run/test')

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


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What an evaluation computes and which files it writes.

    In ``DRY_RUN``, files are written to ``work_dirs/dry_run/test`` instead.

    Attributes:
        checkpoint: the checkpoint that is evaluated; the metrics are written beside it.
        metrics: ``bbox``, ``segm`` or both.
        classwise: report the metrics of each category as well, as a table and a CSV file.
        out: write the detections to this file: a pickle, or JSON in COCO's results format.
        out_json: write the metrics to this file; None is :func:`metrics_file`.
        show_dir: draw the detections into this folder.
        show_score_thr: the lowest score of the detections that are drawn.
        show_errors: draw missed objects and false detections.

    Raises:
        ValueError: ``show_errors`` without ``show_dir``.
    """

    checkpoint: pathlib.Path
    metrics: Sequence[Literal['bbox', 'segm']] = ('bbox',)
    classwise: bool = False
    out: pathlib.Path | None = None
    out_json: pathlib.Path | None = None
    show_dir: pathlib.Path | None = None
    show_score_thr: float = 0.3
    show_errors: bool = False

    def __post_init__(self) -> None:
        if self.show_errors and self.show_dir is None:
            raise ValueError('--show-errors adds to the images of --show-dir, which is not given')
        for name in ('out', 'out_json', 'show_dir'):
            path = getattr(self, name)
            if path is not None and runtime.dry_run():
                object.__setattr__(self, name, _DRY_RUN_FOLDER / path.name)

    @property
    def metrics_file(self) -> pathlib.Path:
        """The JSON file of the metrics."""
        return self.out_json or metrics_file(self.checkpoint)

    def check(self, inputs: Sequence[str | os.PathLike]) -> None:
        """Check that the files can be written, before the detector runs.

        Args:
            inputs: the files that are read, which must not be overwritten.

        Raises:
            ValueError: a file cannot be written; the message names the option and the reason.
        """
        if self.out is not None:
            check_file('--out', self.out, ('.pkl', '.pickle', '.json'), inputs)
        if self.out_json is not None:
            check_file('--out-json', self.out_json, ('.json',), inputs)
        else:
            check_file('CHECKPOINT', self.metrics_file)
        if self.show_dir is not None:
            check_folder('--show-dir', self.show_dir)


def evaluate(
    detector: nn.Module,
    dataset: Any,
    config: Mapping[str, Any],
    outputs: Outputs,
    world: ProcessInfo,
) -> None:
    """Detect on a dataset, print the metrics and write the files of ``outputs``.

    Args:
        detector: in evaluation mode, on ``world.device``.
        dataset: ``OV_COCO`` or ``OV_LVIS``, in test mode.
        config: the whole config.
        outputs: the metrics to compute and the files to write.
        world: this process among the others.

    Raises:
        ValueError: ``segm`` metrics of a detector or of annotations without masks.
    """
    if 'segm' in outputs.metrics:
        if not getattr(detector, 'with_mask', False):
            raise ValueError('--metrics segm needs masks, and the detector of this config has none')
        dataset.require_masks()
    visit = None
    if outputs.show_dir is not None:
        visit = _Drawings(
            outputs.show_dir, dataset, outputs.show_score_thr, outputs.show_errors
        ).write

    loader = build_val_loader(dataset, config['validator']['dataloader'], world)
    results = predict(detector, loader, world, visit)
    if results is None:
        return
    if outputs.out is not None:
        write_results(outputs.out, results, dataset.ground_truth, dataset.img_ids)
    metrics = dataset.evaluate(results, metric=outputs.metrics, classwise=outputs.classwise)
    by_class = _report(metrics, dataset.categories, outputs)
    written = {
        'images': outputs.show_dir,
        'detections': outputs.out,
        'metrics by class': by_class,
        'metrics': outputs.metrics_file,
    }
    for name, where in written.items():
        if where is not None:
            print(f'{name}: {where}')


def _report(
    metrics: Mapping[str, Any], categories: Categories, outputs: Outputs
) -> pathlib.Path | None:
    """Print and write the metrics, and return the file of the metrics by class, if any."""
    path, by_class = outputs.metrics_file, None
    if outputs.classwise:
        by_class = path.with_name(f'{path.stem}.classwise.csv')
        _report_classes({name: metrics[f'{name}_classwise'] for name in outputs.metrics}, by_class)
    rich.console.Console().print(metrics_table(metrics, categories, outputs.metrics))
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(metrics, indent=1), encoding='utf-8')
    return by_class


def _report_classes(rows: Mapping[str, Any], path: pathlib.Path) -> None:
    for metric, of_metric in rows.items():
        rich.console.Console().print(classwise_table(of_metric, metric))
    with atomic_write(path) as temporary:
        temporary.write_text(classwise_csv(rows), encoding='utf-8')


def set_fusion(detector: nn.Module, parameters: FusionParameters) -> None:
    """Set the parameters by which a detector fuses the scores of its two heads.

    Raises:
        ValueError: the detector has no object head.
    """
    if getattr(getattr(detector, 'roi_head', None), '_object_head', None) is None:
        raise ValueError(
            f'--fusion: this {type(detector).__name__} has no object head whose scores could be '
            'fused with those of the box head; expected a ViLD or OADP detector that has one'
        )
    detector.roi_head.fusion = parameters


def metrics_file(checkpoint: pathlib.Path) -> pathlib.Path:
    """Return the file for the metrics of a checkpoint.

    The file is beside the checkpoint, or in ``work_dirs`` if the checkpoint is elsewhere.

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
    """Return metrics in percent as a table.

    The rows are novel, base and all categories (COCO), or the metrics (LVIS).

    Args:
        metrics: of ``dataset.evaluate``.
        categories: of the dataset.
        names: ``bbox``, ``segm`` or both.
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
    """Draw the detections of each image of a dataset, on any number of processes.

    Raises:
        ValueError: the folder is one that holds images of the dataset.
    """

    def __init__(
        self, folder: pathlib.Path, dataset: Any, threshold: float, with_errors: bool
    ) -> None:
        names = [info['filename'] for info in dataset.data_infos]
        self._dataset, self._threshold, self._with_errors = dataset, threshold, with_errors
        self._sources = [pathlib.Path(dataset.img_prefix or '', name) for name in names]
        self._stems = [folder / stem for stem in output_stems(names)]
        check_apart('--show-dir', self._stems, self._sources)

    def write(self, index: int, result: Any) -> None:
        """Draw a result of mmdet on its image."""
        info = self._dataset.data_infos[index]
        image = read_image(self._sources[index], (info['width'], info['height']))
        detections = to_detections(result, self._dataset.categories, self._threshold)
        if self._with_errors:
            image_id = self._dataset.img_ids[index]
            drawn = draw_errors(image, detections, self._dataset.ground_truth, image_id)
        else:
            drawn = draw(image, detections)
        save_drawing(self._stems[index], drawn)
