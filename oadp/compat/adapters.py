"""Adapt mmcv, mmdet, lvis and clip to current versions of their dependencies, before their import."""

__all__ = ['install', 'ops_in_use', 'prepare_clip', 'quiet_imports']

import contextlib
import functools
import importlib
import importlib.util
import logging
import os
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

_IRRELEVANT = (
    # mmcv 1.x announces version 2, which this project does not use.
    ('On January 1, 2023, MMCV will release v2.0.0', UserWarning),
    # todd 0.3 imports timm by a deprecated path that still works.
    ('Importing from timm.models.layers is deprecated', FutureWarning),
    # setuptools is pinned below 70 for the packages that import pkg_resources.
    ('pkg_resources is deprecated as an API', (DeprecationWarning, UserWarning)),
)
"""Messages at import that users cannot act on, and their categories."""

_NO_CUDA_RUNTIME = 'No CUDA runtime is found'
"""Message of ``torch.utils.cpp_extension``, which mmcv imports, on machines without a GPU."""

_WITHOUT_ALIASES = (
    'lvis.eval',  # np.float
    'mmdet.datasets.custom',  # np.int
    'mmdet.datasets.openimages',  # np.int
    'mmdet.core.bbox.samplers.iou_balanced_neg_sampler',  # np.int
)
"""Modules that use aliases which NumPy 1.24 removed."""


_EVALUATED_BY_TODD = ('CPU', 'CUDA', 'DRY_RUN', 'MPS', 'TRAIN_WITH_VAL_DATASET')
"""Environment variables that todd evaluates with ``eval`` at import; other values than bools fail."""


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Suppress the known irrelevant messages of third-party packages while they are imported.

    Within the block, the environment variables that todd evaluates are removed: todd would fail on
    ``DRY_RUN=1`` and run other text as code. OADP does not use todd's copies of these variables.
    """

    def is_relevant(record: logging.LogRecord) -> bool:
        return _NO_CUDA_RUNTIME not in record.getMessage()

    logger = logging.getLogger('torch.utils.cpp_extension')
    logger.addFilter(is_relevant)
    hidden = {k: os.environ.pop(k) for k in _EVALUATED_BY_TODD if k in os.environ}
    try:
        with warnings.catch_warnings():
            for message, categories in _IRRELEVANT:
                for category in categories if isinstance(categories, tuple) else (categories,):
                    warnings.filterwarnings('ignore', message=message, category=category)
            yield
    finally:
        os.environ.update(hidden)
        logger.removeFilter(is_relevant)


@functools.cache
def install() -> None:
    """Install all adapters that mmcv, mmdet, lvis and todd need. Further calls do nothing.

    Raises:
        ImportError: mmcv, mmdet or lvis is not installed, or mmcv-full's ops were compiled for
            another version of torch.
    """
    with quiet_imports():
        _adapt_mmcv_ops()
        _defer_scikit_learn()
        _adapt_checkpoint_loading()
        _adapt_parallel()
        _adapt_half_precision()
        _adapt_numpy_aliases()
        prepare_clip()
        _adapt_schedules()  # imports todd here, so that its messages are suppressed, too


def _adapt_mmcv_ops() -> None:
    """Replace ``mmcv._ext`` if mmcv-full was installed without compiled ops.

    ``mmcv.ops``, which mmdet imports, needs the extension at import.
    """
    import mmcv

    if 'mmcv._ext' in sys.modules:
        return
    if importlib.util.find_spec('mmcv._ext') is None:
        from oadp.compat import ops

        sys.modules['mmcv._ext'] = ops
        mmcv._ext = ops
        return
    import torch  # noqa: F401  its libraries must be loaded first

    try:
        importlib.import_module('mmcv._ext')
    except ImportError as e:
        raise ImportError(
            f"mmcv-full's compiled ops do not load with torch {torch.__version__}: {e}. They were "
            'compiled for another version; run make install OPS=1 again, or make install OPS=0'
        ) from e


def ops_in_use() -> Literal['torchvision', 'mmcv-full']:
    """Return the package whose NMS and RoIAlign ``mmcv.ops`` uses. Installs the adapters first."""
    install()
    return (
        'torchvision' if sys.modules['mmcv._ext'].__name__ == f'{__package__}.ops' else 'mmcv-full'
    )


def _adapt_checkpoint_loading() -> None:
    """Make ``mmcv.runner.load_checkpoint`` read local files with ``load_tensors``.

    mmcv does not pass ``weights_only``: torch 2.6 and later then refuse checkpoints with NumPy values
    in their ``meta``, and earlier versions run the code that a file names.
    """
    from mmcv.runner import CheckpointLoader

    from oadp.compat.loading import add_safe_globals, load_tensors

    def load_from_local(filename: str, map_location: Any = None) -> Any:
        return load_tensors(os.fspath(filename), map_location)

    add_safe_globals()  # for mmcv's other schemes, such as https://
    CheckpointLoader.register_scheme('', load_from_local, force=True)


def _defer_scikit_learn() -> None:
    """Import scikit-learn when mmdet's PAA head first uses it, not with mmdet.

    Its import takes about a tenth of the start-up time of a command, and only the training of a PAA head
    uses it. If mmdet's models or scikit-learn are already imported, nothing changes.
    """
    if {'sklearn', 'mmdet.models'} & {*sys.modules}:
        return
    sys.modules['sklearn'] = None  # type: ignore[assignment]  # its import raises an ImportError
    try:
        from mmdet.models.dense_heads import paa_head
    finally:
        del sys.modules['sklearn']
    paa_head.skm = _ImportedWhenUsed('sklearn.mixture')


class _ImportedWhenUsed(types.ModuleType):
    """A module that is imported when one of its attributes is first used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):  # what inspection asks of every module
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


