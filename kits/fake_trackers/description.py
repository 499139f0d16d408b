"""Holds what a fake tracker answers against the official description: every request, and every answer to one."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema_rs

from kits.fake_trackers.server import FakeTracker, TrackerReply

NULL = ("from", "fromString", "to", "toString")
"""What a changelog leaves empty is null there, as recorded answers show; the description says it is a text."""


class SchemaWatch:
    """Looks at everything that a fake Jira answers; `problems` is empty as long as all is as described."""

    def __init__(self, fake: FakeTracker) -> None:
        self.problems: list[str] = []
        self.seen: set[str] = set()
        """The operations that were answered with a success."""
        fake.watchers.append(self._look)

    def _look(self, method: str, path: str, template: str | None, query: Any, body: Any, answer: TrackerReply) -> None:
        if template is None:
            self.problems.append(f"{method} {path}: the fake knows no such thing")
            return
        name = f"{method} {template}"
        operation = described("jira")["operations"].get(name)
        if operation is None:
            self.problems.append(f"{name}: it is not described")
            return
        status, at = str(answer.status), f"/operations/{_escape(name)}"
        if answer.status < 300:
            self.seen.add(name)
            if unknown := set(query) - set(operation["query"]):
                self.problems.append(f"{name}: the query has {sorted(unknown)}, which it does not know")
            if operation["body"] is not None and body:
                self._hold(f"{name}, request", body, f"{at}/body")
        if status not in operation["answers"]:
            self.problems.append(f"{name} → {status}: a status that is not described")
        elif operation["answers"][status] is not None and answer.body is not None:
            self._hold(f"{name} → {status}", answer.body, f"{at}/answers/{status}")

    def _hold(self, what: str, value: Any, at: str) -> None:
        for problem in _validator(at).iter_errors(value):
            if problem.instance is None and problem.instance_path and problem.instance_path[-1] in NULL:
                continue
            path = ".".join(str(part) for part in problem.instance_path)
            self.problems.append(f"{what}: at {path or 'the top'}: {problem.message[:300]}")


@cache
def described(name: str) -> Any:
    """An archive of `described/`."""
    return json.loads(gzip.decompress((Path(__file__).parent / "described" / f"{name}.json.gz").read_bytes()))


@cache
def _validator(at: str) -> Any:
    """Formats are not looked at: Jira writes times as `…+0000`, which its description calls `date-time`."""
    registry = jsonschema_rs.Registry([("urn:jira", described("jira"))], draft=jsonschema_rs.Draft7)
    return jsonschema_rs.Draft7Validator({"$ref": f"urn:jira#{at}"}, registry=registry, validate_formats=False)


def _escape(name: str) -> str:
    return quote(name.replace("~", "~0").replace("/", "~1"), safe="")
