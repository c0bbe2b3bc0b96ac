"""A bundle detects what the checkpoint detects, from anywhere, and is checked before it is used."""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from oadp import Detector
from oadp.bundle import main
from oadp.inference.bundle import read_bundle

IMAGE = 'data/coco/val2017/000000440669.jpg'
OADP = ('oadp_ov_coco.py', 'oadp_ov_coco.pth')


@pytest.fixture(scope='module')
def bundle(_thin_folder: pathlib.Path, tmp_path_factory) -> pathlib.Path:
    folder, before = tmp_path_factory.mktemp('bundles') / 'oadp-coco', pathlib.Path.cwd()
    metrics = folder.parent / 'm.json'
    metrics.write_text('{"novel_AP50": 31.3}')
    os.chdir(_thin_folder)
    try:
        main([*OADP, str(folder), '--metrics', str(metrics)])
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def copy(bundle, tmp_path) -> pathlib.Path:
    return shutil.copytree(bundle, tmp_path / 'copy')


def test_content(thin, bundle):
    files = sorted(p.relative_to(bundle).as_posix() for p in bundle.rglob('*') if p.is_file())
    assert files == [
        'LICENSE',
        'README.md',
        'SHA256SUMS',
        'config.py',
        'metrics.json',
        'model.safetensors',
        'prompts/ml_coco.pth',
        'prompts/vild.pth',
        'vocabulary.json',
    ]
    assert json.loads((bundle / 'metrics.json').read_text()) == {'novel_AP50': 31.3}
    assert 'license: apache-2.0' in (bundle / 'README.md').read_text()
    vocabulary = json.loads((bundle / 'vocabulary.json').read_text())
    assert (len(vocabulary['bases']), len(vocabulary['novels'])) == (48, 17)
    check = subprocess.run(['sha256sum', '-c', '--quiet', 'SHA256SUMS'], cwd=bundle, check=False)
    assert check.returncode == 0


def test_detects_what_the_checkpoint_detects(thin, copy, monkeypatch):
    image = (thin / IMAGE).resolve()
    expected = Detector.from_checkpoint(*OADP, device='cpu')
    words = ['dog', 'Person', 'cat']  # of which all prompt files know
    lists = expected(image), expected.with_vocabulary(words)(image)
    monkeypatch.chdir(copy.parent)  # nothing of the checkpoint's folder is needed
    detector = Detector.from_pretrained(copy, device='cpu')
    for found, wanted in zip(
        (detector(image), detector.with_vocabulary(words)(image)), lists, strict=True
    ):
        assert np.array_equal(found.xyxy, wanted.xyxy) and len(found)
        assert np.array_equal(found.confidence, wanted.confidence)
        assert np.array_equal(found.data['class_name'], wanted.data['class_name'])


def test_weights_can_be_given_as_a_checkpoint(thin, bundle):
    found = Detector.from_checkpoint(OADP[0], bundle / 'model.safetensors', device='cpu')(IMAGE)
    expected = Detector.from_checkpoint(*OADP, device='cpu')(IMAGE)
    assert np.array_equal(found.xyxy, expected.xyxy)


def test_config_is_not_run(copy, tmp_path):
    mark = tmp_path / 'mark'
    text = (copy / 'config.py').read_text() + f'open({str(mark)!r}, "w")\n'
    (copy / 'config.py').write_text(text)
    _sum_again(copy)
    with pytest.raises(ValueError, match='config.py: expected only assignments of Python literals'):
        read_bundle(copy)
    assert not mark.exists()


def test_paths_stay_in_the_folder(copy):
    text = (copy / 'config.py').read_text().replace('prompts/vild.pth', '../../etc/vild.pth')
    (copy / 'config.py').write_text(text)
    _sum_again(copy)
    config = read_bundle(copy)
    prompts = config['model']['roi_head']['bbox_head']['cls_predictor_cfg']['prompts']
    assert pathlib.Path(prompts) == copy / 'prompts' / 'vild.pth'


def _sum_again(folder: pathlib.Path) -> None:
    files = [p for p in folder.rglob('*') if p.is_file() and p.name != 'SHA256SUMS']
    argv = ['sha256sum', *(p.relative_to(folder).as_posix() for p in files)]
    out = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True)
    (folder / 'SHA256SUMS').write_text(out.stdout)


