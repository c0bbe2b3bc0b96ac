"""Proposals: where in an image something may be, of whatever class.

``oadp.oake.objects`` looks at proposals, and ``oadp.dp`` learns from what it saw. They come from any
detector of mmdet's that has a region proposal network, or a single class; one trained on base boxes
alone keeps the novel classes' labels out. This replaces the download of somebody else's proposals.
"""

from __future__ import annotations

__all__ = ['image_folder', 'main']

import argparse
import pathlib
from collections.abc import Mapping
from typing import Any

from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import add_config_arguments, load_config, to_plain
from oadp.utils.output_names import check_file

DRY_RUN_IMAGES = 8


def image_folder(config: Mapping[str, Any], annotations: pathlib.Path) -> pathlib.Path:
    """The folder of the images of an annotation file that the config names as well.

    Raises:
        ValueError: the config does not name this file.
    """
    datasets = list(_datasets(config))
    for dataset in datasets:
        if pathlib.Path(dataset['ann_file']) == annotations:
            return pathlib.Path(dataset['img_prefix'])
    raise ValueError(
        f'{annotations} is none of the annotation files of the config, '
        f'{sorted({d["ann_file"] for d in datasets})}: say with --images where its images are'
    )


def _datasets(node: Any) -> Any:
    if isinstance(node, Mapping):
        if isinstance(node.get('ann_file'), str) and 'img_prefix' in node:
            yield node
        for value in node.values():
            yield from _datasets(value)


def _test_pipeline(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of a config of this project, or of mmdet's own."""
    if 'validator' in config:
        return to_plain(config['validator']['dataloader']['dataset']['pipeline'])
    if 'data' in config:
        return to_plain(config['data']['test']['pipeline'])
    raise ValueError(
        'the config says not how to prepare an image: expected '
        f'validator.dataloader.dataset.pipeline or data.test.pipeline, found {sorted(config)}'
    )


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f'{text}: expected a whole number of at least 0')
    return value


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments and write the proposals."""
    parser = ArgumentParser(
        prog='python -m oadp.proposals',
        description='Write the proposals of a detector for the images of an annotation file: a '
        'pickled list, one n×5 float32 array per image (x1, y1, x2, y2 in pixels, objectness), in '
        'the order of ascending image id (`proposal_sorted=True`).',
    )
    add_config_arguments(parser)
    parser.add_argument('checkpoint', type=pathlib.Path, help="the detector's weights")
    parser.add_argument(
        '--annotations',
        type=pathlib.Path,
        required=True,
        help="file in COCO's format whose images are used",
    )
    parser.add_argument(
        '--out', type=pathlib.Path, required=True, help='the list to write, a .pkl file'
    )
    parser.add_argument(
        '--images',
        type=pathlib.Path,
        help='folder of the images; default: that of the same annotation file in the config',
    )
    parser.add_argument('--workers', type=_whole, default=2, help='processes that load images')
    args = parser.parse_args(arguments)
    inputs = (args.config, args.checkpoint, args.annotations)
    check_file('--out', args.out, ('.pkl', '.pickle'), inputs)
    from oadp.dp.engine.checkpoints import load_detector
    from oadp.dp.engine.proposals import ImageList, write_proposals

    with runtime.launch() as world:
        config = load_config(args.config, args.override)
        folder = args.images or image_folder(config, args.annotations)
        images = ImageList(args.annotations, folder, _test_pipeline(config))
        if runtime.dry_run():
            images.rows = images.rows[:DRY_RUN_IMAGES]
        out = runtime.output_path(args.out, 'proposals')
        detector = load_detector(config, args.checkpoint, world.device)
        write_proposals(detector, images, out, world, args.workers)
        runtime.get_logger().info('%s: proposals of %d images', out, len(images))


if __name__ == '__main__':
    run('oadp.proposals', main)
