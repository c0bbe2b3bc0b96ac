"""List the data and weights that the commands read, and check which of them are present."""

__all__ = ['Entry', 'required_files', 'state_of']

import dataclasses
import os
import pathlib

from oadp.data.sources import BY_HAND, DOWNLOADS


@dataclasses.dataclass(frozen=True)
class Entry:
    """Files or folders that have the same source and purpose.

    Attributes:
        pattern: path relative to the current directory, with at most one ``{one,other}``.
        source: command that makes them, or place to get them from.
        used_by: commands that read them.
    """

    pattern: str
    source: str
    used_by: str

    @property
    def paths(self) -> list[pathlib.Path]:
        """Paths of the pattern.

        >>> [str(p) for p in Entry('data/{a,b}.json', '', '').paths]
        ['data/a.json', 'data/b.json']
        """
        head, brace, rest = self.pattern.partition('{')
        if not brace:
            return [pathlib.Path(head)]
        names, _, tail = rest.partition('}')
        return [pathlib.Path(f'{head}{name}{tail}') for name in names.split(',')]


_SPLITS = ('train2017', 'val2017')
_COCO, _LVIS = 'data/coco', 'data/lvis_v1'
_BOTH = '{train2017,val2017}'
_SPLIT_COCO = '{train2017.48,train2017.65,val2017.48,val2017.65,val2017.65.min}'
_SPLIT_LVIS = '{train.866,train.1203,val.866,val.1203}'


def required_files() -> list[Entry]:
    """Return all files and folders that the workflow of the README reads, in its order."""
    return [*_datasets(), *_weights_and_proposals(), *_prompts_and_features()]


def _datasets() -> list[Entry]:
    build = 'python -m oadp.build_annotations'
    return [
        Entry(f'{_COCO}/{_BOTH}', 'cocodataset.org', 'oake, dp'),
        Entry(f'{_COCO}/annotations/instances_{_BOTH}.json', 'cocodataset.org', 'oake'),
        Entry(f'{_LVIS}/{_BOTH}', f'ln -s ../coco/NAME {_LVIS}/', 'oake, dp on LVIS'),
        Entry(f'{_LVIS}/annotations/lvis_v1_{{train,val}}.json', 'lvisdataset.org', 'oake on LVIS'),
        Entry(f'{_COCO}/annotations/instances_{_SPLIT_COCO}.json', build, 'dp on COCO'),
        Entry(f'{_LVIS}/annotations/lvis_v1_{_SPLIT_LVIS}.json', build, 'dp on LVIS'),
    ]


def _weights_and_proposals() -> list[Entry]:
    downloads = [
        Entry(str(DOWNLOADS[name].path), f'python -m oadp.pretrained {name}', used_by)
        for name, used_by in (('clip', 'oake, prompts, detect'), ('resnet50', 'training of an RPN'))
    ]
    make = 'python -m oadp.proposals'
    by_hand = [
        Entry(_pattern(name, start), source, used_by)
        for name, start, source, used_by in (
            ('soco', 'pretrained', 'see oadp.pretrained soco', 'dp'),
            ('detpro', 'pretrained', 'see oadp.pretrained detpro', 'prompts.detpro'),
            ('ml_coco', 'data', 'python -m oadp.prompts.ml_coco', 'dp: OADP on COCO'),
            ('proposals', f'{_COCO}/proposals/oln', make, 'oake.objects'),
            (
                'proposals',
                f'{_COCO}/proposals/rpn',
                'see oadp.pretrained proposals',
                'in place of oln',
            ),
            ('proposals', _LVIS, make, 'oake.objects on LVIS'),
        )
    ]
    return downloads + by_hand


def _prompts_and_features() -> list[Entry]:
    extract = 'python -m oadp.oake'
    link = f'ln -s ../../coco/oake/NAME {_LVIS}/oake/'
    return [
        Entry('data/prompts/vild.pth', 'python -m oadp.prompts.vild', 'dp'),
        Entry('data/prompts/detpro_lvis.pth', 'python -m oadp.prompts.detpro', 'dp on LVIS'),
        Entry(f'{_COCO}/oake/globals/{_BOTH}', f'{extract}.globals', 'dp'),
        Entry(f'{_COCO}/oake/blocks/{_BOTH}', f'{extract}.blocks', 'dp'),
        Entry(f'{_COCO}/oake/objects/{_BOTH}', f'{extract}.objects', 'dp on COCO'),
        Entry(f'{_LVIS}/oake/{{globals,blocks}}', link, 'dp on LVIS'),
        Entry(f'{_LVIS}/oake/objects/{_BOTH}', f'{extract}.objects', 'dp on LVIS'),
    ]


def _pattern(name: str, start: str) -> str:
    """Return one pattern for the files of ``BY_HAND[name]`` whose paths begin with ``start``."""
    return _join([str(p) for p in BY_HAND[name].paths if str(p).startswith(start)])


def _join(paths: list[str]) -> str:
    """Return one pattern for paths that differ only in the middle."""
    if len(paths) == 1:
        return paths[0]
    head = os.path.commonprefix(paths)
    tail = os.path.commonprefix([p[len(head) :][::-1] for p in paths])[::-1]
    middles = [p[len(head) : len(p) - len(tail)] for p in paths]
    return f'{head}{{{",".join(middles)}}}{tail}'


def _state(path: pathlib.Path) -> tuple[bool, str]:
    """Return whether a file or folder is present and not empty, and a description of its state.

    A folder of features may also be a packed store, ``NAME.lmdb``.
    """
    packed = path.with_name(f'{path.name}.lmdb')
    if not path.exists() and packed.exists():
        return True, f'packed: {packed.name}'
    if path.is_symlink() and not path.exists():
        return False, f'a link to {os.readlink(path)}, which does not exist'
    if not path.exists():
        return False, 'missing'
    if path.is_dir():
        # The original README linked the validation images to the training images.
        if path.name in _SPLITS and path.resolve().name in set(_SPLITS) - {path.name}:
            return False, f'links to {path.resolve().name}'
        count = sum(1 for e in os.scandir(path) if not e.name.startswith('.'))
        return count > 0, f'{count} entries' if count else 'an empty folder'
    size = path.stat().st_size
    return size > 0, _megabytes(size) if size else 'an empty file'


def _megabytes(size: int) -> str:
    return f'{size / 1e6:.1f} MB' if size >= 1e5 else f'{size / 1e3:.1f} kB'


def state_of(paths: list[pathlib.Path]) -> tuple[bool, str]:
    """Return whether all files and folders are present and not empty, and a description of their state."""
    states = [_state(path) for path in paths]
    bad = [
        (path, state) for path, (is_there, state) in zip(paths, states, strict=True) if not is_there
    ]
    if not bad:
        return True, states[0][1] if len(paths) == 1 else 'there'
    if len(bad) == len(paths) and len({state for _, state in bad}) == 1:
        return False, bad[0][1]
    return False, '; '.join(f'{path.name}: {state}' for path, state in bad)
