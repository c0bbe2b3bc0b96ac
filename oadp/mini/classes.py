"""The 96 classes of the embedded benchmark: every filling of every shape, such as 'striped star'.

The shapes of novel classes are those of no base class, so that only CLIP can tell what they look
like. Their fillings are known from base classes, so a novel object resembles base objects, and the
most likely error is to call it by one of their names. On COCO that happens to 62 % of the novel
objects that OADP covers (docs/analysis.md).
"""

__all__ = ['BASES', 'CLASSES', 'FILLINGS', 'NOVELS', 'NOVEL_SHAPES', 'SHAPES', 'SYNONYMS']

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

NOVEL_SHAPES = ('star', 'heart', 'fish', 'crown')
"""Not unseen combinations of known shapes and fillings: a detector without distillation names those
as well as one with it, since their text embeddings are combinations, too (docs/history.md)."""

BASES: tuple[str, ...] = tuple(n for n, (_, shape) in CLASSES.items() if shape not in NOVEL_SHAPES)
NOVELS: tuple[str, ...] = tuple(n for n, (_, shape) in CLASSES.items() if shape in NOVEL_SHAPES)

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
