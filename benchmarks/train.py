"""What distillation adds to a training step.

    python benchmarks/train.py                # full size, about half an hour on two CPU cores
    python benchmarks/train.py --threads 1 --repeats 0    # a step of each, for a busy machine: compare the CPU's seconds
    python benchmarks/train.py --small        # a tiny detector, in seconds: for a test
    python benchmarks/train.py --device cuda --repeats 20

A step of four detectors on the same images, one after the other in each round, so that other load hits
all of them:

- ``plain``: mmdet's Faster R-CNN, with the backbone, neck, RPN, sampler, box head (four convolutions) and
  number of classes of OADP, and a linear classifier;
- ``vild`` and ``oadp``: the shipped configs on OV-COCO;
- ``separate``: OADP as the authors arrange it: a RoIAlign pass each for samples, objects and blocks, and
  every loss and the step of every schedule read from the device by itself.

A step is forward, losses for the log, backward and optimizer; weights and data are random, so no files are
needed. Times are ratios to the plain detector: of seconds, and of the processor's seconds, which hold on a
busy machine (with ``--threads 1``). ``flop_ratio`` is the ratio of the arithmetic, which the method asks
for. ``operations`` (forward and backward; on a GPU most are one kernel) and ``host_waits`` (forward and
losses) are counted; without a GPU, waits are those of the pretended one of the tests. ``share`` has the
forward and backward of each part, as a share of the plain step; with ``--repeats 0``, of the processor's
seconds, in proportion to the seconds of the step. There, the step of the first variant is the warm-up as
well, which takes about 5 %: do not name ``plain`` first (``--variants vild plain oadp separate``). The last
line is a JSON object.
"""

import argparse
import functools
import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import mmcv.runner
import torch
from train_counts import count_and_profile, count_waits, count_work, seconds_by_part, to_device
from train_variants import VARIANTS, batch_for, build, make_batch

LEARNING_RATE = 1e-6  # so low that all rounds compute the same


