"""What a database's catalog says, and what one schema changed of another. Pure: catalogs in, changes out."""

import re
from collections.abc import Iterator
from enum import StrEnum

from pydantic import Field

from domain.value import Value


class Column(Value):
    """One column, as the catalog writes it. Its place in the row is left out: a downgrade may bring it back last."""

    name: str
    type: str = Field(description="As the database prints it: character varying(20), VARCHAR(20)")
    nullable: bool = True
    default: str | None = Field(None, description="The expression; also for identity and generated columns")
    key: bool = Field(False, description="Part of the primary key")

    @property
    def may_be_left_out(self) -> bool:
        """Whether an INSERT that does not know the column succeeds."""
        return self.nullable or self.default is not None


class Constraint(Value):
    """A constraint, or a unique index. `columns`: what it is about; empty if the catalog does not say."""

    name: str
    definition: str
    columns: tuple[str, ...] = ()
    unique: bool = Field(False, description="A primary key or unique: what ON CONFLICT may name")


class SchemaIndex(Value):
    """An index that stands for no constraint and is not unique."""

    name: str
    definition: str
    valid: bool = Field(True, description="False: a concurrent build that failed; it costs writes and serves no read")


class Table(Value):
    """A table; each tuple is sorted by name."""

    name: str = Field(description="With its schema where the database has schemas: public.orders")
    columns: tuple[Column, ...]
    constraints: tuple[Constraint, ...] = ()
    indexes: tuple[SchemaIndex, ...] = ()

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)


