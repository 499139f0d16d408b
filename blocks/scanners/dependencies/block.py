"""The block: settings of the registries, and the order in which a change is looked at."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from pydantic import Field, SecretStr

from blocks.base import LockgateBlock
from blocks.package_index import indexes
from blocks.scanners.dependencies.advisories import Advisories, AdvisoryQuery
from blocks.scanners.dependencies.asking import OutsideServices, ask
from blocks.scanners.dependencies.files import read_tree, removed_locks
from blocks.scanners.dependencies.imports import undeclared
from blocks.scanners.dependencies.reading import TreeReading, address
from blocks.scanners.dependencies.registries import Npm, Pypi
from blocks.scanners.dependencies.web import Cache, Unknown, Web
from blocks.scanners.tool import FAILED
from domain.dependencies import DependencyChange, DependencySight, Ecosystem
from domain.policy.dependency_rules import DEPENDENCY_RULES
from domain.policy.rule import Hit, apply
from domain.task import Finding
from domain.trees import Tree

PUBLIC = (
    "https://pypi.org/simple", "https://files.pythonhosted.org", "https://registry.npmjs.org", "https://registry.yarnpkg.com",
)  # fmt: skip
"""What the tools use where they are told nothing else; yarn's is a name of npm's."""


def _first_of(names: Sequence[str], otherwise: str) -> SecretStr:
    return SecretStr(next((os.environ[name] for name in names if os.environ.get(name)), otherwise))


class Dependencies(LockgateBlock):
    """What a change does to the project's dependencies, checked against the registries. Nothing is installed."""

    _block_type_name = "Lockgate dependencies"
    _block_type_slug = "lockgate-dependencies"
    _description = "New and altered dependencies of Python and npm: existence, age, source, hashes, vulnerabilities."

    name: str = Field("dependencies", description="How evidence calls this scanner")
    index_url: SecretStr = Field(
        default_factory=lambda: _first_of(("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"), "https://pypi.org/simple/"),
        description="Python index that speaks PEP 691, with credentials where it needs them",
    )  # fmt: skip
    indexes: tuple[str, ...] = Field(
        (),
        description="Names of package-index blocks, asked before `index_url`; a workshop gives those of its toolchains",
    )
    npm_registry: SecretStr = Field(
        default_factory=lambda: _first_of(("NPM_CONFIG_REGISTRY", "npm_config_registry"), "https://registry.npmjs.org/"),
        description="npm registry, with credentials where it needs them",
    )  # fmt: skip
    vulnerabilities: str = Field("https://api.osv.dev/", description="Service that speaks the OSV API")
    timeout_s: float = Field(20, gt=0, description="Longest wait for a part of an answer")
    scan_timeout_s: float = Field(180, gt=0, description="Longest scan; what was not asked by then is unknown")
    at_once: int = Field(8, ge=1, le=64, description="Questions that are asked side by side")
    cache_s: float = Field(3600, ge=0, description="How long an answer is kept, below cache/dependencies")
    may_run_scripts: tuple[str, ...] = Field(
        (), description="npm packages that may bring install scripts when a reviewer agrees, besides those of the brief"
    )
    skip: tuple[str, ...] = Field(
        ("**/fixtures/**", "**/testdata/**", "**/node_modules/**"),
        description="Globs of manifests that nobody installs from",
    )

    def scan(self, base: Tree, head: Tree, changed: Sequence[str]) -> tuple[Finding, ...]:
        """What is new against base, by the table of the rules. A scan that breaks gives one refusing finding."""
        try:
            return self._scan(base, head, changed)
        except Exception as err:  # whatever it is: a tree that breaks the scanner has not been scanned
            return (FAILED.finding(Hit(f"{self.name} gave no answer: {type(err).__name__}: {str(err)[:200]}")),)

    def version(self) -> str:
        """Lockgate's own: rules and lists of names come with it."""
        try:
            return version("lockgate")
        except PackageNotFoundError:
            return "0"

    def doctor(self) -> str | None:
        """None if all three services answer, else which does not and what follows."""
        silent = []
        with self._outside() as outside:
            for ask_one in (
                lambda: outside.pypi.page("pip"),
                lambda: outside.npm.page("semver"),
                lambda: outside.advisories.of([AdvisoryQuery(Ecosystem.PYPI, "pip", "1.0")]),
            ):
                try:
                    ask_one()
                except Unknown as err:
                    silent.append(str(err))
        if not silent:
            return None
        return (
            f"{'; '.join(silent)}: changes of dependencies go to a person; set the addresses of the {self.name} block"
        )

    def _scan(self, base: Tree, head: Tree, changed: Sequence[str]) -> tuple[Finding, ...]:
        private = [one.url for one in indexes(self.indexes)]
        ours = frozenset(address(one) for one in (*PUBLIC, *self._registries(), *private))
        after = read_tree(head, ours, self.skip)
        has_files = not after.files.isdisjoint(changed)
        before = read_tree(base, ours, self.skip) if has_files else TreeReading(base, ours)
        with self._outside() as outside:
            asked, unknown = ask(before, after, changed, outside) if has_files else ([], [])
            sights = _new(before, after, changed) if has_files else []
            sights += [*removed_locks(base, head), *unknown, *undeclared(before, after, changed, outside.brings)]
            outside.cache.prune()
        allowed = frozenset(self.may_run_scripts)
        return apply(DEPENDENCY_RULES, DependencyChange(tuple(asked), tuple(sights), datetime.now(UTC), allowed))

    def _registries(self) -> tuple[str, str]:
        return self.index_url.get_secret_value(), self.npm_registry.get_secret_value()

    @contextmanager
    def _outside(self) -> Iterator[OutsideServices]:
        deadline, cache = time.monotonic() + self.scan_timeout_s, Cache(self.cache_s)
        webs = [
            Web(one, timeout_s=self.timeout_s, deadline=deadline) for one in (*self._registries(), self.vulnerabilities)
        ]
        webs += [
            Web(one.url, timeout_s=self.timeout_s, deadline=deadline, login=one.login) for one in indexes(self.indexes)
        ]
        try:
            pypi = Pypi(webs[0], cache, [Pypi(web, cache, may_be_html=True) for web in webs[3:]])
            yield OutsideServices(pypi, Npm(webs[1], cache), Advisories(webs[2], cache), cache, self.at_once)
        finally:
            for web in webs:
                web.close()


def _new(base: TreeReading, head: TreeReading, changed: Sequence[str]) -> list[DependencySight]:
    known, altered = {(one.kind, one.key) for one in base.sights}, set(changed)
    return [
        one for one in head.sights
        if (one.kind, one.key) not in known and (one.path in altered or one.kind == "dependencies/lock-disagrees")
    ]  # fmt: skip
