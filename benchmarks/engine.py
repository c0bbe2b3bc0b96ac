"""Time one engine in a process of its own, so that start-up and peak memory are its own.

``benchmarks/detect.py`` starts this with a JSON object as the argument: ``engine`` (``torch`` or
``onnxruntime``), ``config`` and ``checkpoint`` or ``onnx``, ``images``, ``threads``, ``size``
(width, height) and ``started`` (``time.time()`` before the process began). It prints a JSON object.
"""

import json
import pathlib
import statistics
import sys
import time

import numpy as np

from oadp import Detector


def peak_memory() -> int:
    """Return the largest resident size of this process, in MiB (Linux)."""
    # Not `ru_maxrss`, which starts with that of the process that started this one.
    lines = pathlib.Path('/proc/self/status').read_text().splitlines()
    [line] = (line for line in lines if line.startswith('VmHWM'))
    return round(int(line.split()[1]) / 1024)


def main() -> None:
    job = json.loads(sys.argv[1])
    if job['engine'] == 'torch':
        import torch

        if job['threads']:
            torch.set_num_threads(job['threads'])
        detector = Detector.from_checkpoint(job['config'], job['checkpoint'], device='cpu')
    else:
        detector = Detector.from_onnx(job['onnx'], device='cpu', threads=job['threads'])
    width, height = job['size']
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    detector(image)
    start_up = time.time() - job['started']
    seconds, busy = [], time.process_time()
    for _ in range(job['images']):
        start = time.perf_counter()
        found = detector(image)
        seconds.append(time.perf_counter() - start)
    busy = time.process_time() - busy
    result = {
        'seconds_per_image': round(statistics.median(seconds), 3),
        'cpu_seconds_per_image': round(busy / job['images'], 3),
        'start_up_seconds': round(start_up, 2),
        'peak_memory_mb': peak_memory(),
        'detections': len(found),
    }
    print(json.dumps(result))


if __name__ == '__main__':
    main()
