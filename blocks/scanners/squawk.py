"""squawk: migrations that lock a table, lose data, or break the release that still runs. Only text is read."""

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from blocks.scanners import migrations
from blocks.scanners.tool import Layout, ScannerFailed, Tool, ToolFinding, beside
from domain.policy import Rule
from domain.task import Severity
from domain.trees import Tree, TreeEntry

REFUSALS = frozenset(("ban-drop-database", "ban-alter-system"))
NOTES = frozenset(
    ("ban-char-field", "identifier-too-long", "prefer-bigint-over-int", "prefer-bigint-over-smallint",
     "prefer-identity", "prefer-repack", "prefer-robust-stmts", "prefer-text-field", "prefer-timestamptz",
     "require-enum-value-ordering", "require-lock-timeout", "require-statement-timeout", "require-table-schema",
     "require-timeout-settings")
)  # fmt: skip
"""What is a matter of style, or of how the migration is run."""
UNPARSED = "squawk/unparsed"

RULES: tuple[Rule[None], ...] = (
    Rule(
        "squawk/*", "scan", Severity.PERSON,
        "New statements in SQL files, and new calls in migrations of alembic and Django, that drop, rename, rewrite or "
        f"lock. {', '.join(sorted(REFUSALS))} refuse; {', '.join(sorted(NOTES))} are notes.",
        "While the migration runs, and until the new release has the traffic, the old one works on the same tables.",
        "do what the rule's page under squawkhq.com/docs says: add first, move the data, remove in a later release",
        lambda _: (),
    ),
    Rule(
        UNPARSED, "scan", Severity.PERSON,
        "A migration that is no SQL of PostgreSQL, no Python, or has SQL that is put together at run time.",
        "It was not scanned, and unknown is not a pass.",
        "write the statements down as they are; a reviewer agrees where they are for another database",
        lambda _: (),
    ),
)  # fmt: skip

_IGNORE = re.compile(rb"squawk-ignore", re.IGNORECASE)


class _Issue(BaseModel):
    file: str
    line: int = Field(ge=0, description="From 0")
    message: str
    help: str | None = None
    rule_name: str


_REPORT = TypeAdapter(list[_Issue])


class Squawk(Tool):
    """squawk, over changed SQL files and the SQL in Python migrations, with rules of the same names for their calls."""

    _block_type_name: ClassVar[str] = "Lockgate squawk"
    _block_type_slug: ClassVar[str] = "lockgate-squawk"
    _description: ClassVar[str] = "Dangerous migrations, new against base."

    name: str = Field("squawk", description="How findings call this scanner")
    program: str | None = Field(None, description="Path of squawk; empty: the one installed with Lockgate")

    def _argv(self) -> list[str]:
        return [self.program or beside("squawk")]

    def _wanted(self, tree: Tree, paths: Iterable[str]) -> Iterable[str]:
        for path in paths:
            if migrations.is_sql(path, tree[path]) or migrations.is_python(path, tree[path]):
                yield path

    def _look(self, trees: Mapping[str, Tree], paths: Callable[[Tree], Iterable[str]]) -> list[ToolFinding]:
        chosen = {side: frozenset(paths(tree)) for side, tree in trees.items()}
        seen = [one for side, tree in trees.items() for path in chosen[side] for one in _calls(side, path, tree)]
        texts = {side: {path: _as_sql(path, tree) for path in chosen[side]} for side, tree in trees.items()}
        with tempfile.TemporaryDirectory(prefix="lockgate-scan-") as name:
            folder = Path(name)
            layout = Layout(folder / "tree", texts, lambda tree: tree.keys(), _readable, lambda _: ".sql")
            layout.write("canary.sql", b"drop table canary;\n")
            (folder / "squawk.toml").write_text("")  # else it looks for one upwards from here
            files = ["tree/canary.sql", *(f"tree/{one}" for one in layout.names)]
            code, output = self._run(["--reporter", "json", "--config", "squawk.toml", *files], folder)
            if code not in (0, 1):
                raise ScannerFailed(f"it ended with exit code {code}")
            try:
                issues = _REPORT.validate_json(output)
            except ValidationError as err:
                raise ScannerFailed("it printed something else than its report") from err
            planted = [issue for issue in issues if issue.file == "tree/canary.sql"]
            if not any(issue.rule_name == "ban-drop-table" for issue in planted):
                raise ScannerFailed("it missed what was planted for it")
            seen += [_seen(issue, layout) for issue in issues if issue not in planted]
        twice = {one for one in seen if one.rule == UNPARSED}  # said once a file, however often it was met
        return [one for one in seen if one.rule != UNPARSED] + sorted(twice)


def _as_sql(path: str, tree: Tree) -> TreeEntry:
    """The file itself, or the SQL texts of a Python migration on the lines where they stand."""
    if not _is_python(path):
        return tree[path]
    module = migrations.parse(tree[path].content)
    return tree[path]._replace(content=migrations.sql(module).encode() if module else b"")


def _calls(side: str, path: str, tree: Tree) -> Iterator[ToolFinding]:
    if not _is_python(path):
        return
    module = migrations.parse(tree[path].content)
    if module is None:
        yield _unread(side, path, "this migration is no Python that can be read here")
        return
    lines = tree[path].content.decode("utf-8", "replace").split("\n")
    for smell in migrations.smells(module):
        if smell.rule == "unparsed":
            yield _unread(side, path, smell.message)
            continue
        yield ToolFinding(
            side=side, path=path, line=smell.line, rule=f"squawk/{smell.rule}", severity=_severity(smell.rule),
            message=smell.message, key=" ".join(lines[smell.line - 1].split()), fix=RULES[0].fix,
        )  # fmt: skip


def _is_python(path: str) -> bool:
    return path.lower().endswith(".py")


def _readable(content: bytes) -> bytes:
    """UTF-8, with the comments gone that tell it to look away; every line stays where it is."""
    return _IGNORE.sub(b"squawk ignore", content.decode("utf-8", "replace").encode())


def _seen(issue: _Issue, layout: Layout) -> ToolFinding:
    side, path = layout.origin(issue.file)
    if issue.rule_name == "syntax-error":
        return _unread(side, path, "squawk cannot read all of this SQL")
    line = issue.line + 1
    return ToolFinding(
        side=side, path=path, line=line, rule=f"squawk/{issue.rule_name}", severity=_severity(issue.rule_name),
        message=issue.message, key=layout.line(side, path, line), fix=issue.help,
    )  # fmt: skip


def _severity(rule: str) -> Severity:
    return Severity.REFUSE if rule in REFUSALS else Severity.NOTE if rule in NOTES else Severity.PERSON


def _unread(side: str, path: str, message: str) -> ToolFinding:
    """Never the same on both sides: a file that was unknown before is still unknown."""
    return ToolFinding(side=side, path=path, line=0, rule=UNPARSED, severity=Severity.PERSON, message=message, key=side)
