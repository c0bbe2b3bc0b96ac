"""Write a trained detector as one folder with everything that detection needs, and load it.

    config.py            the resolved config: assignments of literals, parsed but not run
    model.safetensors    the weights
    vocabulary.json      base and novel names
    prompts/*.pth        the prompt files of the heads
    metrics.json         the results of the evaluation, if given
    LICENSE, README.md   the license, and how to use the folder
    SHA256SUMS           checksums of all these files, for `sha256sum -c`

Paths in its config are relative to the folder.
"""

__all__ = ['CONFIG', 'WEIGHTS', 'read_bundle', 'write_bundle']

import ast
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from oadp.categories import Categories, get_categories
from oadp.utils.files import sha256
from oadp.utils.json_text import read_json, read_text

CONFIG = 'config.py'
WEIGHTS = 'model.safetensors'
VOCABULARY = 'vocabulary.json'
PROMPTS = 'prompts'
METRICS = 'metrics.json'
LICENSE = 'LICENSE'
SUMS = 'SHA256SUMS'

_CARD = """---
license: {license}
library_name: oadp
pipeline_tag: object-detection
---

# {title}

An open-vocabulary object detector of [OADP](https://arxiv.org/abs/2303.05892), trained with boxes of {bases} classes and
evaluated on {novels} more.

```python
from oadp import Detector

detector = Detector.from_pretrained('PATH OR NAME OF THIS FOLDER')
detector.set_vocabulary(['red kite', 'mug'])
detections = detector('photo.jpg', score_threshold=0.3)
```
"""


def write_bundle(
    config: Mapping[str, Any],
    checkpoint: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    license_file: str | os.PathLike,
    metrics: str | os.PathLike | None = None,
) -> None:
    """Write the folder of a detector.

    Args:
        config: a loaded config; not changed.
        checkpoint: weights of a detector of the config.
        folder: a folder that does not exist or is empty.
        license_file: the file to copy as ``LICENSE``.
        metrics: a JSON file, such as ``metrics.json`` of ``oadp.dp.test``.

    Raises:
        FileNotFoundError: the checkpoint, a prompt file, the license or the metrics do not exist.
        ValueError: the folder is not empty, the checkpoint is of another config, two prompt files
            have the same name, or the metrics are not JSON.
    """
    from safetensors.torch import save_file

    from oadp.inference.torch_detector import TorchDetector
    from oadp.utils.config import dump_config, to_plain

    folder = pathlib.Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f'{folder}: exists already; expected a new or an empty folder')
    license_path = _existing(license_file, 'license')
    values = None if metrics is None else read_json(_existing(metrics, 'file of metrics'))
    detector = TorchDetector.load(config, checkpoint, device='cpu')
    state = {k: v.contiguous().clone() for k, v in detector._own.model.state_dict().items()}
    plain = to_plain(config)
    categories = get_categories(plain['categories'])
    prompts = _move_prompts(plain)
    plain['categories'] = VOCABULARY
    (folder / PROMPTS).mkdir(parents=True, exist_ok=True)
    for name, source in prompts.items():
        shutil.copyfile(source, folder / PROMPTS / name)
    dump_config(plain, folder / CONFIG)
    save_file(state, folder / WEIGHTS, metadata={'format': 'pt'})
    names = {'bases': categories.bases, 'novels': categories.novels}
    _write(folder / VOCABULARY, json.dumps(names, indent=1, ensure_ascii=False))
    if values is not None:
        _write(folder / METRICS, json.dumps(values, indent=1))
    shutil.copyfile(license_path, folder / LICENSE)
    _write(folder / 'README.md', _card(folder, license_path, categories))
    sums = {path: sha256(folder / path) for path in _files(folder)}
    _write(folder / SUMS, ''.join(f'{digest}  {path}\n' for path, digest in sums.items()))


