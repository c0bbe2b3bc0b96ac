"""How fast extraction is, beside what the encoder's arithmetic costs.

    python benchmarks/oake.py                       # a full-size ViT-B/32, two to five minutes on two CPU cores
    python benchmarks/oake.py --device cuda --images 64 --proposals 800    # all figures of a GPU, in one call
    python benchmarks/oake.py --width 128 --layers 2 --images 4 --proposals 40 --seconds 1    # a few seconds

Random weights, generated photographs: nothing is needed but the package. For each kind it measures
the encoder alone, on inputs that are there already, and the whole pipeline from files to files; for
objects also a plain loop, float32, one crop at a time with CLIP's own modules, [OBJ] as a branch.
The last line is a JSON object; ``ratio`` is objects, pipeline over plain loop. ``share_of_peak`` and
``encoder_share_of_peak`` relate the arithmetic of objects, in the pipeline and in the encoder alone, to the
fastest square matrix product (``peak_sides``) of the same run, precision and number of threads.
"""

import argparse
import json
import logging
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from oadp.clip.normalization import MEAN, STD
from oadp.clip.precision import PRECISIONS, resolve_precision
from oadp.clip.weights import import_clip
from oadp.data.features.stores import open_store
from oadp.oake.blocks import Blocks
from oadp.oake.encoder import OUTSIDE, ImageEncoder
from oadp.oake.extraction import Options, extract
from oadp.oake.globals import Globals
from oadp.oake.image_list import ImageInfo
from oadp.oake.objects import Objects
from oadp.oake.run import default_batch_size
from oadp.oake.split import Split
from oadp.oake.task import Task
from oadp.utils.runtime import ProcessInfo

RESOLUTION, PATCH, DIM = 224, 32, 512  # ViT-B/32
COCO_IMAGES, COCO_PROPOSALS = 118_287 + 5_000, 800
SIZES = ((640, 480), (480, 640))
PEAK_SIDES = dict(cpu=(1024, 2048), cuda=(4096, 8192))
"""Sides of the square matrices whose product is the peak."""


def main() -> None:
    args = parse()
    device = torch.device(args.device)
    dtype = resolve_precision(args.precision, device)
    torch.manual_seed(0)
    visual = make_visual(args)
    plain_rate = measure_plain(visual, args) if not args.no_plain else None
    encoder = ImageEncoder(visual).to(device, dtype)
    figures: dict[str, Any] = dict(
        device=torch.cuda.get_device_name() if device.type == 'cuda' else 'cpu',
        threads=torch.get_num_threads(),
        precision=str(dtype).removeprefix('torch.'),
        width=args.width,
        layers=args.layers,
    )
    peaks = [matrix_peak(dtype, device, args.seconds)]
    with tempfile.TemporaryDirectory() as folder:
        images, proposals = make_photographs(pathlib.Path(folder), args)
        for kind in args.kinds:
            figures[kind] = measure_kind(kind, encoder, images, proposals, args, folder)
            print(f'{kind:8}', '  '.join(f'{k} {v}' for k, v in figures[kind].items()), flush=True)
    if 'objects' in figures:
        figures.update(summarise(figures['objects']['crops_per_second'], plain_rate, args))
        peaks.append(matrix_peak(dtype, device, args.seconds))  # other processes' load drifts
        figures.update(
            shares(figures['objects'], max(peaks), args), peak_sides=PEAK_SIDES[device.type]
        )
    print(json.dumps(figures))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    add('--precision', default='auto', choices=PRECISIONS)
    add('--kinds', nargs='+', default=list(TASKS), choices=list(TASKS))
    add('--images', type=int, default=6, help='generated photographs of 640 × 480')
    add('--proposals', type=int, default=16, help='in each image')
    add('--workers', type=int, default=2, help='reading threads')
    add('--seconds', type=float, default=8.0, help='of each measurement of the encoder alone')
    add('--width', type=int, default=768, help='of the vision transformer')
    add('--layers', type=int, default=12)
    add('--batch', type=int, help='mini-batch; the default is that of extraction')
    add('--no-plain', action='store_true', help='leave the plain loop out')
    return parser.parse_args()


TASKS: dict[str, type[Task]] = dict(objects=Objects, blocks=Blocks, globals=Globals)


