"""What a rehearsal means for judge, agent and rollback."""

import pytest

from domain.migration import MIGRATION_RULES, MigrationBudget, MigrationClass, Rehearsal, TableImpact
from domain.policy import judge
from domain.rehearsed import GATE, Migrated, RanOn, findings_of, proven_on, reasons_of
from domain.schema import SchemaChange, SchemaChangeKind
from domain.task import Decision, Rehearsed, Severity
from tests.unit.policy_cases import evidence, prepared
from tests.unit.test_migration_rules import CASES, GOOD, WELL, but, run

CANARY = "ada@example.org"
"""What a migration that is an enemy read from the users' rows."""
TALKS = but(
    under_load=run(problem=f"exit code 1; it said: {CANARY}", unmeasured=(f"no load on {CANARY}",), impacts=(
        TableImpact(table=CANARY, blocked_read_s=99, blocked_write_s=99, locks=(CANARY,)),)),
    broken=(CANARY,), lost=(CANARY,), invalid_indexes=(CANARY,), downgrade=None, timeline=(CANARY,),
    changes=(SchemaChange(kind=SchemaChangeKind.CONTRACT, sentence=CANARY, breaks=True),
             SchemaChange(kind=SchemaChangeKind.CONTRACT, sentence=CANARY)),
)  # fmt: skip


@pytest.mark.parametrize(("seen", "decision", "rule"), CASES)
def test_each_rule_gives_the_judge_a_finding(seen: Rehearsal, decision: Decision, rule: str) -> None:
    (finding,) = findings_of(seen, MigrationBudget())
    severity = Severity.REFUSE if decision is Decision.REFUSED else Severity.PERSON
    assert (finding.gate, finding.rule, finding.severity) == (GATE, rule, severity)


def rehearsed(*findings: object, commit: str = "c" * 40) -> Rehearsed:
    return Rehearsed(commit=commit, environment="shop", migration_class="expand", findings=findings, report="d")  # type: ignore[arg-type]


def test_a_rehearsal_without_findings_passes_and_one_of_another_commit_does_not() -> None:
    assert judge(prepared(), evidence().model_copy(update={"rehearsed": rehearsed()})).decision is Decision.ACCEPTED
    another = judge(prepared(), evidence().model_copy(update={"rehearsed": rehearsed(commit="e" * 40)}))
    assert another.rules == ("evidence-mismatch",)


@pytest.mark.parametrize(
    "seen",
    [TALKS, TALKS.model_copy(update={"under_load": WELL, "behind_transaction": TALKS.under_load}),
     TALKS.model_copy(update={"under_load": run(problem=None, impacts=TALKS.under_load.impacts)})],
    ids=["fails", "fails behind a long transaction", "does everything else"],
)  # fmt: skip
def test_an_agent_is_told_nothing_that_the_migration_chose(seen: Rehearsal) -> None:
    findings = findings_of(seen, MigrationBudget())
    assert len(findings) >= 3
    assert CANARY not in " ".join(finding.model_dump_json() for finding in findings)
    assert CANARY in " ".join(reason for _, reason in reasons_of(seen, MigrationBudget())), "people are told"


def test_every_rule_can_talk_and_does_not() -> None:
    said = {finding.rule for seen, _, _ in CASES for finding in findings_of(seen, MigrationBudget())}
    assert said == {rule.name for rule in MIGRATION_RULES}


def migrated(revision: str, running: str | None, after: str, environment: str = "shop") -> Migrated:
    return Migrated(
        environment=environment, revision=revision, running=running, before="s0", after=after, rehearsal="d",
        migration_class=MigrationClass.EXPAND, is_downgrade_proven=True, run=GOOD.under_load,
    )  # fmt: skip


def test_a_release_runs_on_its_own_schema_on_the_one_it_was_tried_on_and_on_no_other() -> None:
    done = [migrated("one", None, "s1"), migrated("two", "one", "s2"), migrated("three", "two", "s3")]
    assert proven_on(done, [], "shop", "one") == {"s1", "s2"}
    assert proven_on(done, [], "shop", "three") == {"s3"}
    assert proven_on(done, [], "another", "one") == frozenset()
    tried = [RanOn(environment="shop", revision="one", schema_fingerprint="s3")]
    assert proven_on(done, tried, "shop", "one") == {"s1", "s2", "s3"}
    assert proven_on(done, tried, "another", "one") == frozenset()
