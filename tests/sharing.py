"""A pytest plugin: how tests are shared among the workers of pytest-xdist, and what `make test` leaves to the rest.

Tests of one group run one after another in one worker, in the order of their file. A file is a group, for its tests
share what is made once, unless the tables say otherwise.
"""

import gc
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

GROUPS = {
    r"e2e/test_boundary": "station of agents",
    r"e2e/test_(agents|migrations|real_projects|releases|ways_in|door|desk|forges)": "station of inputs",
    r"e2e/(?!test_(pypi_inputs|wheel|backup|machines))": "station of crashes",
    r"\[swarm|test_target_swarm": "swarm",
    r"test_targets\.py.*\[([\w, ]+)": r"targets of \1",
}
"""Pattern in a test's id → its group: what shares a station, or a swarm."""

SPREAD = r"tests/contract/test_(escapes|agents_real|agents_more)\.py"
"""Files whose tests share nothing that is dear: any worker may take any of them."""

FIRST = (
    "station of inputs",
    "station of crashes",
    "station of agents",
    "tests/contract/test_issues.py",
    "tests/contract/test_tickets.py",
    "tests/contract/test_made_elsewhere.py",
    "tests/contract/test_proposals.py",
    "tests/contract/test_target.py",
    "tests/contract/test_sandbox.py",
    "swarm",
    "tests/contract/test_must_hold_release.py",
    "targets of ecs",
    "tests/contract/test_migration_steps.py",
    "targets of command",
    "tests/contract/test_target_ecs.py",
    "tests/contract/test_scanner.py",
    "tests/contract/test_trial.py",
    "tests/contract/test_databases.py",
    "tests/contract/test_target_docker_host.py",
    "tests/contract/test_must_hold.py",
    "tests/contract/test_models.py",
    "tests/contract/test_gate_bench.py",
    "tests/contract/test_contract_of_tests.py",
    "tests/contract/test_test_programs.py",
    "tests/contract/test_hosted_review.py",
    "tests/contract/test_hosted_forges.py",
    "tests/contract/test_github.py",
    "tests/contract/test_sandbox_docker.py",
    "targets of process",
    "tests/contract/test_scanners_more.py",
    "tests/contract/test_quick_commands.py",
    "tests/contract/test_store.py",
    "tests/contract/test_mutation.py",
    "tests/contract/test_engine.py",
    "tests/e2e/test_machines.py",
    "tests/e2e/test_backup.py",
    "tests/contract/test_fake_ecs.py",
    "tests/contract/test_forge.py",
    "tests/contract/test_languages.py",
    "tests/contract/test_baseline.py",
    "targets of docker_host",
    "tests/contract/test_own_requirements.py",
    "tests/contract/test_gateway_process.py",
    "tests/contract/test_redaction.py",
    "tests/contract/test_memory.py",
    "tests/contract/test_checks_of_projects.py",
    "tests/contract/test_registry.py",
    "tests/contract/test_target_command.py",
    "tests/contract/test_pytest_versions.py",
    "tests/contract/test_artifacts.py",
    "tests/e2e/test_wheel.py",
)
"""Groups that take longest, of both parts, by the durations that CI prints. A worker is given its next group while two
tests of the last one are left, so a long one at the end would keep it at work when all others are done."""

