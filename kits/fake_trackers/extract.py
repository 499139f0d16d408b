"""Makes the archives in `described/` from the official descriptions: run it when a fake knows a new endpoint.

    git clone https://github.com/jarekbird/jira-api-mcp-wrapper
    python -m kits.fake_trackers.extract jira jira-api-mcp-wrapper/swagger-v3.v3.json

    npm pack @atlaskit/adf-schema@57.7.22
    python -m kits.fake_trackers.extract adf atlaskit-adf-schema-57.7.22.tgz

    git clone https://github.com/linear/linear
    python -m kits.fake_trackers.extract linear linear/packages/sdk/src/schema.graphql

The first file is Atlassian's own, of 2025-12 (Apache 2.0, as it says), unchanged in that repository; no package carries
it. The package is Atlassian's as well (Apache 2.0): the JSON Schema of documents.
The last one is Linear's own, of its SDK 88.3.0 (MIT): of it, the fields that are asked for, and the inputs whole.
"""

import gzip
import hashlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from graphql import (
    InterfaceTypeDefinitionNode,
    ObjectTypeDefinitionNode,
    UnionTypeDefinitionNode,
    Visitor,
    parse,
    print_ast,
    visit,
)

from kits.fake_forge.extract import operations, read_member
from kits.fake_trackers.jira import OPERATIONS
from kits.fake_trackers.linear import LINEAR

PLACE = Path(__file__).parent / "described"
DIGESTS = {
    "jira": "1f0911c58a45c712ba748f6b2b71bad688a0d28283296e6d24c7b2cc0d304624",
    "linear": "b00d24d8d252a306f5e2088267b1a17dd6e4442f8b793928410b8d4673a7081d",
    "adf": "53693004c8c3d3ccbff2f8dcc172aaf3ef84dae402216fda4602cb1bbe10c62b",
}


def main(kind: str, path: Path) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != DIGESTS[kind]:
        sys.exit(f"{path} is another file: its SHA-256 is {found}")
    if kind == "linear":
        pack(kind, graph(path.read_text()))
    elif kind == "adf":
        write(kind, read_member(path, "package/dist/json-schema/v1/full.json"))
    else:
        write(kind, operations(json.loads(path.read_bytes()), OPERATIONS))


def graph(whole: str) -> str:
    """The schema, with those fields of objects that `LINEAR` has, without what it says of them."""
    kept = []
    for one in parse(whole, no_location=True).definitions:
        if isinstance(one, ObjectTypeDefinitionNode):
            if one.name.value not in LINEAR:
                continue
            wanted = LINEAR[one.name.value]
            fields = tuple(field for field in one.fields or () if field.name.value in wanted)
            one = replace(one, fields=fields, interfaces=())
        elif isinstance(one, InterfaceTypeDefinitionNode | UnionTypeDefinitionNode):
            continue
        kept.append(visit(one, _Bare()))
    return needed(kept)


class _Bare(Visitor):
    """Without descriptions, and directives that are Linear's own."""

    def leave(self, node: Any, *_: Any) -> Any:
        bare = {"description": None, "directives": ()}
        held = {name: value for name, value in bare.items() if getattr(node, name, None)}
        return replace(node, **held) if held else None


def needed(kept: list[Any]) -> str:
    """What is needed by what is kept, in order, as text."""
    by_name = {one.name.value: one for one in kept if hasattr(one, "name")}
    todo, found = ["Query", "Mutation"], set[str]()
    while todo:
        name = todo.pop()
        if name in found or name not in by_name:
            continue
        found.add(name)
        todo += re.findall(r"\w+", print_ast(by_name[name]))
    return "\n".join(print_ast(by_name[name]) for name in sorted(found))


def write(name: str, value: Any) -> None:
    pack(name, json.dumps(value, sort_keys=True, separators=(",", ":")))


def pack(name: str, text: str) -> None:
    kind = "graphql" if name == "linear" else "json"
    (PLACE / f"{name}.{kind}.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
