"""Each kind of entry has a record, which makes its key and says it in one line; and nobody writes either by hand."""

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain import records
from domain.access import Cancelled, Holding, NotCancelled
from domain.agent_choice import ChosenAgent
from domain.artifact import Artifact, ArtifactKind
from domain.brief import Acceptance
from domain.history import Submitted
from domain.issues import AskedFor
from domain.proposal import AgreedAcceptance, Proposal, ProvenProposal
from domain.pull_request import Person, Proposed
from domain.records import RECORDS, At, Record, sentence_of
from domain.rehearsed import Migrated, RanOn
from domain.rollout import Numbers, SharePassed, Sick
from domain.task import (
    Answer,
    Approval,
    Attempt,
    Decision,
    End,
    Feedback,
    Finding,
    Health,
    Merged,
    Opinion,
    Outcome,
    Plan,
    Question,
    Raced,
    Rehearsed,
    Release,
    RolledBack,
    Scanned,
    Severity,
    Verdict,
)
from domain.value import Value
from flows.going_back import GoingBack, StaysThere
from tasks.people.elsewhere import WaitsForPush
from tasks.people.mending import Mend
from tasks.people.ready import Lacking, Ready
from tasks.people.window import Opened, Waits
from tasks.pull_request import Reverted, WaitsForForge
from tests.unit.policy_cases import PROJECT, attempt, evidence, prepared
from tests.unit.test_migration_rules import GOOD, but, run

PROJECT_ROOT = Path(__file__).parents[2]
FOLDERS = ("domain", "blocks", "tasks", "flows", "station")
NAMES = {name for name, value in vars(records).items() if isinstance(value, Record)}


