"""Migrations of alembic and Django, read as text: what squawk says of SQL, said of Python. Nothing of them is run."""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from domain.trees import LINK, TreeEntry

_DDL = re.compile(
    rb"\b(?:alter|create|drop|truncate|rename)\s+(?:[a-z]+\s+){0,3}?"
    rb"(?:table|index|column|type|view|schema|database|domain|sequence|constraint|trigger|function|policy)\b",
    re.IGNORECASE,
)
"""An .sql file without it is a query, not a migration."""
_ALEMBIC = re.compile(rb"\balembic\b[^\n]*\bop\b|\bfrom\s+alembic\.op\b")
_DJANGO = re.compile(rb"\bdjango\b[^\n]*\bmigrations\b")
_CREATES = frozenset(("create_table", "CreateModel"))
_SQL = frozenset(("execute", "RunSQL", "text"))

Found = tuple[str, str] | None
Check = Callable[[ast.Call], Found]


class Smell(NamedTuple):
    """One call in a migration, with squawk's name for what is wrong with it. `line` counts from 1."""

    rule: str
    line: int
    message: str


def is_sql(path: str, entry: TreeEntry) -> bool:
    """Whether this is an SQL file that changes a schema."""
    return entry.mode != LINK and path.lower().endswith((".sql", ".ddl", ".psql")) and bool(_DDL.search(entry.content))


def is_python(path: str, entry: TreeEntry) -> bool:
    """Whether this is a migration of alembic or Django, by what it imports."""
    imports = _ALEMBIC.search(entry.content) or _DJANGO.search(entry.content)
    return entry.mode != LINK and path.lower().endswith(".py") and bool(imports)


def parse(content: bytes) -> ast.Module | None:
    """The migration's syntax tree; None if it has none."""
    try:
        return ast.parse(content.decode("utf-8", "replace").removeprefix("\ufeff"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def smells(module: ast.Module) -> Iterator[Smell]:
    """What is wrong with the way up. Going down drops what going up made, so `downgrade` is not looked at."""
    calls = list(_calls(module))
    new = {_text(table) for call in calls if _name(call) in _CREATES for table in _tables(call)} - {""}
    for call in calls:
        check = _CHECKS.get(_name(call))
        found = check(call) if check else None
        if found and not any(_text(table) in new for table in _tables(call)):
            yield Smell(found[0], call.lineno, found[1])


def sql(module: ast.Module) -> str:
    """The SQL texts of a migration, each from the line where it stands."""
    texts = sorted((node.lineno, _text(node)) for call in _calls(module) for node in _statements(call) if _text(node))
    lines: list[str] = []
    for number, text in texts:
        lines += [""] * (number - 1 - len(lines)) + f"{text.rstrip().rstrip(';')};".split("\n")
    return "\n".join(lines) + "\n"


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.FunctionDef) and inner.name == "downgrade":
            continue
        if isinstance(inner, ast.Call):
            yield inner
        yield from _calls(inner)


def _name(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _text(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _statements(call: ast.Call) -> list[ast.expr]:
    """The SQL that a call is given; text() inside of execute() is a call of its own."""
    if _name(call) not in _SQL:
        return []
    given = [*call.args[:1], *(word.value for word in call.keywords if word.arg in ("sql", "sqltext"))]
    lists = [inner for node in given if isinstance(node, ast.List) for inner in node.elts]
    return [node for node in (*given, *lists) if not isinstance(node, ast.Call | ast.List)]


def _tables(call: ast.Call) -> list[ast.expr]:
    """Where a call says which table it is about; what makes an index or a constraint names the table second."""
    second = _name(call).startswith(("create_index", "create_unique", "create_check", "create_foreign"))
    words = ("table_name", "source_table", "source", "model_name", "name")
    return [*call.args[second : second + 1], *(word.value for word in call.keywords if word.arg in words)]


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((word.value for word in call.keywords if word.arg == name), None)


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _always(rule: str, message: str) -> Check:
    return lambda _: (rule, message)


def _unless(keyword: str, rule: str, message: str) -> Check:
    return lambda call: None if _is(_keyword(call, keyword), True) else (rule, message)


def _alter_column(call: ast.Call) -> Found:
    if _keyword(call, "type_") is not None:
        return "changing-column-type", "changing a type rewrites the locked table, and may break what reads it"
    if _keyword(call, "new_column_name") is not None:
        return "renaming-column", "the release that runs still asks for the old name"
    if _is(_keyword(call, "nullable"), False):
        return "adding-not-nullable-field", "setting NOT NULL reads the whole table while it is locked"
    return None


def _add_column(call: ast.Call) -> Found:
    column = next((one for one in call.args if isinstance(one, ast.Call) and _name(one) == "Column"), None)
    if column and _is(_keyword(column, "nullable"), False) and _keyword(column, "server_default") is None:
        return "adding-required-field", "a column that is NOT NULL and has no default fails where there are rows"
    return None


def _add_field(call: ast.Call) -> Found:
    """Django fills the rows that are there, and takes the default away again."""
    values = (*call.args, *(word.value for word in call.keywords))
    field = next((one for one in values if isinstance(one, ast.Call)), None)
    if field is None or _name(field) == "ManyToManyField":
        return None
    if _is(_keyword(field, "null"), True) or _keyword(field, "db_default") is not None:
        return None
    return "adding-required-field", "the release that runs does not fill a column that is NOT NULL"


def _statement(call: ast.Call) -> Found:
    if any(isinstance(node, ast.Constant) for node in _statements(call)) or not _statements(call):
        return None
    return "unparsed", "SQL that is put together at run time cannot be read here"


_DROPPED = "what reads it in the release that runs breaks, and the data is gone"
_LOCKS = "the table takes no writes while it is made"
_READ = "the whole table is read while it is locked; add it as NOT VALID and validate it afterwards"
_RENAMED = "the release that runs still asks for the old name"

_CHECKS: Mapping[str, Check] = {
    "drop_table": _always("ban-drop-table", _DROPPED),
    "drop_column": _always("ban-drop-column", _DROPPED),
    "alter_column": _alter_column,
    "rename_table": _always("renaming-table", _RENAMED),
    "add_column": _add_column,
    "create_index": _unless("postgresql_concurrently", "require-concurrent-index-creation", _LOCKS),
    "drop_index": _unless("postgresql_concurrently", "require-concurrent-index-deletion", _LOCKS),
    "create_unique_constraint": _always("disallowed-unique-constraint", _LOCKS),
    "create_foreign_key": _unless("postgresql_not_valid", "adding-foreign-key-constraint", _READ),
    "create_check_constraint": _unless("postgresql_not_valid", "constraint-missing-not-valid", _READ),
    "DeleteModel": _always("ban-drop-table", _DROPPED),
    "RemoveField": _always("ban-drop-column", _DROPPED),
    "RenameModel": _always("renaming-table", _RENAMED),
    "AlterModelTable": _always("renaming-table", _RENAMED),
    "RenameField": _always("renaming-column", _RENAMED),
    "AlterField": _always("changing-column-type", "where the type changes, the locked table is rewritten"),
    "AddField": _add_field,
    "AddIndex": _always("require-concurrent-index-creation", _LOCKS),
    "AddConstraint": _always("constraint-missing-not-valid", _READ),
    "execute": _statement,
    "RunSQL": _statement,
}
