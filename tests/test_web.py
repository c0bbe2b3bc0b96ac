"""The page: requests have their own names, uploads are limited, and a real browser shows boxes."""

import concurrent.futures
import json
import logging
import os
import pathlib
import shutil
import socket
import urllib.parse

import numpy as np
import PIL.Image
import pytest
from image_files import UNREADABLE

gradio = pytest.importorskip('gradio', reason='the extra `web` is not installed')

from oadp import Detector  # noqa: E402
from oadp.data import drawing as visualize  # noqa: E402
from oadp.inference import web_page  # noqa: E402
from oadp.inference.web_page import Page, build_page, find_examples, launch  # noqa: E402
from oadp.web import main, parse_args  # noqa: E402

IMAGE = 'data/coco/val2017/000000440669.jpg'
TIMEOUT = 60  # seconds that the browser waits for something to appear


@pytest.fixture
def detector(thin) -> Detector:
    return Detector.from_checkpoint('oadp_ov_coco.py', 'oadp_ov_coco.pth', device='cpu')


@pytest.fixture
def page(detector) -> Page:
    return Page(detector)


def test_answer(page, detector):
    drawn, summary, rows = page.detect(IMAGE, '', 0.01)
    expected = detector(IMAGE, 0.01, web_page.MAX_DETECTIONS)
    assert len(rows) == len(expected) > 0
    assert [row[0] for row in rows] == expected.data['class_name'].tolist()
    assert rows[0][1] == round(float(expected.confidence[0]), 3)
    x1, y1, x2, y2 = expected.xyxy[0]
    assert rows[0][2:] == [round(float(v)) for v in (x1, y1, x2 - x1, y2 - y1)]
    assert f'{len(rows)} found among 65 names' in summary
    assert drawn.dtype == np.uint8 and drawn.shape[2] == 3


def test_concurrent_requests_have_their_own_names(page):
    words = ['red kite, mug', 'cat\ndog', '', 'bear']
    alone = [page.detect(IMAGE, w, 0.01)[2] for w in words]
    assert {row[0] for row in alone[1]} <= {'cat', 'dog'}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda i: page.detect(IMAGE, words[i % 4], 0.01)[2], range(8)))
    assert rows == alone * 2


def test_repeated_names_give_a_warning(page, monkeypatch):
    warnings = []
    monkeypatch.setattr(gradio, 'Warning', warnings.append)
    page.detect(IMAGE, 'cat, Cat', 0.5)
    assert warnings == ["'Cat' is given twice: the first one is used"]


@pytest.mark.parametrize(
    'path, words, message',
    [
        pytest.param(None, 'mug', 'Give an image', id='no image'),
        pytest.param(IMAGE, ',,', 'at least one', id='no words'),
        pytest.param(IMAGE, 'x' * 300, 'more than 200', id='over-long word'),
        pytest.param(IMAGE, ','.join(map(str, range(301))), '301 names', id='too many'),
        pytest.param('oadp_ov_coco.py', '', 'oadp_ov_coco.py: not a readable', id='no image'),
    ],
)
def test_refuses(page, monkeypatch, path, words, message):
    monkeypatch.setattr(gradio, 'Warning', lambda _: None)
    with pytest.raises(gradio.Error, match=message):
        page.detect(path, words, 0.3)


@pytest.mark.parametrize(
    'error, is_logged_with_traceback',
    [
        (FileNotFoundError('pretrained/clip/ViT-B-32.pt: no CLIP weights there'), False),
        (OSError(28, 'No space left on device', '/srv/cache/rows.npy'), False),
        (RuntimeError('mat1 and mat2 of /srv/models/w.pth cannot be multiplied'), True),
    ],
)
def test_paths_of_the_server_are_not_shown(
    page, monkeypatch, caplog, error, is_logged_with_traceback
):
    def fail(*_):
        raise error

    monkeypatch.setattr(page, '_with_vocabulary', fail)
    monkeypatch.setattr(logging.getLogger('oadp'), 'propagate', True)
    with pytest.raises(gradio.Error, match='cannot answer this request') as e:
        page.detect(IMAGE, 'mug', 0.3)
    assert '/' not in str(e.value)
    assert str(getattr(error, 'filename', None) or error) in caplog.text
    assert ('Traceback' in caplog.text) is is_logged_with_traceback


def test_names_are_counted_before_they_are_cleaned(page, monkeypatch):
    monkeypatch.setattr('oadp.inference.vocabulary.clean_names', None)
    with pytest.raises(gradio.Error, match='50000 names; this page accepts at most 300'):
        page.detect(IMAGE, 'mug,' * 50_000, 0.3)


def test_large_images_are_refused_before_they_are_decoded(page, tmp_path):
    PIL.Image.new('1', (10_000, 10_000)).save(tmp_path / 'bomb.png')
    with pytest.raises(gradio.Error, match='bomb.png.*more than') as e:
        page.detect(str(tmp_path / 'bomb.png'), '', 0.3)
    assert str(tmp_path) not in str(e.value), 'folders of the server are not shown'