def make_visual(args: argparse.Namespace) -> nn.Module:
    clip = import_clip().model
    return (
        clip.VisionTransformer(
            input_resolution=RESOLUTION,
            patch_size=PATCH,
            width=args.width,
            layers=args.layers,
            heads=args.width // 64,
            output_dim=DIM,
        )
        .requires_grad_(False)
        .eval()
    )


def make_photographs(
    folder: pathlib.Path, args: argparse.Namespace
) -> tuple[list[ImageInfo], dict[int, np.ndarray]]:
    """JPEG files with detail at several scales, and proposals of the sizes of COCO's."""
    rng = np.random.default_rng(0)
    images, proposals = [], {}
    for i in range(args.images):
        width, height = size = SIZES[i % len(SIZES)]
        pixels = np.zeros((height, width, 3))
        for cell in (64, 16, 4):
            shape = (height // cell, width // cell, 3)
            noise = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
            pixels += np.asarray(noise.resize(size, Image.Resampling.BICUBIC)) / 3
        file = folder / f'{i}.jpg'
        Image.fromarray(pixels.astype(np.uint8)).save(file, quality=92)
        images.append(ImageInfo(i, file, size))
        side = np.exp(rng.uniform(np.log(12), np.log(360), (args.proposals, 2)))
        corner = rng.uniform(0, 1, (args.proposals, 2)) * np.maximum(np.array(size) - side, 1)
        score = rng.uniform(0, 1, (args.proposals, 1))
        proposals[i] = np.concatenate([corner, corner + side, score], axis=1).astype(np.float32)
    return images, proposals


def measure_plain(visual: nn.Module, args: argparse.Namespace) -> float:
    """Crops per second of one crop at a time, pixels given, as a straightforward program does it."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    image = Image.effect_noise((640, 480), 80).convert('RGB')
    stride, padding = PATCH // 2, (PATCH - 1) // 2
    grid = RESOLUTION // stride
    side = RESOLUTION // PATCH
    p = visual.positional_embedding
    resized = functional.interpolate(
        p[1:].T.reshape(1, -1, side, side), (grid, grid), mode='bilinear', align_corners=False
    )
    positions = torch.cat([p[:1], resized.flatten(2)[0].T])[:, None]
    bias = torch.zeros(1, grid**2 + 1)
    bias[:, : grid**2 // 2] = OUTSIDE

    def one() -> None:
        crop = image.crop((100, 100, 400, 400)).resize((RESOLUTION,) * 2, Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1)[None] / 255
        x = functional.conv2d((pixels - mean) / std, visual.conv1.weight, None, stride, padding)
        x = torch.cat([visual.class_embedding.expand(1, 1, -1), x.flatten(2).permute(2, 0, 1)])
        x = visual.ln_pre(x + positions)
        obj = x[:1]
        for block in visual.transformer.resblocks:
            seen = block.ln_1(torch.cat([x[1:], obj]))
            obj = obj + block.attn(seen[-1:], seen, seen, need_weights=False, attn_mask=bias)[0]
            obj = obj + block.mlp(block.ln_2(obj))
            x = block(x)
        functional.normalize(visual.ln_post(obj[0]) @ visual.proj, dim=1)

    with torch.inference_mode():
        rate = repeat(one, 1, args.seconds, torch.device('cpu'))
    print(f'plain loop on the CPU: {rate:.2f} crops/s', flush=True)
    return rate


def repeat(call: Callable[[], Any], count: float, seconds: float, device: torch.device) -> float:
    """Rate of what a call does ``count`` of."""

    def wait() -> None:
        if device.type == 'cuda':
            torch.cuda.synchronize()

    call()
    wait()
    begin, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - begin < seconds:
        call()
        wait()
        calls += 1
    return calls * count / (time.perf_counter() - begin)


def measure_kind(
    kind: str,
    encoder: ImageEncoder,
    images: list[ImageInfo],
    proposals: dict[int, np.ndarray],
    args: argparse.Namespace,
    folder: str,
) -> dict[str, float]:
    device = torch.device(args.device)
    task_class = TASKS[kind]
    own = dict(proposals=proposals) if kind == 'objects' else {}
    task = task_class(encoder, device.type == 'cuda', **own)
    batch_size = default_batch_size(encoder, task_class, device, args.batch)
    split = Split(
        name='photographs',
        images=images,
        task=task,
        store=open_store(pathlib.Path(folder, kind), task.kind),
        num_workers=args.workers,
        redo=True,
    )
    alone = [measure_encoder(task, encoder, batch_size, images, args)]
    options = Options(batch_size, 10**9, logging.getLogger('benchmark'))
    world = ProcessInfo(rank=0, local_rank=0, size=1, device=device)
    report = extract(split, encoder, world, options)
    if report.failed:
        raise RuntimeError(f'images failed: {report.failed}')
    # Before and after: other processes' load drifts.
    alone.append(measure_encoder(task, encoder, batch_size, images, args))
    rate = report.crops / report.seconds
    return dict(
        crops_per_second=round(rate, 2),
        images_per_second=round(report.done / report.seconds, 3),
        encoder_crops_per_second=round(sum(alone) / 2, 2),
        efficiency=round(rate / (sum(alone) / 2), 3),
    )


def measure_encoder(
    task: Task,
    encoder: ImageEncoder,
    batch_size: Callable[[tuple[int, int]], int],
    images: list[ImageInfo],
    args: argparse.Namespace,
) -> float:
    """Inputs per second where they are on the device already."""
    device = torch.device(args.device)
    size = (480, 640) if task.kind == 'globals' else (RESOLUTION, RESOLUTION)
    # What extraction can fill: a full mini-batch may not be there.
    num = min(batch_size(size), sum(task.count(i) or 1 for i in images))
    pixels = torch.randint(0, 256, (num, 3, *size), dtype=torch.uint8, device=device)
    outside = None
    if task.is_masked:
        outside = torch.rand(num, task.masked_grid, task.masked_grid, device=device) < 0.8
    return repeat(lambda: encoder(pixels, outside), num, args.seconds / 2, device)


def summarise(rate: float, plain_rate: float | None, args: argparse.Namespace) -> dict[str, Any]:
    """Arithmetic, comparison with the plain loop, and how long COCO would take."""
    tokens, width = (RESOLUTION // (PATCH // 2)) ** 2 + 2, args.width
    # Multiply-adds of the projections and of attention, two operations each; the patches' too.
    flops = 2 * args.layers * (12 * tokens * width**2 + 2 * tokens**2 * width)
    flops += 2 * tokens * 3 * PATCH**2 * width
    return dict(
        gflop_per_crop=round(flops / 1e9, 1),
        tflops=round(rate * flops / 1e12, 4),
        coco_hours=round(COCO_IMAGES * COCO_PROPOSALS / rate / 3600, 1),
        plain_crops_per_second=plain_rate and round(plain_rate, 2),
        ratio=plain_rate and round(rate / plain_rate, 2),
    )


def shares(objects: dict[str, float], peak: float, args: argparse.Namespace) -> dict[str, float]:
    """The arithmetic that is computed, in shares of the peak in TFLOP/s.

    The last block computes only [OBJ], so it is less than the ``gflop_per_crop`` of the method.
    """
    tokens, width = (RESOLUTION // (PATCH // 2)) ** 2 + 2, args.width
    flops = 2 * (args.layers - 1) * (12 * tokens * width**2 + 2 * tokens**2 * width)
    flops += 2 * (12 * width**2 + 2 * (width // 64) * tokens * width)
    flops += 2 * (tokens - 2) * 3 * PATCH**2 * width
    names = dict(share_of_peak='crops_per_second', encoder_share_of_peak='encoder_crops_per_second')
    return dict(
        peak_tflops=round(peak, 4),
        **{k: round(objects[v] * flops / 1e12 / peak, 3) for k, v in names.items()},
    )


def matrix_peak(dtype: torch.dtype, device: torch.device, seconds: float) -> float:
    """TFLOP/s of the fastest of some square matrix products."""
    rates = []
    for side in PEAK_SIDES[device.type]:
        a = torch.randn(side, side, device=device, dtype=dtype)
        rates.append(repeat(lambda a=a: a @ a, 2 * side**3 / 1e12, seconds / 4, device))
    return max(rates)


if __name__ == '__main__':
    main()