REST = {
    "need a Docker Engine": r"docker|registry\.py|\[(docker.*|ecs)\b|_ecs|artifacts.*(image|engine)|stop_targets",
    "need root, and Docker Engines of their own": r"swarm",
    "need Chromium": r"in_browser",
    "need PostgreSQL": r"\[.*postgres|_postgres|encrypted",
    "start Prefect's server for one route": r"test_server\.py.*runs_in_short",
    "run in a sandbox whose tree is shared, as large ones are": r"test_sandbox\.py.*\[shared",
    "keep things in an S3": r"test_store\.py.*\[s3",
    "review and merge at forges of two more kinds": r"test_hosted_\w+\.py.*\[(gitlab|forgejo)",
    "take tickets of one tracker more": r"test_tickets\.py.*\[linear",
    "go through whole loops with a proposed acceptance test, or its issue at two more kinds of forges": (
        r"test_proposals\.py.*(three|budget|cannot|killed|\[(gitlab|forgejo))"
    ),
    "put a change that was made elsewhere through whole loops of two more kinds": (
        r"test_made_elsewhere\.py.*(mends_a_branch|its_acceptance)"
    ),
    "drive agents with their real programs": r"agents_(real|more)",
    "release by commands of another platform": r"_command\.py|test_targets\.py.*\[command",
    "show that gates, releases and migrations hold whatever happens": r"test_(must_hold\w*|baseline|trial)\.py",
    "judge tests, checks and services of more projects": (
        r"test_(checks_of_projects|mutation|own_requirements|pytest_versions|services_as_they_are)\.py"
    ),
    "show what agents remember, and that secrets are kept from them": r"contract/test_(memory|redaction)\.py",
    "tell more of a real station": r"e2e/(?!test_demo|test_durability.*both_back|test_pypi_inputs)|gateway_process",
}
"""Why `make test` leaves tests to the rest → pattern in their ids."""

FILES_SHOWN = 40

LEFT_OUT: Counter[str] = Counter()
"""Why tests were left out → how many."""


def group_of(test: str) -> str:
    """A test's group, by its id."""
    for pattern, group in GROUPS.items():
        if match := re.search(pattern, test):
            return match.expand(group)
    return test if re.search(SPREAD, test) else test.partition("::")[0]


def rest_of(test: str, fixtures: Iterable[str] = ()) -> str | None:
    """Why a test is not in `make test`; None if it is."""
    if "postgres_url" in fixtures:
        return "need PostgreSQL"
    return next((why for why, pattern in REST.items() if re.search(pattern, test)), None)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "rest(why): not in `make test`, for it needs this, or shows more of the same")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False  # in the order of their collection
    return Groups(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected is no garbage: nobody looks for any in it, neither now nor in each test."""
    gc.disable()
    yield
    gc.enable()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if why := rest_of(item.nodeid, getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.rest(why))
    order = {group: number for number, group in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(group_of(item.nodeid), len(order)))


def pytest_deselected(items: list[pytest.Item]) -> None:
    LEFT_OUT.update(mark.args[0] for item in items if (mark := item.get_closest_marker("rest")))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if (told := getattr(session.config, "workeroutput", None)) is not None:
        told["left_out"] = dict(LEFT_OUT)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """All workers leave out the same."""
    if found := getattr(node, "workeroutput", {}).get("left_out"):
        LEFT_OUT.clear()
        LEFT_OUT.update(found)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if LEFT_OUT and config.option.markexpr == "not rest":
        terminalreporter.section("left out: `make test-rest` runs them, `make test-all` runs all")
        for why, count in LEFT_OUT.most_common():
            terminalreporter.line(f"{count:5} {why}")
    if os.environ.get("CI"):
        _show_files(terminalreporter)


def _show_files(terminalreporter: pytest.TerminalReporter) -> None:
    """Where the time went, for the table in CONTRIBUTING.md."""
    took, tests = Counter[str](), Counter[str]()
    for report in (one for some in terminalreporter.stats.values() for one in some):
        if isinstance(report, pytest.TestReport):
            file = report.nodeid.partition("::")[0]
            took[file] += report.duration
            tests[file] += report.when == "call"
    terminalreporter.section("seconds of a worker, by file")
    for file, seconds in took.most_common(FILES_SHOWN):
        terminalreporter.line(f"{seconds:7.0f} s {tests[file]:5} tests  {file}")
    terminalreporter.line(f"{sum(took.values()):7.0f} s {sum(tests.values()):5} tests  in all")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """In CI nothing may be missing, so a skip is a failure."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and in CI nothing is: {report.longrepr}"
    return report
