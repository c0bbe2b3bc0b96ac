"""The 96 classes of the embedded benchmark: every filling of every shape, such as 'striped star'.

A third of the combinations is novel. Every shape and every filling also occurs in base classes, so
a novel object resembles base objects, and the most likely error is to call it by one of their
names. On COCO that happens to 62 % of the novel objects that OADP covers (docs/analysis.md).
"""

__all__ = ['BASES', 'CLASSES', 'FILLINGS', 'NOVELS', 'SHAPES', 'SYNONYMS']

SHAPES = (
    'disc',
    'square',
    'triangle',
    'star',
    'arrow',
    'heart',
    'cross',
    'house',
    'fish',
    'tree',
    'bottle',
    'crown',
)
FILLINGS = (
    'plain',
    'striped',
    'dotted',
    'checkered',
    'halved',
    'barred',
    'ringed',
    'hollow',
)

CLASSES = {f'{filling} {shape}': (filling, shape) for shape in SHAPES for filling in FILLINGS}
"""Names of classes: their filling and their shape."""

_IS_NOVEL = {
    f'{filling} {shape}': (i + j) % 3 == 0
    for i, shape in enumerate(SHAPES)
    for j, filling in enumerate(FILLINGS)
}

BASES: tuple[str, ...] = tuple(name for name, novel in _IS_NOVEL.items() if not novel)
NOVELS: tuple[str, ...] = tuple(name for name, novel in _IS_NOVEL.items() if novel)
"""Two or three fillings of each shape, four shapes of each filling."""

SYNONYMS: dict[str, str] = {
    'disc': 'ball',
    'crown': 'tiara',
    'tree': 'pine',
    'bottle': 'flask',
    'house': 'hut',
    'hollow': 'empty',
    'checkered': 'chequered',
    'dotted': 'spotted',
}
"""Alternative words, which some captions use. No category list contains them."""
