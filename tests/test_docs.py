"""The documentation: links, anchors, commands and the length of the README."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/*.md'), *ROOT.glob('*/README.md')])
LINK = re.compile(r'(?<!!)\[[^\]\[]*\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)')
COMMAND = re.compile(r'-m (oadp(?:\.\w+)+)(?!\.?[\w{])')
CONFIG = re.compile(r'\bconfigs/[a-z_/\d]+\.py\b')
MODULE = re.compile(r'`(oadp/[\w/]+\.py)`')
YOURS = ('configs/zoo/', 'configs/dp/my')  # of examples to be written by the reader


def anchors(page: pathlib.Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r'```.*?```', '', page.read_text(encoding='utf-8'), flags=re.DOTALL)
    headings = re.findall(r'^#+ (.+)$', text, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', h.lower()).replace(' ', '-') for h in headings}


def module_file(name: str) -> bool:
    path = ROOT / name.replace('.', '/')
    return path.with_suffix('.py').is_file() or (path / '__main__.py').is_file()


@pytest.mark.parametrize('page', PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_page(page: pathlib.Path):
    text = page.read_text(encoding='utf-8')
    faults = []
    for target, anchor in LINK.findall(text):
        file = (page.parent / target).resolve() if target else page
        if not file.exists():
            faults.append(f'no {target}')
        elif anchor and file.suffix == '.md' and anchor not in anchors(file):
            faults.append(f'no {target}#{anchor}')
    faults += [f'no module {m}' for m in COMMAND.findall(text) if not module_file(m)]
    faults += [f'no {f}' for f in MODULE.findall(text) if not (ROOT / f).is_file()]
    faults += [
        f'no {c}'
        for c in CONFIG.findall(text)
        if not (ROOT / c).is_file() and not c.startswith(YOURS)
    ]
    assert not faults


def test_the_readme_is_short():
    assert len((ROOT / 'README.md').read_text(encoding='utf-8').splitlines()) <= 200
