"""What a migration is called and what follows from its rehearsal, from values alone."""

import pytest

from domain.migration import (
    MIGRATION_RULES,
    CopyMade,
    Downgrade,
    MigrationBudget,
    MigrationClass,
    MigrationRun,
    Patience,
    Rehearsal,
    TableImpact,
)
from domain.schema import (
    Column,
    Constraint,
    Schema,
    SchemaChange,
    SchemaChangeKind,
    SchemaIndex,
    Table,
    changes,
    widens,
)
from domain.task import Decision
from tests.unit.policy_cases import judged

ID = Column(name="id", type="integer", nullable=False, key=True)
NAME = Column(name="name", type="text")


def table(*columns: Column, name: str = "t", **more: object) -> Table:
    return Table(name=name, columns=columns or (ID, NAME), **more)  # type: ignore[arg-type]


def schema(*tables: Table, **others: str) -> Schema:
    return Schema(engine="postgresql", tables=tables, others={k.replace("_", " ", 1): v for k, v in others.items()})


def column(name: str = "x", type_: str = "integer", nullable: bool = True, default: str | None = None) -> Column:
    return Column(name=name, type=type_, nullable=nullable, default=default)


def constraint(definition: str, *columns: str, unique: bool = False) -> Constraint:
    return Constraint(name="k", definition=definition, columns=columns, unique=unique)


EXPAND, CONTRACT = SchemaChangeKind.EXPAND, SchemaChangeKind.CONTRACT
PLAIN = schema(table())


