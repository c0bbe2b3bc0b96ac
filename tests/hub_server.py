"""A server on this machine that speaks the few requests of ``huggingface_hub`` that bundles need."""

import base64
import contextlib
import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator

COMMIT = '0123456789abcdef0123456789abcdef01234567'


class HubServer(http.server.ThreadingHTTPServer):
    """Keeps repositories in memory: ``files[repository][path]`` is a file's content."""

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), _Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.tokens: set[str | None] = set()
        self.private: dict[str, bool] = {}

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.server_port}'


@contextlib.contextmanager
def serve() -> Iterator[HubServer]:
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    server: HubServer

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, content: object, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace('_', '-'), value)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)

    def do_POST(self) -> None:
        if self.headers.get('Transfer-Encoding') == 'chunked':
            body = b''
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        self.server.tokens.add(self.headers.get('Authorization'))
        path = urllib.parse.urlsplit(self.path).path
        if path == '/api/repos/create':
            data = json.loads(body)
            name = f'{data["organization"]}/{data["name"]}'
            self.server.files.setdefault(name, {})
            self.server.private[name] = data.get('visibility') == 'private' or bool(
                data.get('private')
            )
            self._answer({'url': f'{self.server.url}/{name}', 'name': name})
        elif '/preupload/' in path:
            files = [
                {'path': f['path'], 'uploadMode': 'regular', 'shouldIgnore': False}
                for f in json.loads(body)['files']
            ]
            self._answer({'files': files})
        elif '/commit/' in path:
            name = '/'.join(path.split('/')[3:5])
            for line in body.splitlines():
                entry = json.loads(line)
                if entry['key'] == 'file':
                    value = entry['value']
                    self.server.files[name][value['path']] = base64.b64decode(value['content'])
            url = f'{self.server.url}/{name}/commit/{COMMIT}'
            self._answer({'success': True, 'commitOid': COMMIT, 'commitUrl': url})
        elif path == '/api/validate-yaml':
            self._answer({'errors': [], 'warnings': []})
        else:
            self._answer({'error': path}, 404)

    def do_GET(self) -> None:
        parts = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).split('/')[1:]
        is_api = parts[:2] == ['api', 'models']
        name = '/'.join(parts[2:4] if is_api else parts[:2])
        files = self.server.files.get(name)
        if files is None:
            self._answer({'error': 'Repository not found'}, 404, X_Error_Code='RepoNotFound')
        elif is_api and 'tree' in parts:
            entries = [
                {'type': 'file', 'path': p, 'size': len(c), 'oid': hashlib.sha1(c).hexdigest()}
                for p, c in files.items()
            ]
            self._answer(entries)
        elif is_api:
            siblings = [{'rfilename': p} for p in files]
            self._answer({'id': name, 'modelId': name, 'sha': COMMIT, 'siblings': siblings})
        else:
            content = files.get('/'.join(parts[4:]))
            if content is None:
                self._answer({'error': 'no entry'}, 404, X_Error_Code='EntryNotFound')
            else:
                etag = f'"{hashlib.sha1(content).hexdigest()}"'
                self._answer(content, ETag=etag, X_Repo_Commit=COMMIT)

    do_HEAD = do_GET