def _card(folder: pathlib.Path, license_path: pathlib.Path, categories: Categories) -> str:
    text = license_path.read_text(encoding='utf-8', errors='replace')
    return _CARD.format(
        license='apache-2.0' if 'Apache License' in text else 'other',
        title=folder.resolve().name,
        bases=categories.num_bases,
        novels=categories.num_novels,
    )


def read_bundle(folder: str | os.PathLike) -> dict[str, Any]:
    """Verify a folder of ``write_bundle`` and read its config.

    Returns:
        The config, with the paths of the vocabulary and the prompts in the folder.

    Raises:
        FileNotFoundError: the folder does not exist, or files are missing; all are listed.
        ValueError: files were changed, or the config contains more than literals.
    """
    folder = pathlib.Path(folder)
    listed = _read_sums(_existing(folder / SUMS, 'bundle of oadp.bundle'))
    missing = [p for p in (*listed, CONFIG, WEIGHTS, VOCABULARY) if not (folder / p).is_file()]
    if missing:
        raise FileNotFoundError(
            f'{folder}: expected a complete bundle, but these files are missing: {sorted(set(missing))}'
        )
    broken = [p for p, digest in listed.items() if sha256(folder / p) != digest]
    unlisted = sorted({CONFIG, WEIGHTS, VOCABULARY} - set(listed))
    if broken or unlisted:
        raise ValueError(
            f'{folder}: files that do not match {SUMS}: {broken or unlisted}; download the bundle '
            'again'
        )
    config = _read_literals(folder / CONFIG)
    config['categories'] = str(folder / VOCABULARY)
    for node in _prompt_nodes(config):
        node['prompts'] = str(folder / PROMPTS / pathlib.PurePosixPath(node['prompts']).name)
    return config


def _read_sums(path: pathlib.Path) -> dict[str, str]:
    """Read the digests of files, by name."""
    rows = [line.split('  ', 1) for line in read_text(path).splitlines()]
    wrong = [i for i, row in enumerate(rows, 1) if len(row) != 2]
    if wrong:
        raise ValueError(f'{path}, line {wrong[0]}: expected a digest, two spaces and a file name')
    return {name: digest for digest, name in rows}


def _read_literals(path: pathlib.Path) -> dict[str, Any]:
    """Read a config of assignments of literals without running it: the file is not trusted."""
    try:
        body = ast.parse(read_text(path)).body
        return dict(_read_assignment(line) for line in body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise ValueError(f'{path}: expected only assignments of Python literals ({e})') from e


def _read_assignment(line: ast.stmt) -> tuple[str, Any]:
    targets = line.targets if isinstance(line, ast.Assign) else []
    if len(targets) != 1 or not isinstance(targets[0], ast.Name):
        raise ValueError(f'line {line.lineno} is not an assignment to a name')
    assert isinstance(line, ast.Assign)
    return targets[0].id, ast.literal_eval(line.value)


def _move_prompts(config: dict[str, Any]) -> dict[str, pathlib.Path]:
    """Replace the prompt files of a config by the bundle's, and return their sources by name."""
    sources: dict[str, pathlib.Path] = {}
    for node in _prompt_nodes(config):
        path = _existing(node['prompts'], 'prompt file')
        if sources.setdefault(path.name, path).resolve() != path.resolve():
            raise ValueError(
                f'{path} and {sources[path.name]} have the same name; rename one of the prompt files'
            )
        node['prompts'] = f'{PROMPTS}/{path.name}'
    return sources


def _prompt_nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if isinstance(node.get('prompts'), (str, os.PathLike)):
            yield node
        for value in node.values():
            yield from _prompt_nodes(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _prompt_nodes(value)


def _existing(path: str | os.PathLike, kind: str) -> pathlib.Path:
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file; expected a {kind}')
    return path


def _write(path: pathlib.Path, text: str) -> None:
    path.write_text(text, encoding='utf-8')


def _files(folder: pathlib.Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file())