def nodes() -> Iterator[tuple[str, ast.Call | ast.Compare | ast.Tuple]]:
    """Every call, comparison and tuple in the product, with where it stands."""
    for file in sorted(file for folder in FOLDERS for file in PROJECT_ROOT.glob(f"{folder}/**/*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call | ast.Compare | ast.Tuple):
                yield f"{file.relative_to(PROJECT_ROOT)}:{node.lineno}", node


NODES = list(nodes())
CALLS = [(where, node) for where, node in NODES if isinstance(node, ast.Call)]


def of_record(node: ast.Call) -> str | None:
    """The record of a call such as `MERGED.at(commit)`."""
    if not isinstance(node.func, ast.Attribute) or node.func.attr != "at":
        return None
    owner = node.func.value
    name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
    return name if name in NAMES else None


def test_no_kind_of_an_entry_is_written_by_hand() -> None:
    wrong = []
    for where, node in CALLS:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("record", "find", "entries", "last", "still_open"):
            given = [*node.args[:3], *(word.value for word in node.keywords if word.arg == "kind")]
            kinds = [one.value for one in given if isinstance(one, ast.Constant)]
            wrong += [f"{where}: {kind}" for kind in kinds if kind in RECORDS]
    assert not wrong, "say it by its record, as in `MERGED.at(commit)`"


def kinds_by_hand(node: ast.Compare | ast.Tuple) -> list[str]:
    """Kinds in a comparison with somebody's `kind`, and in a tuple of nothing else."""
    if isinstance(node, ast.Compare):
        found = [one.value for one in node.comparators if isinstance(one, ast.Constant)]
        return [str(kind) for kind in found if kind in RECORDS and ast.unparse(node.left).endswith(".kind")]
    found = [one.value if isinstance(one, ast.Constant) else None for one in node.elts]
    return [str(kind) for kind in found] if found and all(kind in RECORDS for kind in found) else []


def test_no_kind_is_compared_or_listed_by_hand() -> None:
    wrong = [
        f"{where}: {kinds}"
        for where, node in NODES
        if isinstance(node, ast.Compare | ast.Tuple) and (kinds := kinds_by_hand(node))
        if not where.startswith("station/door/table.py")  # parameters of a call, one of them called `answers`
    ]
    assert not wrong, "say it by its record, as in `MERGED.kind`"


def test_each_key_has_the_parts_that_its_record_names() -> None:
    wrong = [
        where
        for where, node in CALLS
        if (name := of_record(node)) and not any(isinstance(one, ast.Starred) for one in node.args)
        if len(node.args) != vars(records)[name].key.count("{")
    ]
    assert not wrong


def test_each_kind_is_recorded_somewhere() -> None:
    used = {name for _, node in CALLS if (name := of_record(node))}
    assert used == NAMES


def test_each_kind_holds_a_value_that_there_is() -> None:
    text = "\n".join(file.read_text() for folder in FOLDERS for file in PROJECT_ROOT.glob(f"{folder}/**/*.py"))
    known = set(re.findall(r"^class (\w+)\b", text, re.MULTILINE))
    assert {record.holds for record in RECORDS.values()} <= known


@pytest.mark.parametrize(
    ("at", "kind", "key"),
    [
        (records.OUTCOME.at(), "outcome", "outcome"),
        (records.MERGED.at("c0ffee"), "merged", "c0ffee"),
        (records.BILL.at("test", "c0ffee"), "bill", "test-c0ffee"),
        (records.SHARE_PASSED.at("c0ffee", 10), "share-passed", "c0ffee-10"),
        (records.REHEARSAL.at("shop", "c0ffee", "b0", "ab"), "rehearsal", "shop/c0ffee/b0/ab"),
        (records.NOTIFIED.at("m", "first", "mail", 2), "notified", "m|first|mail|2"),
    ],
)
def test_keys_are_those_of_the_chains_that_exist(at: At, kind: str, key: str) -> None:
    assert at == (kind, key)


def test_a_key_is_read_by_the_record_that_makes_it() -> None:
    assert records.BILL.parts("test-c0ffee") == {"step": "test", "of": "c0ffee"}
    assert records.LOOKED.parts("m#2/ann/shown") == {"asking": "m#2", "name": "ann", "what": "shown"}
    assert records.VERDICT.parts("c0ffee/rehearsed") == {"commit": "c0ffee/rehearsed"}
    assert records.BILL.parts("nonsense") == {}


def test_a_key_with_too_few_parts_is_an_error_of_ours() -> None:
    with pytest.raises(TypeError, match=r"the key of artifact is \{environment\}/\{revision\}, with 2 parts and not 1"):
        records.ARTIFACT.at("shop")


def test_bookkeeping_and_the_unknown_are_not_shown() -> None:
    bookkeeping = [record.kind for record in RECORDS.values() if record.says is None]
    assert len(bookkeeping) > 20
    assert {sentence_of(kind, {}) for kind in (*bookkeeping, "nonsense")} == {None}


RELEASE = Release(environment="shop", revision="c" * 40, artifact="d", url="http://shop", previous="b" * 40)
HEALTH = Health(revision="c" * 40, healthy=True, reason="status pass", observations=5)
BACK = RolledBack(environment="shop", failed="c" * 40, serving="b" * 40, revert="e" * 40, bundle="d")
BACK_TO_NOTHING = RolledBack(environment="shop", failed="c" * 40, serving=None, revert=None, bundle="d")
WAITS = Waits(environment="shop", until=datetime(2026, 11, 28, 6, tzinfo=UTC), reason="the sale")
SHARE = SharePassed(share=10, new=Numbers(requests=90, errors=1), old=None)
SICK = Sick(environment="shop", revision="c" * 40, artifact="d", reason="half of its answers are errors")
MIGRATED = Migrated(
    environment="shop", revision="c" * 40, before="a", after="d" * 64, migration_class=GOOD.migration_class,
    rehearsal="r", is_downgrade_proven=True, run=GOOD.under_load,
)  # fmt: skip
ARTIFACT = Artifact(kind=ArtifactKind.ARCHIVE, revision="c" * 40, id="d" * 64, sbom="e", statement="f")
HOLDING = Holding(environment="shop", reason="too many", by="ann")
PROVEN = ProvenProposal(
    number=1, mark="0123456789abcdef", proposal=Proposal(path="tests/test_a.py", content="", why=""), red=("x",)
)
APPROVAL = Approval(answer=Answer.APPROVE, reviewer="ann", fingerprint="f")
REJECTION = Approval(answer=Answer.REJECT, reviewer="bob", comment="not now", fingerprint="f")
VERDICT = Verdict(decision=Decision.REFUSED, reasons=("a is broken", "b is broken"))
FOUND = (Finding(gate="scan", rule="x", severity=Severity.REFUSE, message="m"),)
SCANNED = Scanned(commit="c" * 40, findings=FOUND, scanners=("x",))
REFUSED = prepared().model_copy(update={"refusals": ("no acceptance",)})
NO_CHANGE = attempt(PROJECT, commit=None, problem="it ran out of time")


def rehearsed(*findings: Finding) -> Rehearsed:
    return Rehearsed(
        commit="c" * 40, environment="shop", migration_class=GOOD.migration_class, findings=findings, report="r"
    )


LOSSY = Finding(gate="migration", rule="migration-lossy", severity=Severity.PERSON, message="data is gone")
BREAKS = Finding(
    gate="migration", rule="migration-breaks-running", severity=Severity.REFUSE, message="the running release breaks"
)

ASKED = AskedFor(repository="r", number=7, url="https://forge.test/acme/shop/issues/7", by=Person(login="ann", id=1))

LINES: list[tuple[str, Value, str]] = [
    ("submitted", Submitted(by="ann"), "ann (signed in) asks for it"),
    ("asked-for", ASKED, "asked for by ann at https://forge.test/acme/shop/issues/7"),
    (
        "chosen",
        ChosenAgent(agent="codex/one", reasons=("it is the cheapest that is good enough",)),
        "chosen: codex/one, it is the cheapest that is good enough",
    ),
    ("prepared", prepared(), "prepared on base bbbbbbbbbbbb (settings from lockgate.toml)"),
    ("prepared", REFUSED, "brief refused: no acceptance"),
    ("plan", Plan(steps=("a", "b")), "plan: 2 steps"),
    ("attempt", attempt(PROJECT), "attempt 1: +10 −0 in 0 files, commit cccccccccccc"),
    ("attempt", NO_CHANGE, "attempt 1: no usable change: it ran out of time"),
    (
        "attempt",
        attempt(PROJECT, commit=None, help="which table?"),
        "attempt 1: the agent asks for help: which table?",
    ),
    ("raced", Raced(turn=1, passed=2), "attempt 2 passed every gate first; the others of its turn may stop"),
    (
        "going-back-chosen",
        GoingBack(environment="shop", failed="c" * 40, serving="b" * 40, why="it keeps dying", act="a"),
        "cccccccccccc keeps dying: going back to bbbbbbbbbbbb",
    ),
    (
        "stays-there",
        StaysThere(environment="shop", revision="c" * 40, reason="the one before is not well"),
        "cccccccccccc keeps dying and stays: the one before is not well",
    ),
    ("opinion", Opinion(summary="s", concerns=("a",)), "another agent reviewed it: 1 concerns"),
    ("tested", evidence().tested, "tested: 4 of 4 pass on the change"),
    ("scanned", SCANNED, "scanned: 1 refusing findings, 0 for a person"),
    ("verdict", VERDICT, "verdict: refused\n    - a is broken\n    - b is broken"),
    (
        "question",
        Question(fingerprint="f", attempt=2, commit="c", text="t"),
        "waiting for a review of attempt 2",
    ),
    ("answers", Feedback(attempt=0, source="reviewer", points=("asked: x", "ann answered: y")), "ann answered: y"),
    ("proposal", PROVEN, "acceptance test 0123456789abcdef is proposed, and red on base: tests/test_a.py"),
    (
        "proposal",
        PROVEN.model_copy(update={"refusals": ("it passes",)}),
        "proposed acceptance test 1 is none: it passes",
    ),
    (
        "agreed",
        AgreedAcceptance(mark="0123456789abcdef", acceptance=Acceptance(), by="ann", forge="github.com"),
        "ann (a user of github.com) approved the acceptance test 0123456789abcdef",
    ),
    ("approval", APPROVAL, "ann (a claim) answered: approve"),
    ("approval", APPROVAL.model_copy(update={"signed_in": True}), "ann (signed in) answered: approve"),
    (
        "approval",
        APPROVAL.model_copy(update={"signed_in": True, "way": "password"}),
        "ann (signed in by password) answered: approve",
    ),
    ("approval", APPROVAL.model_copy(update={"way": "password"}), "ann (a claim) answered: approve"),
    (
        "approval",
        APPROVAL.model_copy(update={"reviewer": "ann (signed in)"}),
        "ann (signed in) (a claim) answered: approve",
    ),
    ("approval", APPROVAL.model_copy(update={"reviewer": "policy", "rule": "auto"}), "policy answered: approve"),
    ("approval", REJECTION, "bob (a claim) answered: reject: not now"),
    (
        "pull-request",
        Proposed(host="github.com", repository="r", number=7, url="https://x/7", branch="b", head="c" * 40),
        "pull request https://x/7 at cccccccccccc",
    ),
    ("merged", Merged(commit="c" * 40), "merged as cccccccccccc"),
    ("lacking", Lacking(environment="shop", reason="no target"), "approved, and cannot be merged yet: no target"),
    ("ready", Ready(by="ann"), "ann (a claim) says that this is mended"),
    (
        "waits-for-forge",
        WaitsForForge(reason="github.com answered 502"),
        "waits for its forge: github.com answered 502",
    ),
    (
        "waits-for-push",
        WaitsForPush(change="ann/double", source="c" * 40, reason="tests"),
        "waits for a push to ann/double, which is at cccccccccccc",
    ),
    (
        "mend",
        Mend(attempt=Attempt(number=2, base="a", commit="e" * 40, agent="command/fixer"), commit="d" * 40),
        "command/fixer mended attempt 2: dddddddddddd",
    ),
    (
        "mend",
        Mend(attempt=Attempt(number=2, base="a", commit=None, agent="command/fixer", problem="it changed nothing")),
        "command/fixer did not mend attempt 2: it changed nothing",
    ),
    ("waits-for-window", WAITS, "waits until 2026-11-28T06:00 UTC: the sale"),
    ("opened-window", Opened(by="ann", why=""), "ann (a claim) let it go at once"),
    ("opened-window", Opened(by="ann", why="it loses orders"), "ann (a claim) let it go at once: it loses orders"),
    ("share-passed", SHARE, "well with 10 % of the traffic: 1 of 90 requests failed"),
    ("share-passed", SHARE.model_copy(update={"new": None}), "well with 10 % of the traffic: 0 of 0 requests failed"),
    ("artifact", ARTIFACT, "archive dddddddddddd built and signed"),
    ("rehearsal", GOOD, "the migration ran on a copy in 1.0 s; it could be taken back there"),
    ("rehearsal", but(downgrade=None), "the migration ran on a copy in 1.0 s; it has no command for the way back"),
    (
        "rehearsal",
        but(downgrade=GOOD.downgrade.model_copy(update={"problem": "x"}) if GOOD.downgrade else None),
        "the migration ran on a copy in 1.0 s; it could not be taken back there",
    ),
    ("rehearsal", but(after="a"), "the migration changes nothing of the schema"),
    ("rehearsal", but(under_load=run(problem="x")), "the migration failed on a copy of the database"),
    ("rehearsed", rehearsed(), "rehearsal: nothing speaks against the migration"),
    ("rehearsed", rehearsed(LOSSY), "rehearsal: for a person: data is gone"),
    ("rehearsed", rehearsed(LOSSY, BREAKS), "rehearsal: refused: the running release breaks"),
    ("migrated", MIGRATED, "the database of shop is at schema dddddddddddd: expand, in 1 tries"),
    (
        "migrated",
        MIGRATED.model_copy(update={"before": "d" * 64}),
        "the database of shop is at schema dddddddddddd: as before",
    ),
    ("downgraded", MIGRATED, "the database of shop went back to schema dddddddddddd"),
    (
        "ran-on",
        RanOn(environment="shop", revision="c" * 40, schema_fingerprint="d"),
        "cccccccccccc was tried on the database's schema and is well",
    ),
    ("sick", SICK, "cccccccccccc has to leave: half of its answers are errors"),
    ("held", HOLDING, "ann (a claim) holds shop: too many"),
    ("held", HOLDING.model_copy(update={"signed_in": True}), "ann (signed in) holds shop: too many"),
    ("opened", HOLDING, "ann (a claim) opens shop again: too many"),
    (
        "revert",
        Proposed(host="h", repository="r", number=2, url="https://h/r/pull/2", branch="b", head="c" * 40),
        "pull request https://h/r/pull/2 takes the merge back",
    ),
    ("reverted", Reverted(commit="c" * 40), "the merge was reverted by cccccccccccc"),
    (
        "not-cancelled",
        NotCancelled(by="ann", reason="it merges"),
        "the request of ann to cancel it was refused: it merges",
    ),
    ("cancelled", Cancelled(by="ann"), "ann (a claim) asks to cancel it"),
    ("cancelled", Cancelled(by="ann", why="not now", signed_in=True), "ann (signed in) asks to cancel it: not now"),
    ("deploy-started", RELEASE, "deploying cccccccccccc to shop"),
    ("deployed", RELEASE, "release cccccccccccc has the traffic of shop"),
    (
        "deployed",
        RELEASE.model_copy(update={"problem": "it never answered"}),
        "release cccccccccccc never took the traffic: it never answered",
    ),
    ("health", HEALTH, "cccccccccccc is healthy: status pass"),
    ("health", HEALTH.model_copy(update={"healthy": False}), "cccccccccccc is sick: status pass"),
    ("live", RELEASE, "cccccccccccc was seen serving shop"),
    ("rolled_back", BACK, "rolled back: bbbbbbbbbbbb was seen serving again; merge reverted by eeeeeeeeeeee"),
    ("rolled_back", BACK_TO_NOTHING, "rolled back: nothing serves"),
    (
        "rolled_back",
        BACK_TO_NOTHING.model_copy(update={"by": "ann", "signed_in": True}),
        "ann (signed in) rolled back: nothing serves",
    ),
    (
        "downgraded",
        MIGRATED.model_copy(update={"by": "ann"}),
        "the database of shop went back to schema dddddddddddd by ann (a claim)",
    ),
    ("outcome", Outcome(run_id="r", title="t", end=End.LIVE, sentence="live in shop"), "outcome: live in shop"),
]


@pytest.mark.parametrize(("kind", "value", "line"), LINES)
def test_an_entry_is_told_from_its_stored_form(kind: str, value: Value, line: str) -> None:
    assert sentence_of(kind, value.model_dump(mode="json")) == line


def test_each_teller_is_in_this_table() -> None:
    assert {kind for kind, _, _ in LINES} == set({kind for kind, record in RECORDS.items() if record.says})