def main() -> None:
    args = parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    batch = make_batch(args.images, tuple(args.size), args.objects)
    with tempfile.TemporaryDirectory() as folder:
        detectors = {k: build(k, pathlib.Path(folder), args.small) for k in args.variants}
    for detector in detectors.values():
        mmcv.runner.wrap_fp16_model(
            detector.to(device)
        )  # has an effect on a GPU only, as in training
    steps = {k: make_step(v, to_device(batch, device)) for k, v in detectors.items()}
    figures = measure(steps, detectors, args.repeats, device)
    # The number of waits does not depend on the size.
    batch = make_batch(args.images, (args.size[0] // 4, args.size[1] // 4), args.objects)
    for name, detector in detectors.items():
        there = to_device(batch_for(detector, batch), device)
        figures[name]['host_waits'] = count_waits(detector, there, device)
    result = summarize(figures)
    print_table(result)
    print(
        json.dumps(
            dict(
                benchmark='train',
                device=torch.cuda.get_device_name() if device.type == 'cuda' else 'cpu',
                threads=torch.get_num_threads(),
                torch=torch.__version__,
                size=args.size,
                images=args.images,
                objects=args.objects,
                blocks=len(batch['block_bboxes'][0]),
                **result,
            )
        )
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    add('--variants', nargs='+', default=list(VARIANTS), choices=list(VARIANTS))
    add(
        '--repeats',
        type=int,
        default=3,
        help='rounds of one step of each; 0: a single step, counted, timed and profiled at once',
    )
    add('--size', type=int, nargs=2, default=[1333, 800], help='width and height of the images')
    add('--images', type=int, default=2, help='in a step')
    add('--objects', type=int, default=800, help="with CLIP's features, in an image")
    add('--threads', type=int, help="of torch (default: torch's choice)")
    add('--small', action='store_true', help='a tiny detector, 192 × 128 pixels, 8 objects')
    args = parser.parse_args()
    if 'plain' not in args.variants:
        parser.error('--variants: expected plain among them, the ratios are to it')
    if args.small:
        args.size, args.objects = [192, 128], 8
    return args


def make_step(detector: Any, batch: Mapping[str, Any]) -> Callable[[], None]:
    """Return a training step on a batch; each call samples the same boxes."""
    parameters = [p for p in detector.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, LEARNING_RATE, momentum=0.9, weight_decay=2.5e-5)
    own = batch_for(detector, dict(batch))

    def step() -> None:
        torch.manual_seed(0)
        optimizer.zero_grad()
        loss, _ = detector._parse_losses(detector(**own))
        loss.backward()
        optimizer.step()

    return step


def measure(
    steps: dict[str, Callable[[], None]],
    detectors: dict[str, Any],
    repeats: int,
    device: torch.device,
) -> dict[str, dict[str, Any]]:
    """Count the work of each step, time it in rounds, and time its parts."""
    figures: dict[str, dict[str, Any]] = {k: dict(seconds=[], cpu_seconds=[]) for k in steps}
    timed = {k: functools.partial(time_step, v, figures[k], device) for k, v in steps.items()}
    for name, step in timed.items() if not repeats else ():
        figures[name] |= count_and_profile(step, detectors[name])
        # The profile is of this step, so that its seconds become the processor's.
        busy = figures[name]['cpu_seconds'][0] / figures[name]['seconds'][0]
        parts = figures[name]['seconds_by_part']
        figures[name]['seconds_by_part'] = {k: [busy * s for s in v] for k, v in parts.items()}
        print(f'{name}: {figures[name]}', flush=True)
    for name, step in steps.items() if repeats else ():  # this is also the warm-up
        figures[name] |= count_work(step)
    for _ in range(repeats):
        for name, step in timed.items():
            step()
            print(f'{name}: {figures[name]["seconds"][-1]:.2f} s', flush=True)
    for name, step in steps.items() if repeats else ():
        figures[name]['seconds_by_part'] = seconds_by_part(step, detectors[name])
    return figures


def time_step(step: Callable[[], None], figures: dict[str, Any], device: torch.device) -> None:
    """Add the seconds of a step, and those of the processor, to the figures."""

    def wait() -> None:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)

    wait()
    start, busy = time.perf_counter(), time.process_time()
    step()
    wait()
    figures['seconds'].append(time.perf_counter() - start)
    figures['cpu_seconds'].append(time.process_time() - busy)


def summarize(figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of each detector as ratios to the plain one."""
    plain = figures['plain']
    total = sum(sum(both) for both in plain['seconds_by_part'].values())
    result = {}
    for name, own in figures.items():
        flop_ratio = own['gflop'] / plain['gflop']
        cpu_ratio = min(own['cpu_seconds']) / min(plain['cpu_seconds'])
        result[name] = dict(
            ratio_min=round(min(own['seconds']) / min(plain['seconds']), 3),
            ratio_median=round(median_ratio(own['seconds'], plain['seconds']), 3),
            cpu_ratio=round(cpu_ratio, 3),
            cpu_ratio_median=round(median_ratio(own['cpu_seconds'], plain['cpu_seconds']), 3),
            flop_ratio=round(flop_ratio, 3),
            seconds_min=round(min(own['seconds']), 3),
            cpu_seconds_min=round(min(own['cpu_seconds']), 3),
            gflop=own['gflop'],
            operations=own['operations'],
            host_waits=own['host_waits'],
            share={
                part: [round(s / total, 4) for s in both]
                for part, both in own['seconds_by_part'].items()
            },
        )
    return result


def median_ratio(own: list[float], plain: list[float]) -> float:
    """Return the median over the rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(own, plain, strict=True))


def print_table(result: dict[str, Any]) -> None:
    print('\nforward + backward of each part, in percent of a plain step')
    parts = {part: None for own in result.values() for part in own['share']}
    print(f'{"":13}', *(f'{name:>16}' for name in result))
    for part in parts:
        cells = [own['share'].get(part) for own in result.values()]
        texts = [f'{100 * c[0]:.1f} + {100 * c[1]:.1f}' if c else '' for c in cells]
        print(f'{part:13}', *(f'{text:>16}' for text in texts))
    for key in ('ratio_min', 'ratio_median', 'cpu_ratio', 'flop_ratio', 'operations', 'host_waits'):
        print(f'{key:13}', *(f'{own[key]:>16}' for own in result.values()))


if __name__ == '__main__':
    main()
