"""The doctor reports; it fails only where the installation does."""

import importlib.metadata
import pathlib

import pytest

from oadp import doctor
from oadp.inference import stack
from oadp.utils.installation import broken_requirements


@pytest.fixture(autouse=True)
def here(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_missing_data_are_not_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main([]) == 0
    out = capsys.readouterr().out
    assert importlib.metadata.version('mmdet') in out
    assert 'NMS and RoIAlign of' in out
    assert 'pretrained/clip/ViT-B-32.pt' in out
    assert 'python -m oadp.pretrained clip' in out
    assert 'rows are missing or incomplete' in out


def test_present_files_show_no_source(
    here: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = here / 'pretrained' / 'clip' / 'ViT-B-32.pt'
    path.parent.mkdir(parents=True)
    path.write_bytes(b'x' * 3_000_000)
    doctor.main([])
    out = capsys.readouterr().out
    assert '3.0 MB' in out
    assert 'python -m oadp.pretrained clip' not in out


def test_a_broken_installation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> str:
        raise ImportError('undefined symbol: _ZN3c10[abi]')

    monkeypatch.setattr(stack, 'CHECKS', {'ops': broken})
    assert doctor.main([]) == 1
    out = capsys.readouterr().out
    assert '- ops: ImportError: undefined symbol: _ZN3c10[abi]' in out
    assert 'make install repairs it' in out


@pytest.mark.parametrize(
    'requirement, fault',
    [
        ('pytest>=1', None),
        ('pytest<1', r'pytest .* is installed, expected <1'),
        ('no-such-package', 'no-such-package is not installed'),
        ('no-such-package; python_version < "3"', None),
        ('no-such-package; extra == "web"', None),
        ('pytest<1; extra == "dev"', r'pytest .* is installed, expected <1'),
    ],
)
def test_requirements(requirement: str, fault: str | None) -> None:
    faults = broken_requirements([requirement])
    if fault is None:
        assert faults == []
    else:
        (found,) = faults
        import re

        assert re.fullmatch(fault, found)
