"""Fixtures for the tests of extraction."""

import pathlib

import pytest
import torch
from oake_dataset import CONFIGS, make_clip, make_oake_dataset

from oadp.oake import run as command
from oadp.oake.blocks import Blocks
from oadp.oake.encoder import ImageEncoder
from oadp.oake.globals import Globals
from oadp.oake.objects import Objects
from oadp.utils import runtime
from oadp.utils.config import load_config


@pytest.fixture
def encoder() -> ImageEncoder:
    return ImageEncoder(make_clip().visual)


@pytest.fixture
def root(tmp_path, monkeypatch) -> pathlib.Path:
    """Create a small dataset and weights, and make their folder the current directory."""
    root = tmp_path / 'oake'
    make_oake_dataset(root)
    monkeypatch.chdir(root)
    monkeypatch.delenv('DRY_RUN', raising=False)
    return root


@pytest.fixture
def extract(monkeypatch):
    """Run an extraction in the current directory, in this process.

    ``extract('objects', {'.a.b': value})`` gives the reports: validation, training.
    """
    tasks = dict(globals=Globals, blocks=Blocks, objects=Objects)
    world = runtime.ProcessInfo(rank=0, local_rank=0, size=1, device=torch.device('cpu'))

    def run(kind, overrides=None, config=None):
        config = load_config(config or CONFIGS[kind], {'.precision': 'fp32', **(overrides or {})})
        return command.run(tasks[kind], f'oake/{kind}', config, world)

    return run
