"""Dependencies: what the files of a repository ask for, and what the outside says of it. Data; nothing here asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from pydantic import AwareDatetime

from domain.value import Value


class Ecosystem(StrEnum):
    """Where a name comes from, as https://ossf.github.io/osv-schema/ names it."""

    PYPI = "PyPI"
    NPM = "npm"


class Declaration(NamedTuple):
    """One dependency as one file says it."""

    ecosystem: Ecosystem
    name: str
    """As its registry has it: normalised for PyPI, with its scope for npm."""
    path: str
    line: int | None = None
    spec: str = ""
    """PEP 440 specifiers or an npm range; empty: any version."""
    version: str | None = None
    """Where it is exactly one."""
    hashes: frozenset[str] = frozenset()
    """`sha256:HEX` as Python's tools write it, `sha512-BASE64` as npm does."""
    is_locked: bool = False
    has_marker: bool = False
    """It is wanted on some platforms or Pythons only, so a lock may do without it."""
    group: str = ""
    """What it is for: `build`, `override`, `tool`; empty if a lock of the project has it."""

    @property
    def key(self) -> tuple[Ecosystem, str]:
        return self.ecosystem, self.name


class DependencySight(NamedTuple):
    """One thing in the files themselves that a rule named `kind` is about. `key` tells whether base has it too."""

    kind: str
    key: str
    message: str
    path: str
    line: int | None = None


class RegistryRelease(Value):
    """What a registry says of one version."""

    released: AwareDatetime | None = None
    yanked: str | None = None
    """Why it was taken back; None if it was not."""
    hashes: frozenset[str] = frozenset()
    scripts: tuple[str, ...] = ()
    """npm scripts that run when it is installed."""
    has_source: bool | None = None
    """Whether it links to where its source is developed; None if nobody said."""
    wheel: str | None = None
    """Address of a wheel of it."""


class Advisory(Value):
    """One known vulnerability of one version."""

    id: str
    names: frozenset[str] = frozenset()
    """All that it is known by, `id` too."""
    summary: str = ""
    fixed: str | None = None
    """A later version without it."""

    @property
    def is_malware(self) -> bool:
        """https://github.com/ossf/malicious-packages: not a weakness of the package, but its purpose."""
        return any(name.startswith("MAL-") for name in self.names | {self.id})


@dataclass(frozen=True)
class CheckedDependency:
    """A name in one version that the change brings or alters, with all that was found out about it."""

    ecosystem: Ecosystem
    name: str
    version: str | None
    """The one that would be installed; None if no published one matches, or nobody could say."""
    places: tuple[Declaration, ...]
    """Where it stands, manifests before locks."""
    is_new: bool
    """Base does not have the name."""
    had: bool = False
    """Base has this very version, and only what is said of it is new."""
    replaced: tuple[str, ...] = ()
    """Versions of it that base has and the change no longer."""
    known_hashes: Mapping[str, frozenset[str]] | None = None
    """Path → hashes of this same version on base."""
    scripts: tuple[str, ...] = ()
    """What runs when it is installed, as the registry or the lock says."""
    ran_scripts: bool = False
    """A replaced version ran scripts too."""
    exists: bool | None = None
    """Whether the registry has the name; None if it did not say."""
    release: RegistryRelease | None = None
    releases: int = 0
    first: datetime | None = None
    is_popular: bool = False
    """Its name is a much used one, which nobody squats any more."""
    near: str | None = None
    """A much used name that it can be mistaken for."""
    advisories: tuple[Advisory, ...] = ()
    unknown: tuple[str, ...] = ()
    """What could not be found out, and why."""

    @property
    def told(self) -> str:
        return f"{self.name} {self.version}" if self.version else self.name


@dataclass(frozen=True)
class DependencyChange:
    """What a change does to a project's dependencies, as its rules see it."""

    asked: tuple[CheckedDependency, ...]
    sights: tuple[DependencySight, ...]
    """Only those that base does not have."""
    now: datetime
    may_run_scripts: frozenset[str] = frozenset()
    """npm packages whose install scripts the brief asks for."""
