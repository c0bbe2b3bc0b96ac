"""What the tests share: the recorded outputs of the reference implementation, where they are at hand."""

import os
import pathlib
import shutil

# Set before torch is imported by any test: tests are many small computations on a few cores.
os.environ.setdefault('OMP_NUM_THREADS', '2')

import pytest  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT.parent / 'shared' / 'golden'


@pytest.fixture(scope='session')
def golden() -> pathlib.Path:
    """The folder of recorded outputs; the test is skipped where it is not there."""
    if not GOLDEN.is_dir():
        pytest.skip(f'{GOLDEN} is not there: parity with the reference cannot be checked')
    return GOLDEN


@pytest.fixture
def world(
    golden: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> pathlib.Path:
    """A working directory in the README's layout, with small data; it is the current directory."""
    root = tmp_path / 'world'
    shutil.copytree(golden / 'world', root, symlinks=True, copy_function=shutil.copyfile)
    for folder in [root, *root.rglob('*')]:
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o755)
    for link in (root / 'data/lvis_v1').glob('*2017'):
        if link.is_file():  # a symbolic link, handed on as a file that holds its target
            target = link.read_text()
            link.unlink()
            link.symlink_to(target)
    (root / 'configs').symlink_to(ROOT / 'configs')
    monkeypatch.chdir(root)
    return root