@pytest.mark.parametrize(
    ("before", "after", "kind", "sentence"),
    [
        (PLAIN, schema(table(), table(name="u")), EXPAND, "table u is new"),
        (PLAIN, schema(), CONTRACT, "table t is dropped"),
        (PLAIN, schema(table(name="u")), CONTRACT, "table t is renamed to u"),
        (PLAIN, schema(table(ID, NAME, column())), EXPAND, "column t.x is new"),
        (PLAIN, schema(table(ID, NAME, column(nullable=False, default="0"))), EXPAND, "column t.x is new"),
        (PLAIN, schema(table(ID, NAME, column(nullable=False))), CONTRACT,
         "column t.x is new and NOT NULL without a default: an INSERT of the running release fails"),
        (PLAIN, schema(table(ID)), CONTRACT, "column t.name is dropped"),
        (PLAIN, schema(table(ID, column("title", "text"))), CONTRACT, "column t.name is renamed to title"),
        (PLAIN, schema(table(ID, column("name", "text", nullable=False))), CONTRACT, "column t.name is NOT NULL now"),
        (schema(table(ID, column("name", "text", nullable=False))), PLAIN, EXPAND, "column t.name may be NULL now"),
        (PLAIN, schema(table(ID, column("name", "integer"))), CONTRACT,
         "the type of column t.name is narrower or another one: text → integer"),
        (schema(table(column())), schema(table(column(type_="bigint"))), EXPAND,
         "the type of column t.x is wider: integer → bigint"),
        (schema(table(column(default="1"))), schema(table(column())), CONTRACT, "the default of column t.x is gone"),
        (schema(table(column())), schema(table(column(default="1"))), EXPAND,
         "the default of column t.x is another one"),
        (PLAIN, schema(table(constraints=(constraint("CHECK (name <> '')", "name"),))), CONTRACT,
         "constraint k of t is new: CHECK (name <> '')"),
        (PLAIN, schema(table(constraints=(constraint("CHECK (true)"),))), CONTRACT,
         "constraint k of t is new: CHECK (true)"),
        (schema(table(constraints=(constraint("UNIQUE (name)", "name", unique=True),))), PLAIN, CONTRACT,
         "constraint k of t is dropped"),
        (schema(table(constraints=(constraint("FOREIGN KEY", "name"),))), PLAIN, EXPAND,
         "constraint k of t is dropped"),
        (PLAIN, schema(table(indexes=(SchemaIndex(name="i", definition="i"),))), EXPAND, "index i of t is new"),
        (schema(table(indexes=(SchemaIndex(name="i", definition="i"),))), PLAIN, EXPAND, "index i of t is dropped"),
        (PLAIN, schema(table(), view_v="SELECT 1"), EXPAND, "view v is new"),
        (PLAIN, schema(table(), trigger_g="BEFORE"), CONTRACT, "trigger g is new"),
        (PLAIN, schema(table(), policy_p="USING"), CONTRACT, "policy p is new"),
        (schema(table(), view_v="1"), schema(table(), view_v="2"), CONTRACT, "view v is another one"),
        (schema(table(), function_f="1"), PLAIN, CONTRACT, "function f is dropped"),
        (schema(table(), enum_e="'a'"), schema(table(), enum_e="'a', 'b'"), EXPAND, "enum e is longer"),
        (schema(table(), enum_e="'a', 'b'"), schema(table(), enum_e="'a'"), CONTRACT, "enum e is another one"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_change_of_the_schema(before: Schema, after: Schema, kind: SchemaChangeKind, sentence: str) -> None:
    (change,) = changes(before, after)
    assert (change.kind, change.sentence) == (kind, sentence)
    assert change.breaks == ("INSERT" in sentence)
    assert before.fingerprint != after.fingerprint


def test_a_constraint_about_a_new_nullable_column_alone_is_an_expansion() -> None:
    new = table(ID, NAME, column(), constraints=(constraint("FOREIGN KEY (x) REFERENCES u (id)", "x"),))
    assert [change.kind for change in changes(PLAIN, schema(new))] == [EXPAND, EXPAND]
    mixed = table(ID, NAME, column(), constraints=(constraint("UNIQUE (name, x)", "name", "x", unique=True),))
    assert [change.kind for change in changes(PLAIN, schema(mixed))] == [EXPAND, CONTRACT]


def test_the_same_schema_has_no_changes_and_one_fingerprint() -> None:
    assert changes(PLAIN, schema(table())) == () and PLAIN.fingerprint == schema(table()).fingerprint


@pytest.mark.parametrize(
    ("old", "new", "is_wider"),
    [
        ("integer", "bigint", True), ("bigint", "integer", False), ("smallint", "bigint", True),
        ("INTEGER", "BIGINT", True), ("int4", "int8", True), ("integer", "text", False),
        ("character varying(10)", "character varying(20)", True), ("VARCHAR(20)", "VARCHAR(10)", False),
        ("character varying(10)", "text", True), ("varchar", "varchar(10)", False), ("varchar(10)", "varchar", True),
        ("numeric(10,2)", "numeric(12,2)", True), ("numeric(10,2)", "numeric(10,4)", False),
        ("numeric(10,2)", "numeric(12,4)", True), ("numeric(10,2)", "numeric", True),
        ("numeric", "numeric(9,2)", False),
        ("real", "double precision", True), ("text", "character varying(10)", False),
        ("date", "timestamp without time zone", False), ("my.type[]", "other[]", False), ("", "text", False),
    ],
)  # fmt: skip
def test_a_type_is_wider_where_every_value_stays_itself(old: str, new: str, is_wider: bool) -> None:
    assert widens(old, new) is is_wider


# ── verdicts ──

WELL = MigrationRun(tries=1, seconds=1, longest_try_s=1)
PROVEN = Downgrade()
ADDED = SchemaChange(kind=EXPAND, sentence="column t.x is new")
DROPPED = SchemaChange(kind=CONTRACT, sentence="column t.name is dropped")
GOOD = Rehearsal(
    engine="postgresql",
    copy_made=CopyMade(method="a template database", seconds=1, size_bytes=10),
    source="a",
    before="a",
    after="b",
    changes=(ADDED,),
    under_load=WELL,
    behind_transaction=WELL,
    bytes_before=100,
    bytes_after=120,
    downgrade=PROVEN,
)


def but(**fields: object) -> Rehearsal:
    return GOOD.model_copy(update=fields)


def run(**fields: object) -> MigrationRun:
    return WELL.model_copy(update=fields)


def felt(read_s: float, write_s: float) -> MigrationRun:
    return run(impacts=(TableImpact(table="t", blocked_read_s=read_s, blocked_write_s=write_s, locks=("ShareLock",)),))


REFUSED, PERSON = Decision.REFUSED, Decision.NEEDS_PERSON
CASES = [
    (but(under_load=run(problem="exit code 1"), behind_transaction=None, after=None), REFUSED, "migration-fails"),
    (but(behind_transaction=run(problem="exit code 1")), REFUSED, "migration-fails"),
    (but(behind_transaction=run(problem="no lock", locked_out=True)), PERSON, "migration-lock-queue"),
    (but(behind_transaction=None), REFUSED, "migration-unmeasured"),
    (but(behind_transaction=None, same_rows=True), REFUSED, "migration-unmeasured"),
    (but(after="a", changes=(), behind_transaction=None), REFUSED, "migration-unmeasured"),
    (
        but(after="a", changes=(), behind_transaction=None, same_rows=True, under_load=run(unmeasured=("no load",))),
        REFUSED,
        "migration-unmeasured",
    ),
    (
        but(after="a", changes=(), behind_transaction=None, same_rows=True, under_load=felt(0, 2.5)),
        REFUSED,
        "migration-over-budget",
    ),
    (but(bytes_after=None), REFUSED, "migration-unmeasured"),
    (but(under_load=run(unmeasured=("no load on t",))), REFUSED, "migration-unmeasured"),
    (but(behind_transaction=run(unmeasured=("no load on t",))), REFUSED, "migration-unmeasured"),
    (but(under_load=felt(1.5, 0)), REFUSED, "migration-over-budget"),
    (but(under_load=felt(0, 2.5)), REFUSED, "migration-over-budget"),
    (but(behind_transaction=felt(1.5, 0)), REFUSED, "migration-over-budget"),
    (but(under_load=run(longest_try_s=601)), REFUSED, "migration-over-budget"),
    (but(bytes_after=100 + 20_000_000_001), REFUSED, "migration-over-budget"),
    (but(broken=("no such column",)), REFUSED, "migration-breaks-running"),
    (
        but(changes=(SchemaChange(kind=CONTRACT, sentence="NOT NULL", breaks=True),)),
        REFUSED,
        "migration-breaks-running",
    ),
    (but(invalid_indexes=("public.i",)), REFUSED, "migration-invalid-index"),
    (but(lost=("table t had 3 rows and is gone",)), PERSON, "migration-lossy"),
    (but(downgrade=None), PERSON, "migration-forward-only"),
    (but(downgrade=Downgrade(problem="exit code 1")), PERSON, "migration-forward-only"),
    (but(downgrade=Downgrade(differences=("table t has 1 rows, it had 2",))), PERSON, "migration-forward-only"),
    (but(downgrade=Downgrade(again="it left another schema")), PERSON, "migration-forward-only"),
    (but(changes=(DROPPED,)), PERSON, "migration-unproven"),
]


@pytest.mark.parametrize(("seen", "decision", "rule"), CASES)
def test_each_rule_decides(seen: Rehearsal, decision: Decision, rule: str) -> None:
    verdict = judged(seen, MigrationBudget())
    assert verdict.decision is decision and verdict.rules == (rule,) and all(verdict.reasons)


def test_every_rule_has_a_case() -> None:
    assert {rule for _, _, rule in CASES} == {rule.name for rule in MIGRATION_RULES}


@pytest.mark.parametrize(
    "seen",
    [GOOD, but(under_load=felt(1, 2), behind_transaction=felt(1, 2)), but(changes=(DROPPED,), queries=3),
     but(after="a", changes=(), downgrade=None),
     but(after="a", changes=(), downgrade=None, behind_transaction=None, same_rows=True)],
    ids=["expand", "at the budget", "contract, tried", "a version alone changed", "nothing changed"],
)  # fmt: skip
def test_what_passes(seen: Rehearsal) -> None:
    verdict = judged(seen, MigrationBudget())
    assert verdict.decision is Decision.ACCEPTED and verdict.reasons == ()


def test_a_refusal_says_what_a_person_would_have_been_asked_too() -> None:
    verdict = judged(but(downgrade=None, broken=("no such column",)), MigrationBudget())
    assert verdict.decision is REFUSED
    assert verdict.rules == ("migration-breaks-running",)
    assert any("no command for a downgrade" in reason for reason in verdict.reasons)


def test_the_classes() -> None:
    assert GOOD.migration_class is MigrationClass.EXPAND
    assert but(changes=(ADDED, DROPPED)).migration_class is MigrationClass.CONTRACT
    assert but(changes=(DROPPED,), downgrade=None).migration_class is MigrationClass.FORWARD_ONLY


def test_pauses_grow_and_do_not_grow_for_ever() -> None:
    patience = Patience(first_pause_s=1, longest_pause_s=3)
    assert [patience.pause_s(tried) for tried in (1, 2, 3, 4, 50)] == [1, 1.5, 2.25, 3, 3]
