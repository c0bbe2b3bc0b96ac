"""Write the prompts of ViLD to ``data/prompts/vild.pth``, for any category set and CLIP.

The embedding of a category is the mean over many sentences that contain its name (``ensemble``).
"""

__all__ = ['main']

import argparse
import pathlib
from collections.abc import Sequence

from oadp.categories import get_categories
from oadp.data.sources import CLIP_PATH
from oadp.prompts.templates import VILD
from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.progress import Progress

DRY_RUN_NAMES = 5


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of ``python -m oadp.prompts.vild``."""
    parser = ArgumentParser(
        prog='python -m oadp.prompts.vild',
        description=f'Encode category names with CLIP, averaged over {len(VILD)} sentences. '
        f'Needs the weights of CLIP. DRY_RUN=True encodes {DRY_RUN_NAMES} names and writes to work_dirs/dry_run/prompts/.',
    )
    parser.add_argument(
        '--categories',
        nargs='+',
        default=['coco', 'lvis'],
        metavar='SET',
        help='coco, lvis, or JSON files with base and novel names; the union of their names is encoded '
        '(default: coco lvis)',
    )
    parser.add_argument(
        '--clip',
        type=pathlib.Path,
        default=CLIP_PATH,
        help='weights of CLIP (default: %(default)s)',
    )
    parser.add_argument(
        '--out',
        type=pathlib.Path,
        default=pathlib.Path('data/prompts/vild.pth'),
        help='the prompt file to write (default: %(default)s)',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    from oadp.clip.weights import load_clip
    from oadp.data.prompt_files import output_path, save_prompts
    from oadp.prompts.ensemble import embed_names

    names = sorted({name for key in args.categories for name in get_categories(key).all_})
    if runtime.dry_run():
        names = names[:DRY_RUN_NAMES]
    out = output_path(args.out)
    with runtime.launch() as world:
        if world.is_main:
            model = load_clip(args.clip, world.device)
            with Progress(len(names) * len(VILD), 'encode', 'sentences') as progress:
                embeddings = embed_names(model, names, progress=progress.update)
            save_prompts(out, names, embeddings)
            runtime.get_logger().info('%s: %d names', out, len(names))


if __name__ == '__main__':
    run('oadp.prompts.vild', main)
