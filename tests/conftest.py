"""What the tests share: the recorded outputs of the reference implementation, where they are at hand."""

import collections
import logging
import os
import pathlib
import shutil
from collections.abc import Iterator

# Set before torch is imported by any test: `make test` runs as many processes as there are cores.
os.environ.setdefault('OMP_NUM_THREADS', '1')

# The recorded figures are a CPU's. Where there is a GPU it is for the tests that are marked so.
ON_GPU = os.environ.get('TEST_GPU') == '1'
if not ON_GPU:
    os.environ['CUDA_VISIBLE_DEVICES'] = ''

import pytest  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT.parent / 'shared' / 'golden'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Files with the most slow tests first: one that is started last would run alone.
    num_slow = collections.Counter(item.path for item in items if 'slow' in item.keywords)
    items.sort(key=lambda item: -num_slow[item.path])
    if ON_GPU:
        import torch

        if not torch.cuda.is_available():
            pytest.exit('no GPU is in sight; python -m oadp.doctor says what is', returncode=1)
    else:
        skip = pytest.mark.skip(reason='needs a GPU: make test-gpu')
        for item in items:
            if 'gpu' in item.keywords:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def _close_log_files() -> Iterator[None]:
    """Not to be written to by the next test: the folder of a test that passed is removed."""
    yield
    logger = logging.getLogger('oadp')
    for handler in [h for h in logger.handlers if isinstance(h, logging.FileHandler)]:
        logger.removeHandler(handler)
        handler.close()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log of OADP, whose logger does not propagate to the root logger."""
    from oadp.utils import runtime

    logger = runtime.get_logger()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture(scope='session')
def golden() -> pathlib.Path:
    """The folder of recorded outputs; the test is skipped where it is not there."""
    if not GOLDEN.is_dir():
        pytest.skip(f'{GOLDEN} is not there: parity with the reference cannot be checked')
    return GOLDEN


@pytest.fixture
def golden_workdir(
    golden: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> pathlib.Path:
    """A working directory in the README's layout, with small data; it is the current directory."""
    root = tmp_path / 'workdir'
    shutil.copytree(golden / 'world', root, symlinks=True, copy_function=shutil.copyfile)
    for folder in [root, *root.rglob('*')]:
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o755)
    for link in (root / 'data/lvis_v1').glob('*2017'):
        if link.is_file():  # a symbolic link, handed on as a file that holds its target
            target = link.read_text()
            link.unlink()
            link.symlink_to(target)
    (root / 'configs').symlink_to(ROOT / 'configs')
    monkeypatch.chdir(root)
    return root


@pytest.fixture(scope='session')
def _thin_folder(golden: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    import torch

    root = tmp_path_factory.mktemp('thin')
    (root / 'data/coco').mkdir(parents=True)
    (root / 'data/coco/val2017').symlink_to(golden / 'world/data/coco/val2017')
    (root / 'pretrained').symlink_to(golden / 'world/pretrained')
    shutil.copytree(golden / 'expected/prompts', root / 'data/prompts')
    shutil.copy(golden / 'world/data/prompts/ml_coco.pth', root / 'data/prompts')
    for weights in (golden / 'expected/dp').glob('*.weights.pth'):
        name = weights.name.split('.')[0]
        _write_thin_config(ROOT / 'configs/dp' / f'{name}.py', root / f'{name}.py')
        state = torch.load(weights, weights_only=True)
        state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
        torch.save({'state_dict': state, 'meta': {'epoch': 1}}, root / f'{name}.pth')
    return root


def _write_thin_config(base: pathlib.Path, path: pathlib.Path) -> None:
    from oadp.utils.config import load_config, to_plain

    config = to_plain(load_config(base))
    roi_head = {
        'bbox_roi_extractor': {'out_channels': 32},
        'bbox_head': {'in_channels': 32, 'fc_out_channels': 64, 'conv_out_channels': 32},
    }
    model = {
        'backbone': {'depth': 18, 'base_channels': 16},
        'neck': {'in_channels': [16, 32, 64, 128], 'out_channels': 32},
        'rpn_head': {'in_channels': 32, 'feat_channels': 32},
        'roi_head': roi_head,
        'test_cfg': {'rpn': {'nms_pre': 200, 'max_per_img': 100}},
    }
    if 'global_head' in config['model']:
        model['global_head'] = {'classifier': {'in_features': 32}}
    if 'mask_head' in config['model']['roi_head']:
        roi_head['mask_roi_extractor'] = {'out_channels': 32}
        roi_head['mask_head'] = {'in_channels': 32, 'conv_out_channels': 32}
    pipeline = config['validator']['dataloader']['dataset']['pipeline']
    pipeline[1]['img_scale'] = (288, 192)
    validator = {'dataloader': {'dataset': {'pipeline': pipeline}}}
    path.write_text(f'_base_ = [{str(base)!r}]\nmodel = {model!r}\nvalidator = {validator!r}\n')


@pytest.fixture
def thin(_thin_folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The current directory, with the recorded thin detectors: ``NAME.py`` and ``NAME.pth``.

    Tests share it: write elsewhere.
    """
    monkeypatch.chdir(_thin_folder)
    monkeypatch.setenv('XDG_CACHE_HOME', str(_thin_folder / 'cache'))
    return _thin_folder


@pytest.fixture(scope='session')
def small_clip():
    """A small CLIP, of sizes unlike ViT-B/32's, for the tests of texts and prompts."""
    import torch

    from oadp.clip.weights import import_clip

    torch.manual_seed(0)
    model = import_clip().model.CLIP(
        embed_dim=64,
        image_resolution=48,
        vision_layers=1,
        vision_width=64,
        vision_patch_size=8,
        context_length=24,
        vocab_size=49408,
        transformer_width=64,
        transformer_heads=1,
        transformer_layers=2,
    )
    # Words must differ by more than a little for a context to be learned from.
    torch.nn.init.normal_(model.token_embedding.weight, std=0.5)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope='session')
def small_clip_path(small_clip, tmp_path_factory):
    from oadp.clip.weights import save_clip_archive

    path = tmp_path_factory.mktemp('clip') / 'small.pt'
    save_clip_archive(small_clip, path)
    return path
