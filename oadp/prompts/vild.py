"""Prompt ensembles: a category's embedding is the mean over many sentences about it.

Writes ``data/prompts/vild.pth``, or that of any category set and CLIP.
"""

__all__ = ['embed_names', 'main']

import argparse
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from .. import runtime
from ..categories import get_categories
from ..clip_model import CLIP_PATH, encode_texts, load_clip
from ..progress import Progress
from .files import output_path, save_prompts
from .templates import VILD

DRY_RUN_NAMES = 5
BATCH_SIZE = 512  # texts


def embed_names(
    model: nn.Module,
    names: Sequence[str],
    templates: Sequence[str] = VILD,
    progress: Callable[[int], Any] | None = None,
) -> Tensor:
    """Average the normalised embeddings of a name's sentences.

    Names go into the sentences as they are, underscores and parentheses included: so were the
    released embeddings made, and detectors trained with them expect these.

    Args:
        model: a CLIP.
        names: n category names.
        templates: sentences with ``{}`` in the name's place.
        progress: called with the number of sentences done since the last call.

    Returns:
        (n, d) float32; means of unit vectors, so a little shorter than 1. Normalising them again
        would change the logits that released checkpoints were trained with.
    """
    texts = [template.format(name) for name in names for template in templates]
    embeddings = encode_texts(model, texts, BATCH_SIZE, progress)
    return embeddings.unflatten(0, (len(names), len(templates))).mean(dim=1)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m oadp.prompts.vild',
        description=f'Embed category names with CLIP, averaged over {len(VILD)} sentences. '
        f'Needs the weights of CLIP. DRY_RUN=True embeds {DRY_RUN_NAMES} names, into work_dirs/dry_run/prompts/.',
    )
    parser.add_argument(
        '--categories',
        nargs='+',
        default=['coco', 'lvis'],
        metavar='SET',
        help='coco, lvis, or JSON files with base and novel names; their union (default: coco lvis)',
    )
    parser.add_argument(
        '--clip', type=pathlib.Path, default=CLIP_PATH, help='weights (default: %(default)s)'
    )
    parser.add_argument(
        '--out',
        type=pathlib.Path,
        default=pathlib.Path('data/prompts/vild.pth'),
        help='the prompt file to write (default: %(default)s)',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    names = sorted({name for key in args.categories for name in get_categories(key).all_})
    if runtime.dry_run():
        names = names[:DRY_RUN_NAMES]
    out = output_path(args.out)
    with runtime.launch() as world:
        if world.is_main:
            model = load_clip(args.clip, world.device)
            with Progress(len(names) * len(VILD), 'encode', 'texts') as progress:
                embeddings = embed_names(model, names, progress=progress.update)
            save_prompts(out, names, embeddings)
            runtime.get_logger().info('%s: %d names', out, len(names))


if __name__ == '__main__':
    main()
