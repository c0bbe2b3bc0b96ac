"""Take a screenshot of the page of oadp.web with an image and its detections, such as docs/web.png.

    python tools/web_screenshot.py CONFIG CHECKPOINT --image FILE --out docs/web.png [--names WORDS]

Needs the extras `web` and `dev`, and Chromium with its driver (Debian: apt-get install chromium
chromium-driver).
"""

import argparse
import pathlib
import shutil
import sys
import tempfile
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from oadp.inference.arguments import (  # noqa: E402
    add_detector_arguments,
    check_detector_arguments,
    load_detector,
)
from oadp.utils.command import ArgumentParser, run  # noqa: E402

WIDTH, HEIGHT = 1024, 1000  # pixels of the window
TIMEOUT = 120  # seconds to wait for the page and for the detections


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments."""
    parser = ArgumentParser(prog='tools/web_screenshot.py', description=__doc__.splitlines()[0])
    add_detector_arguments(parser)
    add = parser.add_argument
    add('--image', type=pathlib.Path, required=True, help='the image to detect in')
    add('--out', type=pathlib.Path, required=True, help='the PNG file to write')
    add('--names', default='', help='names to detect (default: the classes of CONFIG)')
    add('--score-threshold', type=float, default=0.3, help='(default: %(default)s)')
    args = parser.parse_intermixed_args(argv)
    check_detector_arguments(parser, args)
    return args


def open_browser(profile: str) -> Any:
    """Start Chromium without a window.

    Raises:
        FileNotFoundError: Chromium or its driver is not installed.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    driver = shutil.which('chromedriver')
    binary = shutil.which('chromium') or shutil.which('google-chrome')
    if driver is None or binary is None:
        raise FileNotFoundError(
            'chromium and chromedriver are not both in PATH; on Debian: apt-get install chromium '
            'chromium-driver'
        )
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    size = f'--window-size={WIDTH},{HEIGHT}'
    profile_folder = f'--user-data-dir={profile}'
    for argument in (
        '--headless',
        '--no-sandbox',
        '--disable-dev-shm-usage',
        '--hide-scrollbars',
        size,
        profile_folder,
    ):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=Service(driver))


def fill_in(browser: Any, args: argparse.Namespace) -> None:
    """Upload the image, write the names, press the button and wait for the drawing."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(browser, TIMEOUT)

    def find(css: str) -> Any:
        return wait.until(lambda b: b.find_element(By.CSS_SELECTOR, css))

    find('#image input[type=file]').send_keys(str(args.image.resolve()))
    find('#image img')
    find('#words textarea, #words input').send_keys(args.names)
    threshold = find('#threshold input[type=number]')
    threshold.clear()
    threshold.send_keys(f'{args.score_threshold}\t')
    find('#detect').click()
    wait.until(lambda b: ' found among ' in b.find_element(By.ID, 'summary').text)
    drawn = find('#drawn img')
    wait.until(lambda b: drawn.get_property('naturalWidth') > 0)


def main(argv: list[str] | None = None) -> None:
    """Serve the page, fill it in, and write the screenshot."""
    args = parse_args(argv)
    from oadp.inference.web_page import build_page, launch

    blocks = build_page(load_detector(args))
    launch(blocks, '127.0.0.1', None, prevent_thread_lock=True)
    with tempfile.TemporaryDirectory() as profile:
        browser = open_browser(profile)
        try:
            browser.get(blocks.local_url)
            fill_in(browser, args)
            browser.save_screenshot(str(args.out))
        finally:
            browser.quit()
            blocks.close()


if __name__ == '__main__':
    run('web_screenshot', main)
