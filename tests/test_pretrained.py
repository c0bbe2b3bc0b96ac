"""Downloads from a server that fails in the ways servers fail."""

import hashlib
import http.server
import pathlib
import re
import socket
import threading
import time

import pytest

from oadp import pretrained
from oadp.pretrained import Download, DownloadError, fetch

CONTENT = bytes(i * i % 251 for i in range(3 * pretrained.CHUNK + 12345))


class Server(http.server.ThreadingHTTPServer):
    """Serves ``CONTENT``, and closes the connection after ``cuts[i]`` bytes of the i-th answer."""

    def __init__(self, cuts: list[int | None], ranges: bool = True) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.cuts = cuts
        self.ranges = ranges
        self.starts: list[int] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range', ''))
        start = int(asked[1]) if asked and self.server.ranges else 0
        self.server.starts.append(start)
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if asked and self.server.ranges else 200)
        self.send_header('Content-Length', str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:][:cut])

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def serve():
    servers = []

    def start(*cuts: int | None, ranges: bool = True) -> tuple[Server, str]:
        server = Server(list(cuts), ranges)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server, f'http://127.0.0.1:{server.server_address[1]}/weights.pt'

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def make(tmp_path: pathlib.Path):
    def make(url: str, sha256: str | None = None) -> Download:
        digest = hashlib.sha256(CONTENT).hexdigest() if sha256 is None else sha256
        return Download(url, tmp_path / 'folder' / 'weights.pt', digest, 'weights')

    return make


def files(download: Download) -> list[str]:
    return sorted(p.name for p in download.path.parent.iterdir())


def test_a_plain_download(serve, make) -> None:
    server, url = serve()
    download = make(url, hashlib.sha256(CONTENT).hexdigest()[:8])
    assert fetch(download) is True
    assert download.path.read_bytes() == CONTENT
    assert files(download) == ['weights.pt']

    assert fetch(download) is False, 'a file that is there is kept'
    assert server.starts == [0]


def test_a_connection_cut_half_way_is_continued(serve, make) -> None:
    server, url = serve(pretrained.CHUNK + 7, 1000)
    download = make(url)
    assert fetch(download) is True
    assert download.path.read_bytes() == CONTENT
    assert server.starts == [0, pretrained.CHUNK + 7, pretrained.CHUNK + 1007]


def test_a_later_run_continues(serve, make) -> None:
    server, url = serve(*[1000] * pretrained.ATTEMPTS)
    download = make(url)
    with pytest.raises(DownloadError, match='bytes are kept'):
        fetch(download)
    assert files(download) == ['.weights.pt.part'], 'nothing half under the final name'

    assert fetch(download) is True
    assert server.starts[-1] == 1000 * pretrained.ATTEMPTS
    assert download.path.read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(serve, make) -> None:
    server, url = serve(5000, ranges=False)
    download = make(url)
    assert fetch(download) is True
    assert server.starts == [0, 0]
    assert download.path.read_bytes() == CONTENT


def test_a_run_killed_between_the_last_byte_and_the_renaming(serve, make) -> None:
    _, url = serve()
    download = make(url)
    download.path.parent.mkdir()
    download.path.with_name('.weights.pt.part').write_bytes(CONTENT)
    assert fetch(download) is True
    assert files(download) == ['weights.pt']


def test_a_wrong_checksum_keeps_nothing(serve, make) -> None:
    _, url = serve()
    download = make(url, 'abc123')
    with pytest.raises(DownloadError) as e:
        fetch(download)
    for part in (url, 'abc123', hashlib.sha256(CONTENT).hexdigest(), str(download.path)):
        assert part in str(e.value)
    assert files(download) == []


def test_another_file_of_that_name_is_not_touched(make) -> None:
    download = make('http://127.0.0.1:9/weights.pt')
    download.path.parent.mkdir()
    download.path.write_bytes(b'mine')
    with pytest.raises(DownloadError, match='another content.*move it away'):
        fetch(download)
    assert download.path.read_bytes() == b'mine'


def test_without_a_network_it_fails_at_once(make) -> None:
    with socket.socket() as s:  # a port where nobody listens
        s.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{s.getsockname()[1]}/weights.pt'
    download = make(url)
    start = time.monotonic()
    with pytest.raises(DownloadError) as e:
        fetch(download)
    assert time.monotonic() - start < 5
    assert f'download {url} by other means and put it at {download.path}' in str(e.value)
    assert files(download) == []


def test_a_server_that_says_nothing(make) -> None:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        download = make(f'http://127.0.0.1:{s.getsockname()[1]}/weights.pt')
        with pytest.raises(DownloadError, match='timed out.*by other means'):
            fetch(download, timeout=0.2)


def test_an_address_that_is_gone(serve, make, monkeypatch) -> None:
    _, url = serve()
    monkeypatch.setattr(Handler, 'do_GET', lambda self: self.send_error(404))
    with pytest.raises(DownloadError, match='Not Found'):
        fetch(make(url))


def test_the_places_are_the_readmes() -> None:
    places = {k: str(v.path) for k, v in pretrained.DOWNLOADS.items()}
    assert places == {
        'clip': 'pretrained/clip/ViT-B-32.pt',
        'resnet50': 'pretrained/torchvision/resnet50-0676ba61.pth',
    }
    for download in pretrained.DOWNLOADS.values():
        assert download.url.startswith('https://') and download.url.endswith(download.path.name)
        assert download.sha256 in download.url


def test_the_command(serve, make, monkeypatch, capsys) -> None:
    _, url = serve()
    monkeypatch.setitem(pretrained.DOWNLOADS, 'clip', make(url))
    assert pretrained.main(['clip']) == 0
    assert 'downloaded, checksum right' in capsys.readouterr().out
    assert pretrained.main(['clip']) == 0
    assert 'there, checksum right' in capsys.readouterr().out


def test_the_command_goes_on_after_a_failure(serve, make, monkeypatch, capsys) -> None:
    _, url = serve()
    monkeypatch.setitem(pretrained.DOWNLOADS, 'clip', make('http://127.0.0.1:9/weights.pt'))
    other = make(url)
    monkeypatch.setitem(pretrained.DOWNLOADS, 'resnet50', other)
    assert pretrained.main(['clip', 'resnet50']) == 1
    assert 'by other means' in capsys.readouterr().err
    assert other.path.is_file()


def test_files_to_be_had_by_hand(tmp_path, monkeypatch, capsys) -> None:
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
    assert out.count('(not there)') == 2 + 3 + 6


def test_an_unknown_name(capsys) -> None:
    with pytest.raises(SystemExit):
        pretrained.main(['resnet51'])
    assert 'unknown: resnet51; choose from clip' in capsys.readouterr().err
