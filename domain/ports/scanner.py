"""What a scanner promises."""

from collections.abc import Sequence
from typing import Protocol

from domain.task import Finding
from domain.trees import Tree


class Scanner(Protocol):
    """One tool that reads a tree as data."""

    name: str

    def scan(self, base: Tree, head: Tree, changed: Sequence[str]) -> tuple[Finding, ...]:
        """Findings that are in `head` and not in `base`. A scanner that fails gives a refusing finding."""

    def version(self) -> str: ...

    def doctor(self) -> str | None: ...
