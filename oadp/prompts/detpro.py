"""Convert DetPro's learned prompts for LVIS to a prompt file.

DetPro releases its LVIS embeddings as a tensor without names, in the order of LVIS's category ids. This
command adds the names and writes ``data/prompts/detpro_lvis.pth``.
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
    """Return the 1203 category names of LVIS v1 by ascending id, which is the order of the synsets."""
    return json.loads(_NAMES.read_text(encoding='utf-8'))


def read_detpro(path: str | os.PathLike) -> Tensor:
    """Read the embeddings of DetPro.

    Args:
        path: the file that DetPro releases.

    Returns:
        (1203, d) float32, of unit length.

    Raises:
        FileNotFoundError: no such file; the message says where to get it.
        ValueError: not a tensor of this shape.
    """
    from torch import Tensor
    from torch.nn import functional

    from oadp import compat

    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such file; download the DetPro prompt, see section "Pretrained Models" of the README'
        )
    tensor = compat.load_tensors(path)
    count = len(lvis_names())
    if not isinstance(tensor, Tensor) or tensor.ndim != 2 or len(tensor) != count:
        found = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(
            f'{path}: expected a tensor with one row for each of the {count} classes of LVIS, found '
            f'{found}; download the DetPro prompt again'
        )
    return functional.normalize(tensor.float(), dim=1)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of ``python -m oadp.prompts.detpro``."""
    parser = ArgumentParser(
        prog='python -m oadp.prompts.detpro',
        description='Convert the prompts that DetPro releases for LVIS to a prompt file with names. '
        'DRY_RUN=True writes to work_dirs/dry_run/prompts/.',
    )
    parser.add_argument(
        '--source',
        type=pathlib.Path,
        default=pathlib.Path('pretrained/detpro/iou_neg5_ens.pth'),
        help='tensor file of DetPro (default: %(default)s)',
    )
    parser.add_argument(
        '--out',
        type=pathlib.Path,
        default=pathlib.Path('data/prompts/detpro_lvis.pth'),
        help='the prompt file to write (default: %(default)s)',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    from oadp.data.prompt_files import output_path, save_prompts

    out = output_path(args.out)
    embeddings = read_detpro(args.source)
    save_prompts(out, lvis_names(), embeddings)
    runtime.get_logger().info('%s: %d names', out, len(embeddings))


if __name__ == '__main__':
    run('oadp.prompts.detpro', main)
