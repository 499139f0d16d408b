"""Forms that the server has shown: the UI has what people type into them checked, by a schema that it sends along.

A schema may hold patterns and references that keep a server busy for ever, so only those are checked that came from the
server itself, through this door.
"""

import json
from typing import Any

from domain.value import digest_of
from station.door.reading import DoorDenied

MAX_FORMS = 5_000
SHOWING = ("/deployments/{id}", "/deployments/name/{flow_name}/{deployment_name}", "/deployments/filter",
           "/deployments/paginate", "/flow_runs/{id}/input/{key}")  # fmt: skip
"""Routes whose answers hold one: a deployment's parameters, or a question that a run waits with."""


class Forms:
    """Digests of what was shown. They are forgotten with the process; the page is loaded again then."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def note(self, template: str, content: bytes) -> None:
        """Remember the forms in an answer to a route of `SHOWING`."""
        try:
            found = json.loads(content)
        except ValueError:
            return
        if template.endswith("/input/{key}"):
            found = {"parameter_openapi_schema": found}
        if isinstance(found, dict) and "results" in found:
            found = found["results"]
        if len(self._shown) > MAX_FORMS:
            self._shown.clear()
        for each in found if isinstance(found, list) else [found]:
            if isinstance(each, dict) and isinstance(each.get("parameter_openapi_schema"), dict):
                self._shown.add(digest_of(each["parameter_openapi_schema"]))

    def check(self, body: Any) -> None:
        """Raises Denied if a schema is none that was shown."""
        schema = body.get("schema") if isinstance(body, dict) else None
        if not isinstance(schema, dict) or digest_of(schema) not in self._shown:
            raise DoorDenied(403, "only the server's own forms are checked here: load the page again")
