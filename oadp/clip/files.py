"""The file of CLIP's weights. Apart from the loader, so that a command's help needs no torch."""

__all__ = ['CLIP_PATH', 'OPENAI_SHA256']

import pathlib

CLIP_PATH = pathlib.Path('pretrained/clip/ViT-B-32.pt')
"""Where the README puts OpenAI's ViT-B/32."""

OPENAI_SHA256 = {
    'ViT-B-32.pt': '40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af',
}
"""SHA-256 of OpenAI's archives, by file name (it is a part of their download address)."""