def test_long_drawings_are_reduced_to_the_limit_of_jpeg(page, tmp_path):
    PIL.Image.new('RGB', (300, 66_000), 'red').save(tmp_path / 'long.png')
    drawn, _, _ = page.detect(str(tmp_path / 'long.png'), '', 0.9)
    assert drawn.shape == (16_384, 74, 3)


def test_out_of_memory(page, monkeypatch):
    def fail(*_):
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        )

    monkeypatch.setattr(visualize, 'draw', fail)
    with pytest.raises(gradio.Error, match='out of memory'):
        page.detect(IMAGE, '', 0.9)


@pytest.mark.parametrize('kind', UNREADABLE)
def test_unreadable_images_give_the_error_of_all_commands(page, tmp_path, kind):
    write, message = UNREADABLE[kind]
    path = write(tmp_path)
    with pytest.raises(gradio.Error, match=message) as e:
        page.detect(str(path), '', 0.9)
    assert str(tmp_path) not in str(e.value)


def test_find_examples(thin, tmp_path):
    assert len(find_examples(pathlib.Path('data/coco/val2017'))) == 4
    assert find_examples(tmp_path / 'none') == []


def test_bound_to_this_machine_by_default():
    args = parse_args(['c.py', 'c.pth'])
    assert (args.host, args.port, args.clip) == ('127.0.0.1', 7860, None)


def test_without_gradio(monkeypatch):
    monkeypatch.setattr(web_page.importlib, 'import_module', _raise_import_error)
    with pytest.raises(ImportError, match=r'\[web\]'):
        main(['none.py', 'none.pth'])


def _raise_import_error(name: str):
    raise ImportError(f'No module named {name!r}')


@pytest.fixture
def served(detector, thin, tmp_path, monkeypatch):
    """The page's address, while it is served."""
    monkeypatch.setenv('GRADIO_TEMP_DIR', str(tmp_path / 'gradio'))
    blocks = build_page(detector, find_examples(pathlib.Path('data/coco/val2017')))
    launch(blocks, '127.0.0.1', None, prevent_thread_lock=True)
    yield blocks.local_url
    blocks.close()


@pytest.mark.slow
def test_uploads_are_bounded(served, tmp_path):
    httpx = pytest.importorskip('httpx')
    large = os.urandom((web_page.MAX_UPLOAD + 1) * 1024**2)
    url = f'{served}gradio_api/upload'
    assert httpx.post(url, files={'files': ('a.jpg', large)}, trust_env=False).status_code == 413
    assert httpx.post(url, files={'files': ('a.jpg', b'x')}, trust_env=False).status_code == 200


@pytest.fixture
def browser(tmp_path):
    selenium = pytest.importorskip('selenium.webdriver')
    from selenium.webdriver.chrome.service import Service

    binary = shutil.which('chromium') or shutil.which('google-chrome')
    driver = shutil.which('chromedriver')
    if not binary or not driver:
        pytest.skip('no chromium with its driver')
    options = selenium.ChromeOptions()
    options.binary_location = binary
    for argument in (
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--disable-dev-shm-usage',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--window-size=1280,1000',
        f'--user-data-dir={tmp_path / "chromium"}',
    ):
        options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', {'performance': 'ALL'})
    browser = selenium.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()


def requested_hosts(browser) -> set[str]:
    """Hosts that the page asked anything of."""
    messages = [json.loads(e['message'])['message'] for e in browser.get_log('performance')]
    urls = [
        m['params']['request']['url']
        for m in messages
        if m['method'] == 'Network.requestWillBeSent'
    ]
    parsed = [urllib.parse.urlparse(url) for url in urls]
    return {p.hostname for p in parsed if p.scheme in ('http', 'https', 'ws', 'wss')}


@pytest.mark.slow
def test_in_a_browser(served, browser, thin, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(browser, TIMEOUT)

    def find(css: str):
        return wait.until(lambda b: b.find_element(By.CSS_SELECTOR, css))

    browser.get(served)
    find('#image input[type=file]').send_keys(str(thin / IMAGE))
    find('#image img')
    find('#words textarea, #words input').send_keys('red kite, mug')
    threshold = find('#threshold input[type=number]')
    threshold.clear()
    threshold.send_keys('0.01\t')
    find('#detect').click()
    wait.until(lambda b: 'found among 2 names' in b.find_element(By.ID, 'summary').text)
    image = find('#drawn img')
    wait.until(lambda b: image.get_property('naturalWidth') > 0)
    table = find('#table').text
    browser.save_screenshot(str(tmp_path / 'page.png'))
    assert 'red kite' in table or 'mug' in table
    assert 'person' not in table
    assert requested_hosts(browser) == {'127.0.0.1'}, 'works offline'
    errors = [e for e in browser.get_log('browser') if e['level'] == 'SEVERE']
    assert not errors


def test_a_port_in_use(thin, monkeypatch):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f'{port}.*--port'):
            main(['oadp_ov_coco.py', 'oadp_ov_coco.pth', '--port', str(port)])
