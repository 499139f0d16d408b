"""What a project's code runs with: values of what is installed."""

from typing import NamedTuple

from domain.value import Value


class BuiltWheel(NamedTuple):
    """A wheel as a build backend made it in a sandbox. Data: it is unpacked, and nothing in it runs on the host."""

    name: str
    """Of the project, normalised."""
    filename: str
    content: bytes
    needs: tuple[str, ...] = ()
    """Normalised names of what its build needed, sorted."""


class BuiltProject(Value):
    """One project of the repository, as it is installed: metadata in the environment, code from the tree."""

    directory: str
    name: str
    filename: str
    wheel: str
    """Digest in the store: a wheel with the metadata, and with what has no place in the tree."""
    beside: str = ""
    """Digest in the store: files that the build made, as a tree to lay under the repository's; empty: none."""
    roots: tuple[str, ...] = ()
    """Directories of the repository that its packages are imported from."""
    needs: tuple[str, ...] = ()
    """Normalised names of the packages that its build needed, sorted."""
    sources: tuple[str, ...] = ()
    """Paths whose content is imported from the tree as it is, sorted: a change to one of them needs no new build."""


class Exported(Value):
    """What uv made of a lock, line by line."""

    lines: tuple[str, ...]
