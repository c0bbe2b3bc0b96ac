"""The benchmark's CLIP as the package ships it, so that the demo need not train one.

Like OpenAI's CLIP, it was trained once, for longer than its users want to wait: by the command
``python -m oadp.mini.teacher``, in about an hour on one core. ``clip.npz`` has its weights in fp16,
those of the token embedding only for the tokens that captions use.
"""

__all__ = ['PATH', 'load', 'main', 'pack']

import os
import pathlib
from typing import Any

import numpy as np
import torch

from oadp.clip.weights import load_clip, save_clip_archive, tokenize
from oadp.mini.captions import ARTICLES
from oadp.mini.classes import FILLINGS, SHAPES, SYNONYMS
from oadp.mini.clip_model import build_clip
from oadp.mini.settings import TeacherSettings
from oadp.mini.teacher import OUT
from oadp.prompts.templates import VILD
from oadp.utils.command import ArgumentParser, run
from oadp.utils.files import atomic_write
from oadp.utils.output_names import check_file

PATH = pathlib.Path(__file__).with_name('clip.npz')

TOKENS = 'token_embedding.weight'


def known_tokens() -> torch.Tensor:
    """Return the sorted ids of all tokens that captions can contain, and of start and end."""
    words = [*FILLINGS, *SHAPES, *SYNONYMS.values(), *ARTICLES, 'and']
    texts = [*(template.format(' ') for template in VILD), *words]
    # Token 0 pads shorter texts; no caption contains it.
    return tokenize(texts, TeacherSettings.context_length).unique()[1:]


def pack(model: Any, path: str | os.PathLike = PATH) -> None:
    """Write the weights of a CLIP in the form that the package ships. Atomic.

    Args:
        model: a CLIP of the sizes of ``TeacherSettings``.
        path: the file to write.
    """
    state = {key: value.detach().half().numpy() for key, value in model.state_dict().items()}
    state[TOKENS] = state[TOKENS][known_tokens().numpy()]
    with atomic_write(path) as temporary, temporary.open('wb') as file:
        np.savez_compressed(file, **state)


def load(path: str | os.PathLike = PATH) -> Any:
    """Load the shipped CLIP.

    Args:
        path: a file that ``pack`` wrote.

    Returns:
        The CLIP in evaluation mode, float32. Embeddings of tokens that no caption contains are 0.
    """
    model = build_clip(TeacherSettings())
    with np.load(path, allow_pickle=False) as file:
        state = {key: torch.from_numpy(file[key]).float() for key in file.files}
    rows = state[TOKENS]
    state[TOKENS] = torch.zeros(model.token_embedding.weight.shape)
    state[TOKENS][known_tokens()] = rows
    model.load_state_dict(state)
    return model.eval()


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments and write the shipped CLIP as an archive, or pack an archive."""
    parser = ArgumentParser(
        prog='python -m oadp.mini.shipped_clip',
        description="Write the embedded benchmark's CLIP, which the package ships, as an archive in "
        "OpenAI's layout.",
    )
    parser.add_argument('--out', type=pathlib.Path, default=OUT, help='default: %(default)s')
    parser.add_argument(
        '--pack',
        type=pathlib.Path,
        metavar='ARCHIVE',
        help=f'the reverse: replace {PATH.name} in the package by the weights of an archive that '
        '`python -m oadp.mini.teacher` wrote',
    )
    args = parser.parse_args(arguments)
    if args.pack is not None:
        pack(load_clip(args.pack))
    else:
        check_file('--out', args.out)
        save_clip_archive(load(), args.out)


if __name__ == '__main__':
    run('oadp.mini.shipped_clip', main)
