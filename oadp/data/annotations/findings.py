"""Collect the faults of a file: faults of the same kind are counted, with a few examples."""

__all__ = ['Finding', 'Findings']

import dataclasses
from collections.abc import Iterable, Iterator

MAX_EXAMPLES = 5


@dataclasses.dataclass
class Finding:
    """Faults of one kind.

    Attributes:
        what: description, such as ``annotations without bbox``.
        advice: what to do, or what is assumed instead.
        count: number of faults.
        examples: the first few faults.
    """

    what: str
    advice: str
    count: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)

    @property
    def shown(self) -> str:
        """The examples as text."""
        more = ['…'] if self.count > len(self.examples) else []
        return ', '.join([*self.examples, *more]) if self.examples else ''

    def __str__(self) -> str:
        examples = f' ({self.shown})' if self.examples else ''
        return f'{self.what}: {self.count}{examples}; {self.advice}'


class Findings:
    """Kinds of faults, in the order in which they were first found."""

    def __init__(self) -> None:
        self._by_what: dict[str, Finding] = {}

    def add(self, what: str, advice: str, count: int, examples: Iterable[str] = ()) -> None:
        """Add faults of a kind; nothing is added if ``count`` is 0.

        Args:
            what: see ``Finding``; faults with the same ``what`` are counted together.
            advice: see ``Finding``.
            count: number of faults.
            examples: examples of them; only the first few are read.
        """
        if not count:
            return
        finding = self._by_what.setdefault(what, Finding(what, advice))
        finding.count += int(count)
        for example in examples:
            if len(finding.examples) >= MAX_EXAMPLES:
                break
            finding.examples.append(example)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._by_what.values())

    def __len__(self) -> int:
        return len(self._by_what)

    def summary(self) -> str:
        """Return the kinds in one line, without examples; empty if there are none."""
        return ', '.join(f'{f.what}: {f.count} ({f.advice})' for f in self)

    def message(self, path: object) -> str:
        """Return the message of an error about a file, with one line per kind as compilers print."""
        return '\n'.join(f'{path}: {finding}' for finding in self)
