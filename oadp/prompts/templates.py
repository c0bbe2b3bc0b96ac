"""Sentence templates for category names.

``VILD`` is the list of templates that PyTorch reproductions of ViLD average over, written as the few
patterns that generate it. Do not change it: a detector must be tested with the templates that it was
trained with.
"""

__all__ = ['VILD']

_SIZES = ('', 'small ', 'medium ', 'large ')

VILD: tuple[str, ...] = (
    'This is a {}',
    'There is a {}',
    *(f'a photo of a {size}{{}} in the scene' for size in _SIZES),
    *(f'a photo of a {size}{{}}' for size in _SIZES),
    *(f'This is a photo of a {size}{{}}' for size in _SIZES),
    *(f'There is {article} {{}} in the scene' for article in ('a', 'the', 'one')),
    *(f'This is {article} {{}} in the scene' for article in ('a', 'the', 'one')),
    *(f'This is one {size}{{}} in the scene' for size in _SIZES[1:]),
    *(f'There is a {size}{{}} in the scene' for size in _SIZES[1:]),
    *(
        f'{subject} is {article} {size}{{}} in the {medium}'
        for subject, medium in (
            ('There', 'photo'),
            ('There', 'picture'),
            ('This', 'photo'),
            ('This', 'picture'),
        )
        for size in _SIZES
        for article in ('a', 'the', 'one')
    ),
)
"""74 templates. The article is the same for all names ("a apple"), as in the released embeddings."""
