"""Ways to write a malformed input in the current directory, for the tables of cases."""

__all__ = ['both', 'cut', 'edit', 'edit_torch', 'nothing', 'put', 'set_value']

import json
import pathlib
from collections.abc import Callable
from typing import Any

import torch

Make = Callable[[], object]


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
