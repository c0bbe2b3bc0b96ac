"""Measure the seconds per image of detection, and the share of each stage.

    python benchmarks/detect.py [--config configs/dp/oadp_ov_coco.py] [--images 5] [--threads 2]

This runs the full model of a config (ResNet-50 for those in configs/dp) with random weights on one image at
a time, at the config's test scale (1333 × 800). Neither data nor a checkpoint is needed: the prompt files are
random, too. The number of detections depends on the weights; it affects only the time of drawing. With
``--onnx``, the detector is exported, and torch and ONNX Runtime are measured one after the other on the CPU,
each in a process of its own: seconds per image, seconds from the start of the process to the first detections,
and peak memory. The last line is a JSON object.
"""

import argparse
import collections
import functools
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from oadp.categories import get_categories
from oadp.data.drawing import draw
from oadp.dp import build_detector
from oadp.inference.torch_detector import Detector
from oadp.utils.config import dump_config, load_config, to_plain

DIMENSION = 512  # of CLIP's embeddings
WIDTH, HEIGHT = 1333, 800  # pixels; an image of this size is not resized
NUM_DRAWN = 20  # detections that are drawn, as in a photo with many objects


class Clock:
    """Add up the seconds spent in methods, by stage.

    Args:
        device: if it is a GPU, it is synchronized before and after each call.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: collections.Counter[str] = collections.Counter()
        self._device = device

    def watch(self, owner: Any, method: str, stage: str) -> None:
        inner = getattr(owner, method)

        @functools.wraps(inner)
        def timed(*args: Any, **kwargs: Any) -> Any:
            return self.time(stage, functools.partial(inner, *args, **kwargs))

        setattr(owner, method, timed)

    def time(self, stage: str, call: Callable[[], Any]) -> Any:
        self._wait()
        start = time.perf_counter()
        result = call()
        self._wait()
        self.seconds[stage] += time.perf_counter() - start
        return result

    def _wait(self) -> None:
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)


def random_prompts(model: Any, names: tuple[str, ...], folder: pathlib.Path) -> None:
    """Make every classifier of a model's config read a random prompt file."""
    embeddings = torch.nn.functional.normalize(torch.randn(len(names), DIMENSION), dim=1)
    content = {'names': list(names), 'embeddings': embeddings}
    torch.save(
        {**content, 'scaler': torch.tensor(18.5), 'bias': torch.tensor(3.75)}, folder / 'p.pth'
    )
    nodes = [model]
    while nodes:
        node = nodes.pop()
        if isinstance(node, Mapping):
            if 'prompts' in node:
                node['prompts'] = str(folder / 'p.pth')
            nodes += node.values()


def random_detector(path: pathlib.Path, device: str, folder: pathlib.Path) -> Detector:
    """Return a detector with random weights; write its ``config.py`` and ``model.pth`` to the folder."""
    config = to_plain(load_config(path))
    random_prompts(config['model'], get_categories(config['categories']).all_, folder)
    torch.save(build_detector(config).state_dict(), folder / 'model.pth')
    dump_config(config, folder / 'config.py')
    return Detector.from_checkpoint(config, folder / 'model.pth', device=device)


def compare_engines(
    detector: Detector, folder: pathlib.Path, images: int, threads: int | None
) -> dict[str, dict[str, Any]]:
    """Measure torch and ONNX Runtime on the CPU, each in a process of its own."""
    from oadp.inference.onnx_export import export_detector
    from oadp.inference.preprocessing import Preprocessing

    pipeline = load_config(folder / 'config.py').validator.dataloader.dataset.pipeline
    preprocessing = Preprocessing.from_pipeline(to_plain(pipeline))
    export_detector(detector, preprocessing, folder / 'model.onnx')
    job = {
        'config': str(folder / 'config.py'),
        'checkpoint': str(folder / 'model.pth'),
        'onnx': str(folder / 'model.onnx'),
        'images': images,
        'threads': threads,
        'size': [WIDTH, HEIGHT],
    }
    results = {}
    for engine in ('torch', 'onnxruntime'):
        job |= {'engine': engine, 'started': time.time()}
        argv = [sys.executable, str(pathlib.Path(__file__).with_name('engine.py')), json.dumps(job)]
        out = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
        results[engine] = json.loads(out.stdout.splitlines()[-1])
    return results


def measure(detector: Detector, images: int, device: torch.device) -> dict[str, Any]:
    clock = Clock(device)
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    model = detector._view.model
    detector(image)  # The first image includes what is set up once.
    clock.watch(detector, '_prepare', 'preparation')
    clock.watch(model, 'extract_feat', 'backbone')
    clock.watch(model.rpn_head, 'simple_test_rpn', 'rpn')
    clock.watch(model.roi_head, 'simple_test_bboxes', 'heads')
    if model.roi_head.with_mask:
        clock.watch(model.roi_head, 'simple_test_mask', 'heads')
    totals, busy = [], time.process_time()
    for _ in range(images):
        start = time.perf_counter()
        detections = detector(image)
        clock.time('drawing', functools.partial(draw, image, detections[:NUM_DRAWN]))
        totals.append(time.perf_counter() - start)
    busy = time.process_time() - busy
    whole = sum(totals)
    return {
        'images_per_second': round(images / whole, 4),
        'median_seconds': round(statistics.median(totals), 3),
        'cpu_seconds_per_image': round(busy / images, 3),  # of all cores; holds on a busy machine
        'share': {k: round(v / whole, 4) for k, v in clock.seconds.items()},
        'detections': len(detections),
    }


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--config', type=pathlib.Path, default=pathlib.Path('configs/dp/oadp_ov_coco.py')
    )
    parser.add_argument('--images', type=int, default=5)
    parser.add_argument('--threads', type=int, help="of torch (default: torch's choice)")
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--onnx', action='store_true', help='compare with ONNX Runtime (needs the extra `export`)'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = torch.device(args.device)
    with tempfile.TemporaryDirectory() as name:
        detector = random_detector(args.config, args.device, pathlib.Path(name))
        engines = {}
        if args.onnx:
            engines = compare_engines(detector, pathlib.Path(name), args.images, args.threads)
        result = measure(detector, args.images, device)
    for stage, share in result['share'].items():
        print(f'{stage:12} {share:6.1%}')
    print(f'{result["images_per_second"]} images/s on {device}, {torch.get_num_threads()} threads')
    for engine, values in engines.items():
        print(engine, values)
    print(
        json.dumps(
            {
                'benchmark': 'detect',
                'config': str(args.config),
                'size': [WIDTH, HEIGHT],
                'device': str(device),
                'threads': torch.get_num_threads(),
                'torch': torch.__version__,
                **result,
                **({'engines': engines} if engines else {}),
            }
        )
    )


if __name__ == '__main__':
    main()
