"""DetPro's learned prompts: give the released tensor the names it lacks.

DetPro releases its LVIS embeddings as a bare tensor in the order of LVIS's category ids. Writes
``data/prompts/detpro_lvis.pth``, in which they are found by name.
"""

from __future__ import annotations

__all__ = ['lvis_names', 'main', 'read_detpro']

import argparse
import json
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run

if TYPE_CHECKING:
    from torch import Tensor

_NAMES = pathlib.Path(__file__).with_name('lvis_names.json')


def lvis_names() -> list[str]:
    """The 1203 category names of LVIS v1 by ascending id (which follows the synsets, not the names)."""
    return json.loads(_NAMES.read_text(encoding='utf-8'))


def read_detpro(path: str | os.PathLike) -> Tensor:
    """Read DetPro's embeddings.

    Args:
        path: the released file.

    Returns:
        (1203, d) float32, of unit length.

    Raises:
        FileNotFoundError: no such file; says where to get it.
        ValueError: not a tensor of that shape.
    """
    from torch import Tensor
    from torch.nn import functional

    from oadp import compat

    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: not there; download the DetPro prompt as the README says under "Pretrained Models"'
        )
    tensor = compat.load_tensors(path)
    count = len(lvis_names())
    if not isinstance(tensor, Tensor) or tensor.ndim != 2 or len(tensor) != count:
        found = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(
            f'{path}: expected a tensor with a row for each of the {count} classes of LVIS, found {found}'
        )
    return functional.normalize(tensor.float(), dim=1)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog='python -m oadp.prompts.detpro',
        description='Turn the prompts that DetPro releases for LVIS into a prompt file with names. '
        'DRY_RUN=True writes into work_dirs/dry_run/prompts/.',
    )
    parser.add_argument(
        '--source',
        type=pathlib.Path,
        default=pathlib.Path('pretrained/detpro/iou_neg5_ens.pth'),
        help="DetPro's tensor (default: %(default)s)",
    )
    parser.add_argument(
        '--out',
        type=pathlib.Path,
        default=pathlib.Path('data/prompts/detpro_lvis.pth'),
        help='the prompt file to write (default: %(default)s)',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from oadp.data.prompt_files import output_path, save_prompts

    out = output_path(args.out)
    embeddings = read_detpro(args.source)
    save_prompts(out, lvis_names(), embeddings)
    runtime.get_logger().info('%s: %d names', out, len(embeddings))


if __name__ == '__main__':
    run('oadp.prompts.detpro', main)
