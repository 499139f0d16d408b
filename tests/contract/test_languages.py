"""docs/languages.md word for word: each example is set up and tested as a run does it."""

import contextlib
import re
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from pydantic import SecretStr

from blocks.ledger.ledger import Ledger
from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.toolchains.wheels import WheelToolchains
from blocks.workshop import Workshop
from domain.egress import EgressRule
from domain.errors import InputError
from domain.models import ModelPolicy
from domain.project import ProjectSettings
from domain.registries import NPM
from domain.task import CaseOutcome, Prepared, Suite
from domain.trees import Tree
from kits.product.gateway import Running
from tasks.room.room import room
from tasks.running.suite import rooms, run_suite
from tests.contract.test_contract_of_tests import brief
from tests.unit.policy_cases import tree

DOCS = Path(__file__).parents[2] / "docs" / "languages.md"
PASSED = CaseOutcome.PASSED


def example(section: str) -> dict[str, str]:
    """The files of one section: each is named by the line before its block."""
    text = DOCS.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^`([^`]+)`[^\n]*:\n\n```\w*\n(.*?)^```$", text, re.M | re.S))


class Runs:
    """Runs the example of a section with its own settings, with a workshop that reaches the npm registry."""

    def __init__(self, folder: Path, way_out: Running | None) -> None:
        rules = (EgressRule(hosts=NPM.hosts, private=True),)  # a registry of one's own may stand for the public one
        self.sandbox = Bubblewrap(root=folder / "sandboxes")
        block = way_out.block if way_out else SimpleNamespace(admit=lambda passport: contextlib.nullcontext(None))
        self.shop = cast(
            Workshop,
            SimpleNamespace(
                sandbox=self.sandbox, gateway=block, registries=rules, models=ModelPolicy(),
                toolchains=WheelToolchains(root=folder / "toolchains"), store=SimpleNamespace(put=lambda data: "kept"),
                ledger=SimpleNamespace(token_of=lambda run: None),
            ),
        )  # fmt: skip

    def prepared(self, files: dict[str, str], **more: object) -> tuple[Prepared, Tree]:
        settings = ProjectSettings.model_validate({**tomllib.loads(files["lockgate.toml"]), **more})
        made = Prepared(
            run_id="languages", brief=brief(), base="0" * 40, settings=settings, settings_source="lockgate.toml",
            contract="none", requirements=settings.requirements,
        )  # fmt: skip
        return made, tree(files)

    def suite(self, files: dict[str, str], **more: object) -> Suite:
        made, laid = self.prepared(files, **more)
        return run_suite(self.shop, laid, made.brief, made.settings, rooms(self.shop, made, laid))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in (tmp_path.parent, tmp_path):
        path.chmod(0o755)
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def way_out(folder: Path) -> Iterator[Running]:
    running = Running(folder / "gateway", Ledger(url=SecretStr(f"sqlite:///{folder / 'ledger.db'}")), None)
    running.addresses = {host: [socket.gethostbyname(host)] for host in NPM.hosts[:1]}
    running.start()
    yield running
    running.stop()


@pytest.mark.parametrize(
    ("section", "tests"),
    [
        ("Go", ["sums_test.go::TestDouble"]),
        ("Rust", ["src/lib.rs::tests::doubles", "tests/whole.rs::doubles_nothing"]),
        ("Services", ["cache", "database"]),
    ],
)
def test_the_example_runs_as_it_is_written(folder: Path, section: str, tests: list[str]) -> None:
    suite = Runs(folder, None).suite(example(section))
    assert suite.problem is None
    assert {test: suite.cases.get(test) for test in suite.cases} == dict.fromkeys(tests, PASSED), suite.messages
    assert all(test in DOCS.read_text() for test in tests)


def test_the_node_example_is_set_up_through_the_gateway_and_its_lock_is_respected(
    folder: Path, way_out: Running
) -> None:
    runs, files = Runs(folder, way_out), example("Node")
    unsigned = {"environment": {"COREPACK_INTEGRITY_KEYS": "0"}}  # what stands for the public one signs nothing
    made, laid = runs.prepared(files, setup="pnpm install --ignore-scripts --no-frozen-lockfile", **unsigned)
    with room(runs.shop, made, "test", laid) as opened:
        lock = opened.workspace.run(["cat", "pnpm-lock.yaml"], timeout_s=60).output
        assert set(opened.workspace.collect()) == set(files), "what setup made is no part of a change"
    suite = runs.suite({**files, "pnpm-lock.yaml": lock}, **unsigned)
    assert (suite.problem, suite.runner) == (None, "mocha")
    assert suite.cases == {"test/odd.js::is-odd::knows three": PASSED}, suite.messages
    outdated = {**files, "pnpm-lock.yaml": lock, "package.json": files["package.json"].replace("3.0.1", "3.0.0")}
    with pytest.raises(InputError, match=r"(?s)setup failed \(pnpm install --frozen-lockfile .*not up to date"):
        runs.suite(outdated, **unsigned)
