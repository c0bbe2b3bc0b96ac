"""A web page for the detector: the visitor gives an image and words, and gets boxes.

Everything the page needs is served by this machine: no fonts, scripts or statistics from elsewhere.
Each request detects with its own vocabulary, so concurrent visitors do not affect one another.
"""

from __future__ import annotations

__all__ = ['Page', 'build_page', 'find_examples', 'import_gradio', 'launch', 'serve']

import functools
import importlib
import itertools
import os
import pathlib
import re
import time
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from oadp.utils import runtime
from oadp.utils.errors import describe_error, find_cause, is_user_error

if TYPE_CHECKING:
    import numpy as np

    from oadp.inference.detector import Detector

MAX_UPLOAD = 20  # megabytes
MAX_PIXELS = 50_000_000  # of a picture; a small file can unfold to a very large one
MAX_DRAWN_SIDE = 16_384  # pixels of an answer; browsers and JPEG take no longer sides
MAX_NAMES = 300  # a request
MAX_DETECTIONS = 100
MAX_WAITING = 32  # requests in the queue; more are turned away
AT_ONCE = 2  # requests computed at a time
VOCABULARIES_KEPT = 64
NUM_EXAMPLES = 4
KEEP_UPLOADS = 3600  # seconds

_PATH = re.compile(r'(?<![\w/])[~.]{0,2}/\w|\w/[\w./-]*\.\w|[A-Za-z]:\\')
"""What looks like a path of this machine: absolute, or relative with a suffix at its end."""

COLUMNS = ['class', 'score', 'left', 'top', 'width', 'height']

TITLE = '# Detect what you name\nGive a picture and words; the detector looks for them.'


def import_gradio() -> types.ModuleType:
    """Gradio, told before it is imported that it has nothing to report to anyone.

    Raises:
        ImportError: it is not installed; says how to.
    """
    os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')
    os.environ.setdefault('HF_HUB_DISABLE_TELEMETRY', '1')
    try:
        return importlib.import_module('gradio')
    except ImportError as e:
        raise ImportError(
            f'the web page needs Gradio, which `pip install -e .[web]` installs ({e})'
        ) from e