def _adapt_parallel() -> None:
    from oadp.compat.distributed import adapt_parallel

    adapt_parallel()


def _adapt_half_precision() -> None:
    """Let mmcv compute in float32 without a GPU, and import autocast from its current place in torch.

    - Without a GPU, torch switches off mmcv's autocast and loss scaler, but mmcv still casts the inputs
      to fp16, and the first convolution fails. So models are not switched to fp16 there.
    - mmcv imports autocast and the loss scaler from ``torch.cuda.amp``, which torch deprecates since 2.4.
    """
    import mmcv.runner
    import torch
    from mmcv.runner import fp16_utils
    from mmcv.runner.hooks import optimizer

    switch_to_fp16 = fp16_utils.wrap_fp16_model

    def wrap_fp16_model(model: Any) -> None:
        if torch.cuda.is_available():
            switch_to_fp16(model)

    for module in (mmcv.runner, optimizer):  # what mmdet's tools and mmcv's hook call
        module.wrap_fp16_model = wrap_fp16_model
    if not hasattr(torch.amp, 'GradScaler'):  # torch before 2.3
        return
    fp16_utils.autocast = functools.partial(torch.amp.autocast, 'cuda')
    optimizer.GradScaler = functools.partial(torch.amp.GradScaler, 'cuda')


def _adapt_schedules() -> None:
    from oadp.compat.schedules import adapt_schedules

    adapt_schedules()


class _NumpyWithAliases(types.ModuleType):
    """NumPy with its former aliases: ``np.float`` is ``float``, and so on.

    Only the modules that need the aliases get it; all others keep NumPy itself.
    """

    float = float
    int = int
    bool = bool

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def _adapt_numpy_aliases() -> None:
    if 'float' in vars(np):  # NumPy before 1.24
        return
    numpy = _NumpyWithAliases('numpy')
    for name in _WITHOUT_ALIASES:
        setattr(importlib.import_module(name), 'np', numpy)  # noqa: B010  a module has no such attribute for mypy


def prepare_clip() -> None:
    """Make ``from pkg_resources import packaging`` work, which clip runs at import.

    setuptools 70 removed that name, and setuptools 82 the whole module. If the module does not exist,
    a module with only that name is registered.
    """
    import packaging
    import packaging.version  # clip reads packaging.version without importing it

    with quiet_imports():
        try:
            import pkg_resources
        except ImportError:
            pkg_resources = types.ModuleType('pkg_resources', 'Only the name that clip imports.')
            sys.modules['pkg_resources'] = pkg_resources
    if not hasattr(pkg_resources, 'packaging'):
        pkg_resources.packaging = packaging
