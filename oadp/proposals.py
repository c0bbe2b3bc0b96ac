"""Proposals: where in an image something may be, of whatever class.

``oadp.oake.objects`` looks at proposals, and ``oadp.dp`` learns from what it saw. They come from any
detector of mmdet's that has a region proposal network, or a single class; one trained on base boxes
alone keeps the novel classes' labels out. This replaces the download of somebody else's proposals.
"""

from __future__ import annotations

__all__ = ['ImageList', 'image_folder', 'main', 'propose', 'write_proposals']

import functools
import pathlib
import pickle
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from oadp.data.annotations.file import read_images
from oadp.data.annotations.lists import image_name
from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import add_config_arguments, load_config, to_plain
from oadp.utils.files import atomic_write
from oadp.utils.output_names import check_file
from oadp.utils.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

DRY_RUN_IMAGES = 8


class ImageList:
    """Images of an annotation file, in ascending order of their ids, ready for the network.

    A map-style dataset of torch's.

    Args:
        annotations: a COCO-format file, of which only ``images`` is read: no label has a part in
            proposals.
        folder: where the file names of the images start.
        pipeline: mmdet's test pipeline.
    """

    def __init__(
        self,
        annotations: pathlib.Path,
        folder: pathlib.Path,
        pipeline: Sequence[Mapping[str, Any]],
    ) -> None:
        from mmdet.datasets.pipelines import Compose

        from oadp.dp.data.pipelines import with_own_reader

        if not annotations.is_file():
            raise FileNotFoundError(
                f'{annotations}: no such annotation file; see "Annotations" of the README'
            )
        images = read_images(annotations, {'any_name', 'size'})
        self.images = sorted(images, key=lambda image: image['id'])
        self._folder = folder
        self._pipeline = Compose(with_own_reader(pipeline))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> dict[str, Any]:
        image = self.images[i]
        name = image_name(image)
        info = dict(filename=name, height=image['height'], width=image['width'])
        from oadp.dp.data.pipelines import naming_image

        with naming_image(self._folder / name):
            return self._pipeline(
                dict(img_info=info, img_prefix=str(self._folder), bbox_fields=[], proposals=None)
            )


def propose(detector: nn.Module, img: Tensor, img_metas: list[dict[str, Any]]) -> np.ndarray:
    """The proposals in one image.

    Args:
        detector: of mmdet's, in evaluation mode.
        img: (1, 3, h, w), normalised and padded.
        img_metas: of this image.

    Returns:
        (n, 5) float32: x1, y1, x2, y2 in pixels of the original image, and the objectness, which
        falls.

    Raises:
        ValueError: the detector has no region proposal network, and more than one class.
    """
    import numpy as np
    import torch

    with torch.no_grad():
        proposals = _propose(detector, img, img_metas)
    return proposals[np.argsort(-proposals[:, 4], kind='stable')].astype(np.float32)


def _propose(detector: nn.Module, img: Tensor, img_metas: list[dict[str, Any]]) -> np.ndarray:
    import torch

    if getattr(detector, 'rpn_head', None) is not None:
        # These parts leave it to the whole detector, which is not called here, to set the precision.
        half = getattr(detector, 'fp16_enabled', False)
        with torch.autocast(img.device.type, dtype=torch.float16) if half else nullcontext():
            features = detector.extract_feat(img)
            found = detector.rpn_head.simple_test_rpn(features, img_metas)[0]
        proposals = found.float().cpu().numpy()
        proposals[:, :4] /= img_metas[0]['scale_factor']
    else:
        result = detector(return_loss=False, rescale=True, img=[img], img_metas=[img_metas])[0]
        classes = result[0] if isinstance(result, tuple) else result
        if len(classes) != 1:
            raise ValueError(
                f'{type(detector).__name__} has no rpn_head and {len(classes)} classes: expected a '
                'region proposal network, or a detector of a single class'
            )
        proposals = classes[0]
    return proposals


def write_proposals(
    detector: nn.Module, images: ImageList, out: pathlib.Path, world: runtime.World, workers: int
) -> None:
    """Write the proposals of all images as a pickled list, in the order of their ids. Atomic.

    The images are dealt out to the processes; the file does not depend on how many there are.
    """
    import torch
    from mmcv.parallel import collate

    from oadp.dp.engine.predict import gather

    indices = range(world.rank, len(images), world.size)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.Subset(images, indices),
        num_workers=workers,
        collate_fn=functools.partial(collate, samples_per_gpu=1),
    )
    mine: dict[int, np.ndarray] = {}
    with Progress(len(indices), 'propose', 'images', enabled=world.is_main) as progress:
        for index, batch in zip(indices, loader, strict=True):
            metas = batch['img_metas'][0].data[0]
            mine[index] = propose(detector, batch['img'][0].to(world.device), metas)
            progress.update()
    parts = gather(mine, world)
    if parts is not None:
        everything = {index: boxes for part in parts for index, boxes in part.items()}
        with atomic_write(out) as temporary, temporary.open('wb') as f:
            pickle.dump([everything[i] for i in range(len(images))], f, protocol=4)
    runtime.barrier()


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


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments and write the proposals."""
    parser = ArgumentParser(
        prog='python -m oadp.proposals',
        description='Write the proposals of a detector for the images of an annotation file: a '
        'pickled list, one n×5 float32 array an image (x1, y1, x2, y2 in pixels, objectness), in '
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
    parser.add_argument('--workers', type=int, default=2, help='processes that load images')
    args = parser.parse_args(arguments)
    inputs = (args.config, args.checkpoint, args.annotations)
    check_file('--out', args.out, ('.pkl', '.pickle'), inputs)
    from oadp.dp.engine.checkpoints import load_detector

    with runtime.launch() as world:
        config = load_config(args.config, args.override)
        folder = args.images or image_folder(config, args.annotations)
        images = ImageList(args.annotations, folder, _test_pipeline(config))
        if runtime.dry_run():
            images.images = images.images[:DRY_RUN_IMAGES]
        out = runtime.output_path(args.out, 'proposals')
        detector = load_detector(config, args.checkpoint, world.device)
        write_proposals(detector, images, out, world, args.workers)
        runtime.get_logger().info('%s: proposals of %d images', out, len(images))


if __name__ == '__main__':
    run('oadp.proposals', main)