class Page:
    """What happens between the widgets.

    Args:
        detector: with the vocabulary that serves when no words are given.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._gradio = import_gradio()
        self._with_vocabulary = functools.lru_cache(VOCABULARIES_KEPT)(detector.with_vocabulary)

    def detect(
        self, path: str | None, words: str, score_threshold: float
    ) -> tuple[np.ndarray, str, list[list[Any]]]:
        """Answer a request.

        Args:
            path: of the uploaded picture.
            words: names, separated by commas or line breaks; blank for the detector's own.
            score_threshold: only detections that score higher.

        Returns:
            The picture with boxes, a sentence with the number of detections and the seconds it took,
            and the rows of the table (``COLUMNS``).

        Raises:
            gradio.Error: no picture, an unreadable or too large one, or words that are no
                vocabulary. The page shows it.
        """
        from oadp.data.drawing import draw
        from oadp.data.images import read_image

        start = time.perf_counter()
        if path is None:
            raise self._gradio.Error('Give a picture first.')
        try:
            detector = self._detector_for(words)
            image = read_image(path, max_pixels=MAX_PIXELS)
            detections = detector(image, score_threshold, MAX_DETECTIONS)
            if words.strip():
                detections.data.pop('is_base')  # One's own words are told apart by colour.
            drawn = draw(image, detections, MAX_DRAWN_SIDE)
        except Exception as e:  # gradio would show any other message as it is
            raise self._gradio.Error(_sentence(e, path)) from e
        seconds = time.perf_counter() - start
        rows = [
            [
                str(name),
                round(float(score), 3),
                round(x1),
                round(y1),
                round(x2 - x1),
                round(y2 - y1),
            ]
            for name, score, (x1, y1, x2, y2) in zip(
                detections.data['class_name'],
                detections.confidence,
                detections.xyxy.tolist(),
                strict=True,
            )
        ]
        summary = f'{len(rows)} found among {len(detector.names)} names in {seconds:.2f} s'
        return drawn, summary, rows

    def _detector_for(self, words: str) -> Detector:
        from oadp.inference.vocabulary import clean_names, parse_names

        if not words.strip():
            return self._detector
        names = parse_names(words)
        if len(names) > MAX_NAMES:  # before they are cleaned, which takes time
            raise ValueError(f'{len(names)} names; this page takes {MAX_NAMES} at most')
        names = clean_names(names, self._gradio.Warning)
        return self._with_vocabulary(tuple(names))


def _sentence(error: Exception, picture: str) -> str:
    """What a visitor is told of an error: what is wrong with the request, and no path of the server."""
    cause = find_cause(error)
    text = describe_error(cause).replace(picture, pathlib.Path(picture).name)
    if is_user_error(cause) and not _PATH.search(text):
        return text
    runtime.get_logger().error('a request failed: %s', text, exc_info=not is_user_error(cause))
    return 'This server cannot answer that request; its log says why.'


def build_page(detector: Detector, examples: Sequence[pathlib.Path] = ()) -> Any:
    """The page, a ``gradio.Blocks``; ``launch`` serves it.

    Args:
        detector: with the config's classes as its vocabulary.
        examples: pictures to try.
    """
    gradio = import_gradio()
    page = Page(detector)
    own = f'{len(detector.names)} classes of the config, such as {", ".join(detector.names[:3])}'
    with gradio.Blocks(
        title='OADP', analytics_enabled=False, delete_cache=(KEEP_UPLOADS, KEEP_UPLOADS)
    ) as blocks:
        gradio.Markdown(TITLE)
        with gradio.Row():
            with gradio.Column():
                image = gradio.Image(
                    label='Picture',
                    type='filepath',  # as uploaded: the detector decodes as in training
                    image_mode=None,
                    sources=['upload', 'clipboard'],
                    elem_id='picture',
                )
                words = gradio.Textbox(
                    label='Words',
                    info=f'Separated by commas. Without any: the {own}.',
                    placeholder='red kite, mug',
                    elem_id='words',
                )
                threshold = gradio.Slider(
                    0, 1, value=0.3, step=0.01, label='Lowest score', elem_id='threshold'
                )
                button = gradio.Button('Detect', variant='primary', elem_id='detect')
            with gradio.Column():
                drawn = gradio.Image(
                    label='Detections',
                    format='jpeg',
                    interactive=False,
                    buttons=['download', 'fullscreen'],  # not the one that uploads it elsewhere
                    elem_id='drawn',
                )
                summary = gradio.Markdown(elem_id='summary')
                table = gradio.Dataframe(headers=COLUMNS, interactive=False, elem_id='table')
        if examples:
            novels = [
                n for n, base in zip(detector.names, detector.is_base, strict=True) if not base
            ]
            trial = ', '.join((novels or detector.names)[:6])
            gradio.Examples([[str(path), trial] for path in examples], [image, words])
        gradio.on(
            [button.click, words.submit, threshold.release],
            page.detect,
            [image, words, threshold],
            [drawn, summary, table],
            api_name='detect',
            concurrency_limit=AT_ONCE,
        )
    return blocks.queue(max_size=MAX_WAITING)


def launch(blocks: Any, host: str, port: int, **kwargs: Any) -> None:
    """Serve the page. ``kwargs`` are those of ``gradio.Blocks.launch``."""
    gradio = import_gradio()
    blocks.launch(
        server_name=host,
        server_port=port,
        share=False,
        show_error=True,
        max_file_size=f'{MAX_UPLOAD}mb',
        theme=gradio.themes.Default(
            font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace']
        ),
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        quiet=True,
        **kwargs,
    )


def find_examples(folder: pathlib.Path) -> list[pathlib.Path]:
    """A few pictures of the validation set, where it is there."""
    from oadp.data.images import SUFFIXES

    if not folder.is_dir():
        return []
    pictures = (p for p in folder.rglob('*') if p.suffix.lower() in SUFFIXES)
    return sorted(itertools.islice(pictures, NUM_EXAMPLES))


def serve(detector: Detector, examples: Sequence[pathlib.Path], host: str, port: int) -> None:
    """Serve the page until the process is interrupted.

    Args:
        detector: with the config's classes as its vocabulary.
        examples: images that visitors can try.
        host: address to listen on.
        port: port to listen on.

    Raises:
        OSError: the address is in use or does not belong to this machine.
    """
    blocks = build_page(detector, examples)
    runtime.get_logger().info('http://%s:%d; stop it with Ctrl-C', host, port)
    try:
        launch(blocks, host, port)
    except OSError as e:
        raise OSError(f'cannot listen on {host}:{port}; try another --port ({e})') from e
