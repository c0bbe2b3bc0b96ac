"""Each adapter does what it is for, and does it once."""

import logging
import os
import subprocess
import sys
import types
import warnings

import numpy as np
import pytest
import torch

from oadp import compat
from oadp.compat import adapters


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False, timeout=120
    )


def test_install_twice_changes_nothing_more() -> None:
    compat.install()
    import mmcv._ext as before

    adapters.install.cache_clear()
    compat.install()
    import mmcv._ext as after

    assert before is after
    assert compat.ops_in_use() in ('torchvision', 'mmcv-full')


@pytest.mark.slow
def test_imports_are_quiet() -> None:
    code = 'import oadp.compat; oadp.compat.install(); import clip, lvis, mmdet.apis, oadp.config'
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ''


@pytest.mark.slow
def test_importing_compat_imports_nothing_heavy() -> None:
    result = run(
        'import sys, oadp.compat; print({"mmcv", "mmdet", "todd", "clip"} & {*sys.modules})'
    )
    assert result.stdout.strip() == 'set()', result.stderr


@pytest.mark.slow
def test_scikit_learn_is_imported_when_the_paa_head_uses_it() -> None:
    code = """
import sys, oadp.dp
assert 'sklearn' not in sys.modules
from mmdet.models.dense_heads import paa_head
assert 'sklearn' not in sys.modules
mixture = paa_head.skm.GaussianMixture(2)
from sklearn.mixture import GaussianMixture
assert type(mixture) is GaussianMixture
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_only_the_known_messages_are_silenced(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger('torch.utils.cpp_extension')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        with compat.quiet_imports():
            warnings.warn('On January 1, 2023, MMCV will release v2.0.0, …', stacklevel=1)
            warnings.warn('something new', stacklevel=1)
            logger.warning('No CUDA runtime is found, using …')
            logger.warning('something else')
        warnings.warn('On January 1, 2023, MMCV will release v2.0.0, …', stacklevel=1)
    assert [str(w.message)[:13] for w in caught] == ['something new', 'On January 1,']
    assert not logger.filters
    assert 'CUDA runtime' not in caplog.text


def test_only_modules_that_need_numpy_aliases_get_them() -> None:
    compat.install()
    import lvis.eval
    import mmdet.datasets.custom

    for module in (lvis.eval, mmdet.datasets.custom):
        assert module.np.array([1.7]).astype(module.np.int).tolist() == [1]
        assert module.np.zeros(1, module.np.float).dtype == np.float64
        assert module.np.ndarray is np.ndarray
        with pytest.raises(AttributeError):
            module.np.no_such_name  # noqa: B018
    assert isinstance(np, types.ModuleType)
    if np.lib.NumpyVersion(np.__version__) >= '1.24.0':
        assert not hasattr(np, 'float')


@pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='this torch has no other way')
@pytest.mark.filterwarnings('error::FutureWarning')
@pytest.mark.filterwarnings('ignore:.*CUDA is not available:UserWarning')
def test_half_precision_uses_torch_amp() -> None:
    compat.install()
    from mmcv.runner import Fp16OptimizerHook, auto_fp16, force_fp32

    class Module(torch.nn.Module):
        fp16_enabled = True

        @auto_fp16()
        def half(self, x: torch.Tensor) -> torch.Tensor:
            return x

        @force_fp32()
        def full(self, x: torch.Tensor) -> torch.Tensor:
            return x

    hook = Fp16OptimizerHook(loss_scale=dict(init_scale=64.0), distributed=False)
    assert isinstance(hook.loss_scaler, torch.amp.GradScaler)
    half = Module().half(torch.ones(1))
    assert half.dtype == torch.float16 and Module().full(half).dtype == torch.float32


def test_lvis_accumulates() -> None:
    """One image, one box, found: the code of lvis that uses ``np.float`` runs, and AP is 1."""
    compat.install()
    from lvis import LVIS, LVISEval, LVISResults

    truth = LVIS.__new__(LVIS)
    truth.logger = logging.getLogger('test')
    truth.dataset = dict(
        images=[dict(id=1, neg_category_ids=[], not_exhaustive_category_ids=[])],
        categories=[dict(id=1, name='cat', frequency='r')],
        annotations=[
            dict(id=1, image_id=1, category_id=1, bbox=[0.0, 0, 9, 9], area=81.0, segmentation=[])
        ],
    )
    truth._create_index()
    found = [dict(image_id=1, category_id=1, bbox=[0.0, 0, 9, 9], score=0.5)]
    evaluation = LVISEval(truth, LVISResults(truth, found), 'bbox')
    evaluation.run()
    assert evaluation.get_results()['AP'] == pytest.approx(1.0)


@pytest.mark.parametrize('has_module', [True, False], ids=['setuptools 70', 'setuptools 82'])
def test_clip_finds_packaging(monkeypatch: pytest.MonkeyPatch, has_module: bool) -> None:
    module = types.ModuleType('pkg_resources') if has_module else None
    monkeypatch.setitem(sys.modules, 'pkg_resources', module)  # None: importing it fails
    compat.prepare_clip()
    from pkg_resources import packaging

    assert packaging.version.parse('1.10') > packaging.version.parse('1.9')


def test_ops_compiled_for_another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str):
        raise ImportError('undefined symbol: _ZN3c10')

    monkeypatch.delitem(sys.modules, 'mmcv._ext', raising=False)
    monkeypatch.setattr(adapters.importlib.util, 'find_spec', lambda name: object())
    monkeypatch.setattr(adapters.importlib, 'import_module', load)
    with pytest.raises(ImportError, match='undefined symbol.*make install OPS=1'):
        adapters._adapt_mmcv_ops()


@pytest.mark.slow
@pytest.mark.parametrize('value', ['1', 'true', 'False'])
def test_todd_does_not_evaluate_the_environment(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('DRY_RUN', value)
    result = run('import oadp.config, oadp.utils.runtime; print(oadp.utils.runtime.dry_run())')
    assert result.stdout.strip() == str(value != 'False'), result.stderr


def test_environment_of_todd_is_hidden_only_during_imports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('DRY_RUN', 'print("run as code")')
    monkeypatch.setenv('OADP_OTHER', 'x')
    with compat.quiet_imports():
        assert 'DRY_RUN' not in os.environ and os.environ['OADP_OTHER'] == 'x'
    assert os.environ['DRY_RUN'] == 'print("run as code")'
