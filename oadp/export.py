"""Write a detector as one ONNX file that accepts any vocabulary.

The embeddings of the names are an input of the graph. ``Detector.from_onnx``, ``oadp.detect`` and
``oadp.web`` run it without torch; docs/export.md describes the graph for other programs.
"""

__all__ = ['main']

import argparse
import pathlib
from collections.abc import Sequence

from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import add_config_arguments, load_config


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments."""
    parser = ArgumentParser(
        prog='python -m oadp.export',
        description='Write a detector as one ONNX file that accepts any vocabulary, and its prompts '
        'to NAME.vocabulary.npz in the same folder. Needs the extra `export`.',
    )
    add_config_arguments(parser)
    parser.add_argument('checkpoint', type=pathlib.Path, help='weights of a detector of CONFIG')
    parser.add_argument('out', type=_onnx_path, metavar='OUT.onnx', help='the file to write')
    parser.add_argument(
        '--opset',
        type=int,
        default=17,
        help="version of ONNX's operators, at least 16 (default: %(default)s)",
    )
    parser.add_argument(
        '--fp16',
        action='store_true',
        help='compute convolutions and linear layers in half precision: half the file size; scores '
        'differ by a few thousandths, and it is not faster on CPUs',
    )
    parser.add_argument(
        '--image-size',
        type=_side,
        nargs=2,
        metavar=('LONGER', 'SHORTER'),
        help="sides that images are resized to fit in (default: the config's img_scale); the graph "
        'itself accepts any size',
    )
    parser.add_argument(
        '--text-encoder',
        action='store_true',
        help="also write CLIP's text encoder, to NAME.text.onnx and NAME.tokenizer.json, for new names "
        'without torch',
    )
    parser.add_argument(
        '--clip',
        type=pathlib.Path,
        help="weights of the CLIP that the detector was trained with (default: the config's `clip`, or "
        "OpenAI's ViT-B/32 under pretrained/)",
    )
    return parser.parse_args(argv)


def _onnx_path(text: str) -> pathlib.Path:
    path = pathlib.Path(text)
    if path.suffix != '.onnx':
        raise argparse.ArgumentTypeError(f'{text}: expected a name that ends in .onnx')
    return path


def _side(text: str) -> int:
    value = int(text)
    if value < 32:
        raise argparse.ArgumentTypeError(f'{text}: expected at least 32 pixels')
    return value


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, load the detector and write the files."""
    args = parse_args(argv)
    from oadp.clip.weights import CLIP_PATH, load_clip
    from oadp.inference.onnx_export import export_detector, export_text_encoder, import_onnx
    from oadp.inference.onnx_files import text_path, tokenizer_path, vocabulary_path
    from oadp.inference.preprocessing import Preprocessing
    from oadp.inference.torch_detector import TorchDetector

    import_onnx()
    config = load_config(args.config, args.override)
    clip = args.clip or config.get('clip') or CLIP_PATH
    detector = TorchDetector.load(config, args.checkpoint, device='cpu', clip=clip)
    pipeline = config['validator']['dataloader']['dataset']['pipeline']
    text_encoder = load_clip(clip) if args.text_encoder else None
    preprocessing = Preprocessing.from_pipeline(pipeline, args.image_size)
    export_detector(detector, preprocessing, args.out, opset=args.opset, fp16=args.fp16, clip=clip)
    written = [args.out, vocabulary_path(args.out)]
    if text_encoder is not None:
        files = text_path(args.out), tokenizer_path(args.out)
        export_text_encoder(text_encoder, *files, opset=args.opset)
        written += files
    logger = runtime.get_logger()
    for path in written:
        logger.info('%s: %.1f MB', path, path.stat().st_size / 1e6)


if __name__ == '__main__':
    run('oadp.export', main)
