"""The console script: ``oadp train …`` is ``python -m oadp.dp.train …``."""

__all__ = ['COMMANDS', 'main']

import runpy
import sys
from collections.abc import Sequence

COMMANDS = {
    'doctor': ('oadp.doctor', 'show versions, device, and which data and weights are present'),
    'build-annotations': ('oadp.build_annotations', 'write the base and novel splits of COCO and LVIS'),
    'check-annotations': ('oadp.check_annotations', 'check an annotation file and the images it lists'),
    'pretrained': ('oadp.pretrained', 'download weights, or list where they come from'),
    'prompts vild': ('oadp.prompts.vild', 'write the text embeddings of class names'),
    'prompts detpro': ('oadp.prompts.detpro', "convert DetPro's prompt"),
    'prompts ml_coco': ('oadp.prompts.ml_coco', 'learn multi-label prompts'),
    'proposals': ('oadp.proposals', 'write the proposals of a detector'),
    'extract globals': ('oadp.oake.globals', 'extract CLIP features of whole images'),
    'extract blocks': ('oadp.oake.blocks', 'extract CLIP features of blocks'),
    'extract objects': ('oadp.oake.objects', 'extract CLIP features of proposals'),
    'features': ('oadp.features', 'pack, unpack or check feature records'),
    'train': ('oadp.dp.train', 'train a detector'),
    'test': ('oadp.dp.test', 'evaluate a checkpoint'),
    'test-fusion': ('oadp.dp.test_nni', 'evaluate one setting of the score fusion'),
    'analyze': ('oadp.analyze', 'show where the AP of novel classes is lost'),
    'probe': ('oadp.probe', 'measure the zero-shot accuracy of features and heads on ground-truth boxes'),
    'mmdet-config': ('oadp.dp.mmdet_config', 'write a config for mmdetection 2.x'),
    'mmdet-tool': ('oadp.dp.mmdet_tool', "run one of mmdetection's tools"),
    'detect': ('oadp.detect', 'detect the given names in images'),
    'web': ('oadp.web', 'serve a web page for detection'),
    'export': ('oadp.export', 'write a detector as an ONNX file'),
    'bundle': ('oadp.bundle', 'write a detector as one folder'),
    'demo': ('oadp.mini', 'run the method on a small generated dataset'),
}  # fmt: skip
"""Name of a command to its module and a description."""


def usage() -> str:
    """Return the list of the commands."""
    width = max(map(len, COMMANDS))
    lines = [f'  {name:<{width}}  {text}' for name, (_, text) in COMMANDS.items()]
    return '\n'.join(
        ['usage: oadp COMMAND [arguments]', '', *lines, '', 'oadp COMMAND --help shows its arguments.']
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command of the package.

    Args:
        arguments: the words after ``oadp``; those of the process by default.

    Returns:
        The exit status of a command that returns: 0; and 2 if there is no such command. A command
        that ends the process raises ``SystemExit``.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for num_words in (2, 1):
        name = ' '.join(arguments[:num_words])
        if name in COMMANDS:
            module, _ = COMMANDS[name]
            rest = arguments[num_words:]
            # As Python sets them for `python -m MODULE` while it finds the module: oadp.dp then
            # leaves the imports of mmdet to its command (see oadp/dp/__init__.py).
            sys.argv = ['-m', *rest]
            sys.orig_argv = [sys.executable, '-m', module, *rest]
            runpy.run_module(module, run_name='__main__', alter_sys=True)
            return 0
    if arguments in (['-h'], ['--help']):
        print(usage())
        return 0
    found = f'oadp: unknown command {" ".join(arguments[:2])!r}\n\n' if arguments else ''
    print(found + usage(), file=sys.stderr)
    return 2


if __name__ == '__main__':
    sys.exit(main())
