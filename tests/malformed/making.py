"""Ways to write a malformed input in the current directory, for the tables of cases."""

__all__ = [
    'NAN',
    'Code',
    'both',
    'cut',
    'edit',
    'edit_torch',
    'nothing',
    'pickled',
    'put',
    'set_value',
    'torch_bytes',
    'torch_with_code',
    'zip_bytes',
]

import io
import json
import os
import pathlib
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import torch
from malformed.harness import CODE_RAN

Make = Callable[[], object]

NAN = float('nan')


class Code:
    """Its pickle runs a command when it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple]:
        return os.system, (f'touch {CODE_RAN}',)


def pickled(value: Any, protocol: int = 2) -> bytes:
    return pickle.dumps(value, protocol)


def torch_with_code() -> bytes:
    file = io.BytesIO()
    torch.save({'state_dict': {'a': torch.ones(1)}, 'meta': Code()}, file)
    return file.getvalue()


def torch_bytes(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def zip_bytes(**entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as z:
        for name, data in entries.items():
            z.writestr(name.replace('__', '/').replace('_DOT_', '.'), data)
    return file.getvalue()


def nothing() -> None:
    """The arguments alone are wrong."""


def put(path: str, content: bytes | str) -> Make:
    """Write a file."""

    def make() -> None:
        file = pathlib.Path(path)
        file.unlink(missing_ok=True)  # it may be a link to a file that the cases share
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def edit(path: str, change: Callable[[Any], Any]) -> Make:
    """Change the content of a JSON file in place, or replace it by what ``change`` returns."""

    def make() -> None:
        data = json.loads(pathlib.Path(path).read_text())
        new = change(data)
        pathlib.Path(path).write_text(json.dumps(data if new is None else new))

    return make


def set_value(path: str, *keys: Any, value: Any) -> Make:
    """Replace a value of a JSON file; ``...`` deletes it."""

    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        if value is ...:
            del data[keys[-1]]
        else:
            data[keys[-1]] = value

    return edit(path, change)


def edit_torch(path: str, change: Callable[[Any], Any]) -> Make:
    """The same as ``edit`` for a file of ``torch.save``."""

    def make() -> None:
        data = torch.load(path, weights_only=True)
        new = change(data)
        pathlib.Path(path).unlink()
        torch.save(data if new is None else new, path)

    return make


def cut(path: str, part: float) -> Make:
    """Keep the first part of a file."""

    def make() -> None:
        content = pathlib.Path(path).read_bytes()
        put(path, content[: int(part * len(content))])()

    return make


def both(*makes: Make) -> Make:
    """Do several things."""

    def make() -> None:
        for one in makes:
            one()

    return make