@pytest.mark.parametrize(
    'change, error, message',
    [
        pytest.param(
            lambda f: (f / 'model.safetensors').write_bytes(b'x'),
            ValueError,
            r"do not match SHA256SUMS: \['model.safetensors'\]",
            id='changed',
        ),
        pytest.param(
            lambda f: [(f / n).unlink() for n in ('config.py', 'prompts/vild.pth')],
            FileNotFoundError,
            r"missing: \['config.py', 'prompts/vild.pth'\]",
            id='incomplete',
        ),
        pytest.param(
            lambda f: (f / 'SHA256SUMS').unlink(),
            FileNotFoundError,
            'SHA256SUMS: no such file; expected a bundle',
            id='another folder',
        ),
        pytest.param(
            lambda f: (f / 'SHA256SUMS').write_text(''),
            ValueError,
            'SHA256SUMS: the file is empty',
            id='no sums',
        ),
    ],
)
def test_broken_bundles_are_refused(copy, change, error, message):
    change(copy)
    with pytest.raises(error, match=message):
        Detector.from_pretrained(copy)


@pytest.mark.parametrize(
    'argv, message',
    [
        pytest.param([*OADP, 'data'], 'data: exists already', id='a full folder'),
        pytest.param([*OADP, 'new', '--license', 'no.txt'], 'no.txt: no such file', id='license'),
        pytest.param([*OADP, 'new', '--metrics', OADP[0]], 'not JSON', id='metrics'),
        pytest.param(['none.py', 'x.pth', 'new'], 'none.py: no such config', id='no config'),
        pytest.param([OADP[0], 'x.pth', 'new'], 'x.pth: no such file', id='no checkpoint'),
    ],
)
def test_command_refuses(thin, argv, message):
    with pytest.raises((OSError, ValueError, ImportError), match=message):
        main(argv)
    assert not pathlib.Path('new').exists()


def test_invalid_safetensors(thin, tmp_path):
    path = tmp_path / 'x.safetensors'
    path.write_bytes(b'none')
    with pytest.raises(ValueError, match='x.safetensors: not a safetensors file'):
        Detector.from_checkpoint(OADP[0], path)
    with pytest.raises(FileNotFoundError, match='y.safetensors'):
        Detector.from_checkpoint(OADP[0], tmp_path / 'y.safetensors')


def test_neither_folder_nor_name(tmp_path):
    with pytest.raises(ValueError, match='expected an existing folder, or user/name'):
        Detector.from_pretrained(tmp_path / 'none')


def test_hub_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(ImportError, match=r'pip install -e .\[hub\]'):
        Detector.from_pretrained('user/name')


@pytest.mark.skipif(
    importlib.util.find_spec('huggingface_hub') is None, reason='the extra `hub` is not installed'
)
def test_hub(bundle, tmp_path):
    """Upload, download and a repository that is not there, in a process that has the server's address."""
    from hub_server import serve

    code = (
        'import sys; from oadp.inference import hub\n'
        "print(hub.push_to_hub(sys.argv[1], 'user/name', private=True))\n"
        "print(hub.fetch('user/name'))\n"
        'try:\n'
        "    hub.fetch('user/none')\n"
        'except ConnectionError as e:\n'
        '    print(e)\n'
    )
    with serve() as server:
        env = {**os.environ, 'PYTHONPATH': str(ROOT), 'HF_ENDPOINT': server.url}
        env |= {'HF_HOME': str(tmp_path / 'hf'), 'HF_TOKEN': 'hf_secret', 'NO_PROXY': '*'}
        env |= {'HF_HUB_DISABLE_TELEMETRY': '1', 'HF_HUB_DISABLE_XET': '1'}
        out = subprocess.run(
            [sys.executable, '-c', code, str(bundle)],
            capture_output=True,
            text=True,
            env=env,
            check=False,
        )
        assert out.returncode == 0, out.stderr
        commit, folder, error, *_ = out.stdout.splitlines()
        assert server.private == {'user/name': True}
        assert server.tokens == {'Bearer hf_secret'}
        assert commit.startswith(f'{server.url}/user/name/commit/')
        assert 'user/none: not downloaded' in error
    read_bundle(folder)  # raises, where it is not whole
    for path in bundle.rglob('*'):
        if path.is_file():
            copied = pathlib.Path(folder) / path.relative_to(bundle)
            assert copied.read_bytes() == path.read_bytes()
