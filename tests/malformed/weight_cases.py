"""Weights and prompts that are broken, forged or of another kind."""

__all__ = ['CASES']

import pathlib
import shutil
import struct
from collections.abc import Callable
from typing import Any

import torch
from malformed.harness import Case, Fails, Passes
from malformed.making import (
    NAN,
    Code,
    cut,
    edit_torch,
    nothing,
    pickled,
    put,
    torch_bytes,
    torch_with_code,
    zip_bytes,
)


def _poison(data: dict[str, Any]) -> None:
    state = data['state_dict']
    key = next(k for k in state if k.endswith('rpn_conv.weight'))
    state[key].view(-1)[0] = NAN


def _reshape(data: dict[str, Any]) -> None:
    key = next(k for k in data['state_dict'] if k.endswith('rpn_conv.weight'))
    data['state_dict'][key] = data['state_dict'][key][:3]


WEIGHTS: list[tuple[str, Callable, str]] = [
    ('NaN', edit_torch('w.pth', _poison), 'w.pth: NaN or infinity in .*rpn_conv.weight'),
    ('other shapes', edit_torch('w.pth', _reshape), r'w.pth: not a checkpoint of this config.*rpn_conv'),
    ('a key missing', edit_torch('w.pth', lambda d: d['state_dict'].pop('neck.fpn_convs.0.conv.weight') is None or None), 'w.pth.*keys missing.*neck'),
    ('none of its keys', put('w.pth', torch_bytes({'state_dict': {'x': torch.ones(1)}})), 'w.pth: the model has none of its keys'),
    ('a list', put('w.pth', torch_bytes([1])), 'w.pth: expected a state dict'),
    ('numbers in place of tensors', put('w.pth', torch_bytes({'state_dict': {'x': 1}})), 'w.pth: expected a state dict'),
    ('cut off', cut('w.pth', 0.5), 'w.pth'),
    ('empty', put('w.pth', b''), 'w.pth'),
    ('text', put('w.pth', 'version https://git-lfs.github.com/spec/v1\n'), 'w.pth'),
    ('zip of nothing', put('w.pth', zip_bytes()), 'w.pth'),
    ('zip of something else', put('w.pth', zip_bytes(readme=b'x')), 'w.pth'),
    ('code in a pickle', put('w.pth', torch_with_code()), 'w.pth'),
    ('code in a plain pickle', put('w.pth', pickled({'state_dict': Code()})), 'w.pth'),
    ('a folder', lambda: (pathlib.Path('w.pth').unlink(), pathlib.Path('w.pth').mkdir()), 'w.pth'),
    ('missing', lambda: pathlib.Path('w.pth').unlink(), 'w.pth'),
    ('a CLIP archive', lambda: (pathlib.Path('w.pth').unlink(), shutil.copy('clip.pt', 'w.pth')), 'w.pth'),
]  # fmt: skip


def _weights() -> list[Case]:
    cases = []
    for name, make, pattern in WEIGHTS:
        cases.append(
            Case(
                f'checkpoint: {name}: dp.test',
                make,
                'dp.test',
                ['ov_coco.py', 'w.pth', '--out', 'out.pkl'],
                Fails(pattern),
            )
        )
    for name, make, pattern in WEIGHTS:
        if name in ('NaN', 'code in a pickle', 'cut off', 'a list'):
            options = ['t', 'ov_coco.py', '--override']
            cases += [
                Case(f'checkpoint: {name}: detect', make, 'detect', ['ov_coco.py', 'w.pth', 'images/val', '--output', 'out'], Fails(pattern)),
                Case(f'checkpoint: {name}: load_from', make, 'dp.train', [*options, '.trainer.load_from::w.pth'], Fails(pattern)),
                Case(f'checkpoint: {name}: resume_from', make, 'dp.train', [*options, '.trainer.resume_from::w.pth'], Fails('w.pth')),
                Case(f'checkpoint: {name}: proposals', make, 'proposals',
                     ['ov_coco.py', 'w.pth', '--annotations', 'val.json', '--out', 'p.pkl'], Fails(pattern)),
                Case(f'checkpoint: {name}: bundle', make, 'bundle', ['ov_coco.py', 'w.pth', 'new'],
                     Fails(pattern, check=lambda: not pathlib.Path('new/SHA256SUMS').exists())),
            ]  # fmt: skip
    bad = put('s.safetensors', struct.pack('<Q', 1 << 40) + b'{}')
    cases += [
        Case('checkpoint: forged safetensors: dp.test', bad, 'dp.test', ['ov_coco.py', 's.safetensors'], Fails('s.safetensors')),
        Case('checkpoint: forged safetensors: bundle', bad, 'bundle', ['ov_coco.py', 's.safetensors', 'new'], Fails('s.safetensors')),
        Case('checkpoint: NaN: probe', edit_torch('w.pth', _poison), 'probe', ['ov_coco.py', 'w.pth'], Fails('w.pth: NaN')),
        Case('checkpoint: of a detector with masks: dp.test', nothing, 'dp.test', ['ov_coco.py', 'm.pth'], Passes('m.pth: 6 keys unexpected.*mask_head')),
    ]  # fmt: skip
    return cases


