"""The command downloads what has an address, and says where the other files come from."""

import pathlib

import pytest

from oadp import pretrained
from oadp.data.download import DownloadError


def test_paths() -> None:
    places = {k: str(v.path) for k, v in pretrained.DOWNLOADS.items()}
    assert places == {
        'clip': 'pretrained/clip/ViT-B-32.pt',
        'resnet50': 'pretrained/torchvision/resnet50-0676ba61.pth',
    }
    for download in pretrained.DOWNLOADS.values():
        assert download.url.startswith('https://') and download.url.endswith(download.path.name)
        assert len(download.sha256) == 64 and download.sha256[:8] in download.url


@pytest.fixture
def download(monkeypatch):
    """Replace the download by one that fails for CLIP's address alone."""

    def fetch(url: str, path: pathlib.Path, sha256: str) -> bool:
        if url == pretrained.DOWNLOADS['clip'].url:
            raise DownloadError(f'{url}: no network')
        assert (url, sha256) == (
            pretrained.DOWNLOADS['resnet50'].url,
            pretrained.DOWNLOADS['resnet50'].sha256,
        )
        is_new = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return is_new

    monkeypatch.setattr('oadp.data.download.fetch', fetch)


def test_download(download, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for state in ('downloaded', 'present'):
        assert pretrained.main(['resnet50']) == 0
        assert f'{state}, with the right checksum' in capsys.readouterr().out


def test_other_files_are_downloaded_after_an_error(download, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert pretrained.main(['clip', 'resnet50']) == 1
    assert 'no network' in capsys.readouterr().err
    assert pretrained.DOWNLOADS['resnet50'].path.is_file()


def test_files_for_a_browser(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert pretrained.main(['soco']) == 1
    assert 'drive.google.com' in capsys.readouterr().err
    (path,) = pretrained.BY_HAND['soco'].paths
    path.parent.mkdir(parents=True)
    path.touch()
    assert pretrained.main(['soco']) == 0


def test_the_list_names_every_file(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert pretrained.main([]) == 0
    out = capsys.readouterr().out
    for item in pretrained.BY_HAND.values():
        assert all(str(p) in out for p in item.paths) and all(w in out for w in item.where)
    assert out.count('(missing)') == 2 + 3 + 6


def test_an_unknown_name(capsys) -> None:
    with pytest.raises(SystemExit):
        pretrained.main(['resnet51'])
    assert 'unknown: resnet51; choose from clip' in capsys.readouterr().err
