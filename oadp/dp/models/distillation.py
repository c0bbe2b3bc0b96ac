"""The distiller's config: drop losses that are None, and report losses whose head does not exist.

An ablation sets only a loss to None, ``losses=dict(loss_clip_global=None)``: hooks that no loss uses
are dropped with it.
"""

__all__ = ['check_distiller', 'features_used', 'untrained_heads', 'without_unused']

from collections.abc import Iterable, Mapping
from typing import Any

from todd.base import has_
from torch import nn

from oadp.utils.config import to_plain

CLIP_FEATURES = ('clip_objects', 'clip_blocks', 'clip_global')
"""Names of CLIP's features in a batch."""

_KINDS = {'objects': 'clip_objects', 'blocks': 'clip_blocks', 'globals': 'clip_global'}
"""Kind of features to its embeddings in a batch."""

_HEADS = {
    '_object_head': 'roi_head.object_head',
    '_block_head': 'roi_head.block_head',
    '_global_head': 'global_head',
}
"""Attribute of a head in the detector, and its key in the config of the model."""


def without_unused(distiller: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the entries that are None, and the hooks and adapts that no loss is computed from.

    Args:
        distiller: config of todd's ``SelfDistiller``. Not changed.

    Returns:
        Plain containers with the keys ``student_hooks``, ``adapts`` and ``losses``, at least.
    """
    config = to_plain(distiller)
    parts = {
        key: {k: v for k, v in (config.get(key) or {}).items() if v is not None}
        for key in ('student_hooks', 'adapts', 'losses')
    }
    used = _inputs(parts['losses'].values())
    # An adapt's key is the name of its output, or several names; adapts may depend on each other.
    for name, adapt in reversed([*parts['adapts'].items()]):
        if used.isdisjoint(_names(name)):
            del parts['adapts'][name]
        else:
            used |= _inputs([adapt])
    parts['student_hooks'] = {k: v for k, v in parts['student_hooks'].items() if k in used}
    return {**config, **parts}


def features_used(model: Mapping[str, Any]) -> set[str]:
    """Return the kinds of CLIP features that the heads and losses of a ViLD or OADP are computed from.

    Args:
        model: the section ``model`` of a config.

    >>> loss = dict(inputs=('objects', 'clip_objects'), action=dict(type='L1Loss'))
    >>> features_used(dict(type='ViLD', roi_head={}, distiller=dict(losses=dict(loss=loss))))
    {'objects'}
    """
    used = without_unused(model.get('distiller') or {})
    inputs = _inputs([*used['losses'].values(), *used['adapts'].values()])
    kinds = {kind for kind, name in _KINDS.items() if name in inputs}
    # The block head classifies the blocks, whose labels come with their features.
    return kinds | ({'blocks'} if model['roi_head'].get('block_head') else set())


def check_distiller(detector: nn.Module, distiller: Mapping[str, Any]) -> None:
    """Check that the detector has the parts that the losses are computed from.

    Args:
        detector: the detector, with all of its parts.
        distiller: the config that :func:`without_unused` returns.

    Raises:
        ValueError: a hook is on a part that does not exist, or an input of a loss is neither a hook
            nor a feature of the batch. All errors are listed, with what to set.
    """
    hooks, adapts, losses = (distiller[k] for k in ('student_hooks', 'adapts', 'losses'))
    absent = {k: p for k, v in hooks.items() if not has_(detector, p := v['action']['path'])}
    known = {*CLIP_FEATURES, *hooks, *(n for name in adapts for n in _names(name))}
    faults = []
    for section, steps in (('adapts', adapts), ('losses', losses)):
        for name, step in steps.items():
            inputs = _inputs([step])
            faults += [
                f'{name} is computed from the hook {hook!r} on {absent[hook]}, and '
                f'{type(detector).__name__} has no such part{_explain(absent[hook])}; set '
                f'model.distiller.{section}.{name}=None to leave it out, or give the part'
                for hook in sorted(inputs & set(absent))
            ]
            faults += [
                f'{name} is computed from {unknown!r}: expected one of student_hooks '
                f'{sorted(hooks)}, or of the batch {list(CLIP_FEATURES)}; set '
                f'model.distiller.{section}.{name}=None to leave it out'
                for unknown in sorted(inputs - known)
            ]
    if faults:
        raise ValueError('model.distiller: ' + '; '.join(faults))


def untrained_heads(detector: nn.Module) -> dict[str, nn.Module]:
    """Return the heads besides the box head that no loss trains, by their keys in the config.

    The object head has no loss of its own, and the other heads may have none.
    """
    paths = getattr(detector, 'hooked_parts', ())
    found = {}
    for attribute, key in _HEADS.items():
        owner = getattr(detector, 'roi_head', None) if key.startswith('roi_head.') else detector
        head = getattr(owner, attribute, None)
        is_distilled = any(f'.{attribute}.' in path for path in paths)
        if head is not None and getattr(head, '_loss', None) is None and not is_distilled:
            found[key] = head
    return found


def _inputs(steps: Iterable[Mapping[str, Any]]) -> set[str]:
    return {name for step in steps for name in step['inputs']}


def _names(outputs: str) -> list[str]:
    return [name.strip() for name in outputs.split(',')]


def _explain(path: str) -> str:
    keys = [key for attribute, key in _HEADS.items() if f'.{attribute}.' in path]
    return f' (model.{keys[0]} is None or not given)' if keys else ''