def _prompts(change: Callable[[dict], Any]) -> Callable[[], None]:
    return edit_torch('prompts.pth', change)


PROMPTS: list[tuple[str, Callable, str]] = [
    ('NaN', _prompts(lambda d: d['embeddings'].fill_(NAN) is None or None), 'prompts.pth.*(NaN|finite)'),
    ('a name missing', _prompts(lambda d: d | {'names': ['bat', *d['names'][1:]]}), "prompts.pth.*cat"),
    ('a name twice', _prompts(lambda d: d | {'names': ['dog', *d['names'][1:]]}), 'prompts.pth.*cat'),
    ('fewer rows than names', _prompts(lambda d: d | {'embeddings': d['embeddings'][:3]}), 'prompts.pth'),
    ('one dimension', _prompts(lambda d: d | {'embeddings': d['embeddings'][0]}), 'prompts.pth'),
    ('numbers as names', _prompts(lambda d: d | {'names': [1, 2, 3, 4, 5]}), 'prompts.pth'),
    ('no names', _prompts(lambda d: {'embeddings': d['embeddings']}), 'prompts.pth.*names'),
    ('a tensor', _prompts(lambda d: d['embeddings']), 'prompts.pth'),
    ('text', put('prompts.pth', 'cat'), 'prompts.pth'),
    ('cut off', cut('prompts.pth', 0.6), 'prompts.pth'),
    ('code in a pickle', put('prompts.pth', torch_with_code()), 'prompts.pth'),
    ('missing', lambda: pathlib.Path('prompts.pth').unlink(), 'prompts.pth'),
]  # fmt: skip


def _prompt_cases() -> list[Case]:
    cases = []
    for name, make, pattern in PROMPTS:
        cases.append(
            Case(
                f'prompts: {name}: dp.test',
                make,
                'dp.test',
                ['ov_coco.py', 'w.pth'],
                Fails(pattern),
            )
        )
        if name in ('NaN', 'a name missing', 'code in a pickle'):
            cases.append(
                Case(f'prompts: {name}: probe', make, 'probe', ['ov_coco.py'], Fails(pattern))
            )
    detpro = ['--source', 'd.pth', '--out', 'prompts.out.pth']
    cases += [
        Case('prompts: DetPro of another shape', put('d.pth', torch_bytes(torch.ones(3, 4))), 'prompts.detpro', detpro, Fails('d.pth.*1203')),
        Case('prompts: DetPro with NaN', put('d.pth', torch_bytes(torch.full((1203, 4), NAN))), 'prompts.detpro', detpro, Fails('NaN|finite')),
        Case('prompts: DetPro with code', put('d.pth', pickled(Code())), 'prompts.detpro', detpro, Fails('d.pth')),
        Case('prompts: DetPro is text', put('d.pth', 'x'), 'prompts.detpro', detpro, Fails('d.pth')),
        Case('prompts: out is a folder', lambda: pathlib.Path('o').mkdir(), 'prompts.vild',
             ['--categories', 'categories.json', '--clip', 'clip.pt', '--out', 'o'], Fails(r'\bo\b')),
    ]  # fmt: skip
    return cases


CASES = [*_weights(), *_prompt_cases()]
