"""Downloads from a server that fails in the ways servers fail."""

import hashlib
import http.server
import pathlib
import socket
import threading

import pytest

from oadp.data.download import DownloadError, fetch

CONTENT = bytes(i * i % 251 for i in range(300_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends ``CONTENT``; of the i-th answer only the first ``cuts[i]`` bytes."""

    def do_GET(self) -> None:
        self.server.count += 1
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        if self.path == '/gone':
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header('Content-Length', str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:cut])

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    monkeypatch.setattr('time.sleep', lambda _: None)  # pooch's pauses between attempts
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.count, server.cuts = 0, []
    server.url = f'http://127.0.0.1:{server.server_address[1]}'
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / 'folder' / 'weights.pt'


def files(path: pathlib.Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir()) if path.parent.exists() else []


def test_download_once(server, path) -> None:
    assert fetch(f'{server.url}/weights.pt', path, SHA256) is True
    assert path.read_bytes() == CONTENT
    assert files(path) == ['weights.pt']
    assert path.stat().st_mode & 0o777 == path.parent.stat().st_mode & 0o666

    assert fetch(f'{server.url}/weights.pt', path, SHA256) is False
    assert server.count == 1


def test_broken_connections_are_retried(server, path) -> None:
    server.cuts = [1000, 200_000]
    assert fetch(f'{server.url}/weights.pt', path, SHA256) is True
    assert path.read_bytes() == CONTENT
    assert server.count == 3


def test_nothing_is_kept_if_every_attempt_breaks(server, path) -> None:
    server.cuts = [1000] * 3
    with pytest.raises(DownloadError) as e:
        fetch(f'{server.url}/weights.pt', path, SHA256, retries=2)
    assert f'download {server.url}/weights.pt with another tool and save it as {path}' in str(
        e.value
    )
    assert (server.count, files(path)) == (3, [])


def test_wrong_checksum(server, path) -> None:
    with pytest.raises(DownloadError) as e:
        fetch(f'{server.url}/weights.pt', path, 'ab' * 32, retries=0)
    for part in (server.url, 'ab' * 32, SHA256, str(path)):
        assert part in str(e.value)
    assert files(path) == []


def test_a_different_file_of_that_name_is_kept(path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'mine')
    with pytest.raises(DownloadError, match='expected a file with the SHA-256.*move it away'):
        fetch('http://127.0.0.1:9/weights.pt', path, SHA256)
    assert path.read_bytes() == b'mine'


def test_missing_address(server, path) -> None:
    with pytest.raises(DownloadError, match='404'):
        fetch(f'{server.url}/gone', path, SHA256, retries=0)


@pytest.mark.parametrize('listens', [False, True], ids=['no server', 'silent server'])
def test_no_answer(monkeypatch, path, listens) -> None:
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        if listens:
            s.listen()
        url = f'http://127.0.0.1:{s.getsockname()[1]}/weights.pt'
        with pytest.raises(DownloadError, match='with another tool'):
            fetch(url, path, SHA256, timeout=0.2, retries=0)
    assert files(path) == []