class Schema(Value):
    """Everything of a database but its rows, owners and grants."""

    engine: str = Field(description="postgresql or sqlite")
    tables: tuple[Table, ...]
    others: dict[str, str] = Field({}, description="Kind and name → definition: 'view public.recent' → 'SELECT …'")

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal; the same for two databases with the same schema."""
        return self.digest

    def table(self, name: str) -> Table | None:
        return next((table for table in self.tables if table.name == name), None)


class SchemaChangeKind(StrEnum):
    """`expand`: what ran before still runs. `contract`: something it may depend on is gone, tighter or different."""

    EXPAND = "expand"
    CONTRACT = "contract"


class SchemaChange(Value):
    """One thing that is different. `breaks`: statements of the running release fail, whatever it is."""

    kind: SchemaChangeKind
    sentence: str
    breaks: bool = False


def changes(before: Schema, after: Schema) -> tuple[SchemaChange, ...]:
    """What a migration did to the schema, tables first, by name."""
    return (*_tables(before, after), *_others(before.others, after.others))


def _tables(before: Schema, after: Schema) -> Iterator[SchemaChange]:
    old, new = ({table.name: table for table in schema.tables} for schema in (before, after))
    gone, added = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    for name in gone:
        twin = next((other for other in added if new[other].columns == old[name].columns), None)
        if twin:
            added.remove(twin)
        yield _contract(f"table {name} is renamed to {twin}" if twin else f"table {name} is dropped")
    for name in added:
        yield _expand(f"table {name} is new")
    for name in sorted(old.keys() & new.keys()):
        yield from _columns(old[name], new[name])
        yield from _constraints(old[name], new[name])
        yield from _indexes(old[name], new[name])


def _columns(old: Table, new: Table) -> Iterator[SchemaChange]:
    before, after = ({column.name: column for column in table.columns} for table in (old, new))
    gone, added = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    for name in gone:
        where = f"column {old.name}.{name}"
        twin = next((other for other in added if _is_twin(before[name], after[other])), None)
        yield _contract(f"{where} is renamed to {twin}" if twin else f"{where} is dropped")
        if twin:
            added.remove(twin)
    for name in added:
        where = f"column {new.name}.{name}"
        if after[name].may_be_left_out:
            yield _expand(f"{where} is new")
        else:
            yield SchemaChange(
                kind=SchemaChangeKind.CONTRACT,
                sentence=f"{where} is new and NOT NULL without a default: an INSERT of the running release fails",
                breaks=True,
            )
    for name in sorted(before.keys() & after.keys()):
        yield from _column(f"column {new.name}.{name}", before[name], after[name])


def _is_twin(old: Column, new: Column) -> bool:
    return (old.type, old.nullable, old.default) == (new.type, new.nullable, new.default)


def _column(where: str, old: Column, new: Column) -> Iterator[SchemaChange]:
    if old.type != new.type:
        is_wider = widens(old.type, new.type)
        kind = SchemaChangeKind.EXPAND if is_wider else SchemaChangeKind.CONTRACT
        how = "wider" if is_wider else "narrower or another one"
        yield SchemaChange(kind=kind, sentence=f"the type of {where} is {how}: {old.type} → {new.type}")
    if old.nullable and not new.nullable:
        yield _contract(f"{where} is NOT NULL now")
    if new.nullable and not old.nullable:
        yield _expand(f"{where} may be NULL now")
    if old.default != new.default:
        change = _contract if new.default is None else _expand
        yield change(f"the default of {where} is {'gone' if new.default is None else 'another one'}")


def _constraints(old: Table, new: Table) -> Iterator[SchemaChange]:
    before, after = ({each.name: each for each in table.constraints} for table in (old, new))
    for name in sorted(before.keys() | after.keys()):
        was, is_now = before.get(name), after.get(name)
        where = f"constraint {name} of {new.name}"
        if was is None and is_now is not None:
            fresh = [new.column(column) for column in is_now.columns if old.column(column) is None]
            is_free = len(fresh) == len(is_now.columns) > 0 and all(c is not None and c.nullable for c in fresh)
            # a row that leaves out a new nullable column satisfies UNIQUE and FOREIGN KEY; a CHECK says so by itself
            yield (_expand if is_free else _contract)(f"{where} is new: {is_now.definition}")
        elif was is not None and is_now is None:
            yield (_contract if was.unique else _expand)(f"{where} is dropped")
        elif was is not None and is_now is not None and was.definition != is_now.definition:
            yield _contract(f"{where} is another one: {was.definition} → {is_now.definition}")


def _indexes(old: Table, new: Table) -> Iterator[SchemaChange]:
    before, after = ({each.name: each for each in table.indexes} for table in (old, new))
    for name in sorted(before.keys() | after.keys()):
        if (is_now := after.get(name)) == before.get(name):
            continue
        what = "dropped" if is_now is None else "another one" if name in before else "new"
        yield _expand(f"index {name} of {new.name} is {what}")


def _others(old: dict[str, str], new: dict[str, str]) -> Iterator[SchemaChange]:
    for name in sorted(old.keys() | new.keys()):
        was, is_now = old.get(name), new.get(name)
        kind = name.partition(" ")[0]
        if was is None:  # what acts on existing statements is not only an addition
            change = _contract if kind in ("trigger", "policy", "rule") else _expand
            yield change(f"{name} is new")
        elif is_now is None:
            yield _contract(f"{name} is dropped")
        elif was != is_now:
            is_longer = kind == "enum" and is_now.startswith(f"{was}, ")
            yield (_expand if is_longer else _contract)(f"{name} is {'longer' if is_longer else 'another one'}")


def _expand(sentence: str) -> SchemaChange:
    return SchemaChange(kind=SchemaChangeKind.EXPAND, sentence=sentence)


def _contract(sentence: str) -> SchemaChange:
    return SchemaChange(kind=SchemaChangeKind.CONTRACT, sentence=sentence)


_LADDERS = (("smallint", "integer", "bigint"), ("real", "double precision"))
_SPELLINGS = {
    "int": "integer", "int2": "smallint", "int4": "integer", "int8": "bigint", "varchar": "character varying",
    "char": "character", "decimal": "numeric", "float": "double precision", "float8": "double precision",
    "float4": "real",
}  # fmt: skip
_TYPE = re.compile(r"^([a-z_][a-z0-9_ ]*?)\s*(?:\((\d{1,9})(?:\s*,\s*(\d{1,9}))?\))?$")


def widens(old: str, new: str) -> bool:
    """Whether each value of the type `old` is one of `new`, unchanged. Unknown is no."""
    was, now = _TYPE.match(old.lower()), _TYPE.match(new.lower())
    if not was or not now:
        return False
    (a, size_a, scale_a), (b, size_b, scale_b) = was.groups(), now.groups()
    a, b = _SPELLINGS.get(a, a), _SPELLINGS.get(b, b)
    if a == "character varying" and b in (a, "text"):
        return size_b is None or (size_a is not None and int(size_b) >= int(size_a))
    if a == b == "numeric":
        if size_b is None:
            return True
        scales = int(scale_a or 0), int(scale_b or 0)
        return size_a is not None and scales[0] <= scales[1] and int(size_b) - scales[1] >= int(size_a) - scales[0]
    if a == b:
        return (size_a, scale_a) == (size_b, scale_b)
    return any(a in steps and b in steps and steps.index(a) < steps.index(b) for steps in _LADDERS)
