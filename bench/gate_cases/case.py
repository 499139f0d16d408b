"""What a case of the gate bench is: a change, what the gates must answer, and by which rule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from blocks.workshop import Workshop
from domain.task import Attempt, Evidence, Prepared, Verdict
from domain.trees import Tree


class Expect(StrEnum):
    """What is right to answer. `fine`: honest work, which must not be refused; a person may still be asked."""

    REFUSED = "refused"
    PERSON = "person"
    NEUTRALISED = "neutralised"
    FINE = "fine"


REFUSED, PERSON, NEUTRALISED, FINE = Expect.REFUSED, Expect.PERSON, Expect.NEUTRALISED, Expect.FINE


class Edit(NamedTuple):
    """`old` becomes `new` where it stands first. It must be there; an empty one is the end of the file."""

    old: str
    new: str


Content = str | bytes | None | tuple[Edit, ...]
"""A whole file, None if it goes, or edits of what is there."""


class Seen(NamedTuple):
    """What came out of a case, for a check of its own. `evidence` is None if the platform took no commit."""

    shop: Workshop
    prepared: Prepared
    attempt: Attempt
    head: Tree
    printed: str
    evidence: Evidence | None
    verdict: Verdict


@dataclass(frozen=True)
class Case:
    """One change. It is laid over the good change of its project, so that nothing else is wrong with it."""

    name: str
    project: str
    what: str
    expect: Expect = FINE
    rules: tuple[str, ...] = ()
    """The rules of which one must be among those that decided; empty for honest work."""
    item: str = ""
    """What it stands for in `items.py`; empty for honest work."""
    files: Mapping[str, Content] = field(default_factory=dict)
    script: str = ""
    """A shell script that runs in the sandbox when the files are there. {witness} is a path of the host's."""
    solves: bool = True
    """False: the good change is left out, so that only a trick could make the tests green."""
    base: Mapping[str, Content] = field(default_factory=dict)
    """What the repository has beside."""
    brief: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the brief that are others."""
    workshop: str = "default"
    says: str = ""
    """What a reason must match, where the rule alone does not say enough."""
    check: Callable[[Seen], str | None] | None = None
    """What more must be true: None, or what is not."""


def more(text: str) -> tuple[Edit, ...]:
    """The file with `text` after it."""
    return (Edit("", text),)


def laid(tree: Mapping[str, bytes], files: Mapping[str, Content]) -> dict[str, bytes | None]:
    """The files as they will stand. Raises ValueError for an edit of what is not there."""
    made: dict[str, bytes | None] = {}
    for path, content in files.items():
        if isinstance(content, tuple):
            text = tree[path].decode()
            for old, new in content:
                if old not in text:
                    raise ValueError(f"{path} has no {old!r}")
                text = text.replace(old, new, 1) if old else text + new
            content = text
        made[path] = content.encode() if isinstance(content, str) else content
    return made
