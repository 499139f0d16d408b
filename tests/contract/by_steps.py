"""The steps of the pipeline with their real parts, on this machine: no deployment, no agent, a change made by hand."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from prefect import flow

from blocks.workshop import Workshop, workshop
from domain.brief import Brief
from domain.policy import judge
from domain.task import Attempt, Evidence, Prepared, Scanned, Verdict
from domain.task import Tested as OfTests
from domain.trees import Tree, TreeEntry
from kits.briefs import brief as of_sums
from tasks.edit import commit_attempt
from tasks.prepare import prepare
from tasks.security_scan import security_scan
from tasks.test import test as run_tests
from tests.made_once import toolchains
from tests.prefect_server import prefect_server

T = TypeVar("T")
WORKSHOP = "by-steps"


@contextmanager
def a_workshop(home: Path) -> Iterator[Workshop]:
    """A workshop with a home, a ledger and a Prefect server of its own."""
    home.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            patch.delenv(name)
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.setenv("PREFECT_LOCAL_STORAGE_PATH", str(home / "results"))
        patch.setenv("LOCKGATE_HOME", str(home))
        with prefect_server():
            Workshop(sandboxes="bubblewrap", registries=(), toolchains=toolchains()).keep(WORKSHOP)
            workshop.cache_clear()
            patch.setattr("tasks.prepare.unusable_agents", lambda *_: ())  # there is no agent here
            yield workshop(WORKSHOP)
            workshop.cache_clear()


def in_a_run(work: Callable[[], T]) -> T:
    @flow(name="in-a-run")
    def it() -> T:
        return work()

    return it()


def brief(at: Path, **fields: Any) -> Brief:
    """Add `double` to sums.py, with any field replaced."""
    return Brief.model_validate(of_sums(at, "command/none", workshop=WORKSHOP, **fields))


def prepared_by(run: str, told: Brief) -> Prepared:
    return in_a_run(lambda: prepare(run, told, 1))


class Gated(NamedTuple):
    """What the gates say of a change."""

    attempt: Attempt
    tested: OfTests
    scanned: Scanned
    verdict: Verdict


def commit_of(shop: Workshop, ready: Prepared, change: Callable[[Tree], Tree]) -> Attempt:
    """The change as the platform commits it. Raises AgentError if it may not be committed."""
    return commit_attempt(shop, ready, 1, change(dict(shop.forge.tree(ready.brief.repository, ready.base))))


def gated(shop: Workshop, ready: Prepared, change: Callable[[Tree], Tree]) -> Gated:
    """Tests, scan and verdict of a change."""
    attempt = commit_of(shop, ready, change)
    scanned = in_a_run(lambda: security_scan(ready, attempt))
    tested = in_a_run(lambda: run_tests(ready, attempt))
    evidence = Evidence(attempt=attempt, tested=tested, scanned=scanned)
    return Gated(attempt, tested, scanned, judge(ready, evidence))


def entry(content: str | bytes, mode: int = 0o100644) -> TreeEntry:
    return TreeEntry(mode, content.encode() if isinstance(content, str) else content)
