"""Holds what the fake forge answers against GitHub's official description: every request, answer and webhook.

`described/` has what the endpoints need of `@octokit/openapi` and `@octokit/openapi-webhooks` (MIT), see `extract.py`.
"""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema_rs

from kits.fake_forge.answers import ForgeAnswer
from kits.fake_forge.server import FakeGitHub
from kits.fake_forge.store import Doc

# Any endpoint may answer these, says GitHub's guide, and the description of each one says it of some only.
ANYWHERE = {301, 400, 401, 403, 404, 405, 409, 422, 429, 500, 502, 503, 504}
BESIDE_THE_DESCRIPTION = (
    *((name, None) for name in ("line", "position")),
    *((name, "") for name in ("target_url", "log_url", "environment_url")),
    ("merge_commit_sha", None),
)
"""What GitHub answers though its description says otherwise: a comment that is outdated has no line any more, and an
address that nobody gave is empty (the description's own default, which is no address). Forgejo's swagger has no word
for null: what is not merged has no commit."""
_ERROR = {"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}}


class DescriptionWatch:
    """Looks at everything that a fake answers; `problems` is empty as long as all is as described."""

    def __init__(self, fake: FakeGitHub, source: str = "") -> None:
        """`source`: the description of another dialect."""
        self._fake, self._source = fake, source
        self.problems: list[str] = []
        self.seen: set[str] = set()
        """The operations that were answered with a success."""
        fake.watchers.append(self._look)

    def look_at_webhooks(self) -> set[str]:
        """Check the payloads of all deliveries so far; returns their events."""
        seen = set()
        for delivery in self._fake.forge.store.find("delivery"):
            payload = delivery["request"]["payload"]
            names = [delivery["event"].replace("_", "-")]
            if delivery["action"]:
                names.insert(0, f"{names[0]}/{delivery['action'].replace('_', '-')}")
            name = next((one for one in names if one in described("webhooks")["events"]), None)
            if name is None:
                self.problems.append(f"webhook {names[0]}: GitHub sends no such event")
                continue
            seen.add(name)
            self._hold(f"webhook {name}", payload, "webhooks", f"/events/{_escape(name)}")
        return seen

    def _look(self, method: str, template: str | None, prefix: str, query: Doc, body: Any, answer: ForgeAnswer) -> None:
        if template is None or isinstance(answer.body, str):
            return
        source = self._source or ("ghes-3.19" if prefix else "api.github.com")
        name = f"{method} {template}"
        operation = described(source)["operations"].get(name)
        if operation is None:
            self.problems.append(f"{name}: not in {source}")
            return
        status = str(answer.status)
        where, at = f"{name} → {status}", f"/operations/{_escape(name)}"
        if answer.status < 300:
            self.seen.add(name)
            unknown = set(query) - set(operation["query"])
            if unknown:
                self.problems.append(f"{where}: the query has {sorted(unknown)}, which it does not know")
            if operation["body"] is not None and body:
                self._hold(f"{where}, request", body, source, f"{at}/body")
        if status in operation["answers"]:
            if operation["answers"][status] is not None and answer.body is not None:
                self._hold(where, answer.body, source, f"{at}/answers/{status}")
        elif answer.status in ANYWHERE or (self._source and answer.status in (307, 423)):
            problem = next(jsonschema_rs.Draft7Validator(_ERROR).iter_errors(answer.body), None)
            if problem:
                self.problems.append(f"{where}: {problem.message}")
        elif answer.status != 304:
            self.problems.append(f"{where}: a status that is not described")

    def _hold(self, what: str, value: Any, source: str, at: str) -> None:
        for problem in _validator(source, at).iter_errors(value):
            path = ".".join(str(part) for part in problem.instance_path)
            if (path.rsplit(".", 1)[-1], problem.instance) in BESIDE_THE_DESCRIPTION:
                continue
            self.problems.append(f"{what}: at {path or 'the top'}: {problem.message[:300]}")


@cache
def described(name: str) -> Any:
    """An archive of `described/`."""
    return json.loads(gzip.decompress((Path(__file__).parent / "described" / f"{name}.json.gz").read_bytes()))


@cache
def _registry(name: str) -> Any:
    return jsonschema_rs.Registry([(f"urn:github:{name}", described(name))], draft=jsonschema_rs.Draft7)


@cache
def _validator(name: str, at: str) -> Any:
    schema = {"$ref": f"urn:github:{name}#{at}"}
    return jsonschema_rs.Draft7Validator(schema, registry=_registry(name), validate_formats=True)


def _escape(name: str) -> str:
    """A part of a JSON pointer in an address."""
    return quote(name.replace("~", "~0").replace("/", "~1"), safe="")
