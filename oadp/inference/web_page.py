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
    import supervision

    from oadp.inference.detector import Detector

MAX_UPLOAD = 20  # megabytes
MAX_PIXELS = 50_000_000  # of an image; a small file can contain a very large one
MAX_DRAWN_SIDE = 16_384  # pixels of a drawing; the limit of browsers and JPEG
MAX_NAMES = 300  # per request
MAX_DETECTIONS = 100
MAX_WAITING = 32  # requests in the queue; further ones are refused
AT_ONCE = 2  # concurrent requests
VOCABULARIES_KEPT = 64
NUM_EXAMPLES = 4
KEEP_UPLOADS = 3600  # seconds

_PATH = re.compile(r'(?<![\w/])[~.]{0,2}/\w|\w/[\w./-]*\.\w|[A-Za-z]:\\')
"""Text that looks like a path of this machine: absolute, or relative with a suffix."""

COLUMNS = ['class', 'score', 'left', 'top', 'width', 'height']

TITLE = '# Open-vocabulary detection\nGive an image and the names to detect in it.'


def import_gradio() -> types.ModuleType:
    """Import Gradio with its telemetry disabled.

    Raises:
        ImportError: it is not installed; the message says how to install it.
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
    """The functions behind the widgets.

    Args:
        detector: a detector with the default vocabulary.
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
            path: the uploaded image.
            words: names, separated by commas or line breaks; blank for the default vocabulary.
            score_threshold: keep only detections that score higher.

        Returns:
            The image with boxes, a sentence with the number of detections and the time, and the rows
            of the table (``COLUMNS``).

        Raises:
            gradio.Error: there is no image, it is unreadable or too large, or the names are invalid.
                The page shows the message.
        """
        from oadp.data.drawing import draw
        from oadp.data.images import read_image

        start = time.perf_counter()
        if path is None:
            raise self._gradio.Error('Give an image first.')
        try:
            detector = self._detector_for(words)
            image = read_image(path, max_pixels=MAX_PIXELS)
            detections = detector(image, score_threshold, MAX_DETECTIONS)
            if words.strip():
                detections.data.pop('is_base')  # The visitor's names have one color each.
            drawn = draw(image, detections, MAX_DRAWN_SIDE)
        except Exception as e:  # gradio would show the message of any other error unchanged
            raise self._gradio.Error(_sentence(e, path)) from e
        seconds = time.perf_counter() - start
        rows = _table_rows(detections)
        summary = f'{len(rows)} found among {len(detector.names)} names in {seconds:.2f} s'
        return drawn, summary, rows

    def _detector_for(self, words: str) -> Detector:
        from oadp.inference.vocabulary import clean_names, parse_names

        if not words.strip():
            return self._detector
        names = parse_names(words)
        if len(names) > MAX_NAMES:  # before cleaning, which takes time
            raise ValueError(f'{len(names)} names; this page accepts at most {MAX_NAMES}')
        names = clean_names(names, self._gradio.Warning)
        return self._with_vocabulary(tuple(names))


def _table_rows(detections: supervision.Detections) -> list[list[Any]]:
    """Return the rows of the table, whose columns are ``COLUMNS``."""
    assert detections.confidence is not None
    columns = detections.data['class_name'], detections.confidence, detections.xyxy.tolist()
    return [
        [str(name), round(float(score), 3), round(x1), round(y1), round(x2 - x1), round(y2 - y1)]
        for name, score, (x1, y1, x2, y2) in zip(*columns, strict=True)
    ]


def _sentence(error: Exception, image: str) -> str:
    """Return the message that a visitor sees: the fault of the request, without paths of the server."""
    cause = find_cause(error)
    text = describe_error(cause).replace(image, pathlib.Path(image).name)
    if is_user_error(cause) and not _PATH.search(text):
        return text
    runtime.get_logger().error('a request failed: %s', text, exc_info=not is_user_error(cause))
    return 'The server cannot answer this request; see its log.'


def build_page(detector: Detector, examples: Sequence[pathlib.Path] = ()) -> Any:
    """Build the page, a ``gradio.Blocks``, which ``launch`` serves.

    Args:
        detector: a detector with the config's classes as its vocabulary.
        examples: images that visitors can try.
    """
    gradio = import_gradio()
    page = Page(detector)
    with gradio.Blocks(
        title='OADP', analytics_enabled=False, delete_cache=(KEEP_UPLOADS, KEEP_UPLOADS)
    ) as blocks:
        gradio.Markdown(TITLE)
        with gradio.Row():
            with gradio.Column():
                image, words, threshold, button = _inputs(gradio, detector)
            with gradio.Column():
                outputs = _outputs(gradio)
        if examples:
            trial = _example_names(detector)
            gradio.Examples([[str(path), trial] for path in examples], [image, words])
        gradio.on(
            [button.click, words.submit, threshold.release],
            page.detect,
            [image, words, threshold],
            outputs,
            api_name='detect',
            concurrency_limit=AT_ONCE,
        )
    return blocks.queue(max_size=MAX_WAITING)


def _inputs(gradio: types.ModuleType, detector: Detector) -> tuple[Any, Any, Any, Any]:
    """Return the widgets for the image, the names and the score threshold, and the button."""
    own = f'{len(detector.names)} classes of the config, such as {", ".join(detector.names[:3])}'
    image = gradio.Image(
        label='Image',
        type='filepath',  # the uploaded file: the detector decodes it as in training
        image_mode=None,
        sources=['upload', 'clipboard'],
        elem_id='image',
    )
    words = gradio.Textbox(
        label='Names',
        info=f'Separated by commas. Default: the {own}.',
        placeholder='red kite, mug',
        elem_id='words',
    )
    threshold = gradio.Slider(
        0, 1, value=0.3, step=0.01, label='Score threshold', elem_id='threshold'
    )
    button = gradio.Button('Detect', variant='primary', elem_id='detect')
    return image, words, threshold, button


def _outputs(gradio: types.ModuleType) -> list[Any]:
    """Return the widgets for the drawing, the summary and the table."""
    drawn = gradio.Image(
        label='Detections',
        format='jpeg',
        interactive=False,
        buttons=['download', 'fullscreen'],  # without the button that uploads it
        elem_id='drawn',
    )
    summary = gradio.Markdown(elem_id='summary')
    return [drawn, summary, gradio.Dataframe(headers=COLUMNS, interactive=False, elem_id='table')]


def _example_names(detector: Detector) -> str:
    pairs = zip(detector.names, detector.is_base, strict=True)
    novels = [name for name, is_base in pairs if not is_base]
    return ', '.join((novels or list(detector.names))[:6])


def launch(blocks: Any, host: str, port: int, **kwargs: Any) -> None:
    """Serve the page; ``kwargs`` are passed to ``gradio.Blocks.launch``."""
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
    """Return a few images of a folder; none if it does not exist."""
    from oadp.data.images import SUFFIXES

    if not folder.is_dir():
        return []
    images = (p for p in folder.rglob('*') if p.suffix.lower() in SUFFIXES)
    return sorted(itertools.islice(images, NUM_EXAMPLES))


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
