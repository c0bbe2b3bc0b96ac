"""Compare crops that are resized on a device with PIL's, for random boxes.

    python benchmarks/resample.py --boxes 2000
    python benchmarks/resample.py --boxes 20000 --device cuda

The boxes are inside the image or extend beyond it, and range from tiny to huge. The last line is a JSON
object with the largest and the mean difference of a channel of a pixel, on a scale of 0 to 255. If they
exceed 2 and 0.5, the exit status is 1.
"""

import argparse
import json
import time

import numpy as np
import torch
from PIL import Image

from oadp.oake.pixels import clip_transform, to_tensor
from oadp.oake.resample import crop_resize

MAX_DIFFERENCE, MAX_MEAN_DIFFERENCE = 2, 0.5
BOXES_PER_IMAGE = 50
RESOLUTIONS = (224, 336, 48)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--boxes', type=int, default=1000)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    worst, total, count, seconds = 0, 0.0, 0, 0.0
    for number in range(-(-args.boxes // BOXES_PER_IMAGE)):
        image = make_image(rng, is_noise=number % 2 == 0)
        boxes = make_boxes(rng, image.size)
        resolution = RESOLUTIONS[number % len(RESOLUTIONS)]
        pixels = to_tensor(image).to(args.device)
        begin = time.perf_counter()
        result = crop_resize(pixels, boxes, resolution).cpu()
        seconds += time.perf_counter() - begin
        for box, cut in zip(boxes.tolist(), result, strict=True):
            expected = clip_transform(image.crop(tuple(box)), resolution)
            difference = (cut.int() - expected.int()).abs()
            worst = max(worst, int(difference.max()))
            total += float(difference.float().mean())
            count += 1
    figures = dict(boxes=count, worst=worst, mean=total / count, crops_per_second=count / seconds)
    print(json.dumps(figures))
    return int(worst > MAX_DIFFERENCE or total / count >= MAX_MEAN_DIFFERENCE)


def make_image(rng: np.random.Generator, is_noise: bool) -> Image.Image:
    """Noise is the hardest case: every pixel has an edge."""
    width, height = rng.integers(60, 640, 2)
    cell = 1 if is_noise else 12
    shape = (height // cell + 1, width // cell + 1, 3)
    return Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).resize((width, height))


def make_boxes(rng: np.random.Generator, size_wh: tuple[int, int]) -> torch.Tensor:
    side = np.exp(rng.uniform(np.log(2), np.log(1200), (BOXES_PER_IMAGE, 1)))
    side = side * rng.uniform(0.6, 1.7, (BOXES_PER_IMAGE, 2))
    side[::2] = side[::2, :1]  # most are squares, up to the rounding of their edges
    corner = rng.uniform(-0.3, 1.0, (BOXES_PER_IMAGE, 2)) * size_wh
    boxes = torch.from_numpy(np.concatenate([corner, corner + side], axis=1)).round().int()
    boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    return boxes


if __name__ == '__main__':
    raise SystemExit(main())
