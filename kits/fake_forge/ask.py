"""One request as an endpoint sees it, and the table of endpoints."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kits.fake_forge.access import Actor, has_role, role_of
from kits.fake_forge.answers import ForgeAnswer, ForgeRoute, Refusal, invalid, not_found
from kits.fake_forge.forge import ForgeState
from kits.fake_forge.git import Git
from kits.fake_forge.store import Doc
from kits.fake_forge.views import Views


@dataclass
class ForgeRequest:
    """A request whose sender is known and may do it."""

    forge: ForgeState
    actor: Actor
    views: Views
    method: str
    path: str
    values: dict[str, str]
    query: dict[str, str]
    body: Doc
    headers: Mapping[str, str]
    links: dict[str, str] = field(default_factory=dict)
    """What the Link header will say."""
    _repo: Doc | None = None

    @property
    def store(self) -> Any:
        return self.forge.store

    @property
    def repo(self) -> Doc:
        """The repository of the path."""
        if self._repo is None:
            raise not_found()
        return self._repo

    @repo.setter
    def repo(self, repo: Doc) -> None:
        self._repo = repo

    @property
    def git(self) -> Git:
        return self.forge.git(self.repo)

    @property
    def login(self) -> str:
        return self.actor.login

    @property
    def writes(self) -> bool:
        """Whether its sender may write to the repository."""
        return has_role(role_of(self.store, self.login, self.repo), "write")

    def pull(self, name: str) -> Doc:
        """The pull request whose number stands under `name` in the path; 404 if there is none."""
        found: Doc | None = self.store.one("pull", repo=self.repo["id"], number=self.number(name))
        if found is None:
            raise not_found()
        return found

    def issue_of(self, pull: Doc) -> Doc:
        """What a pull request has as every issue has it, such as its title."""
        found: Doc = self.store.one("issue", repo=self.repo["id"], number=pull["number"])
        return found

    def number(self, name: str) -> int:
        """A number of the path; 404 if it is none."""
        value = self.values[name]
        if not value.isascii() or not value.isdigit():
            raise not_found()
        return int(value)

    def text(self, name: str, resource: str, default: str | None = None) -> str:
        """A string of the body; 422 if it is missing and has no default."""
        value = self.body.get(name, default)
        if value is None:
            raise invalid(resource, field=name, code="missing_field")
        if not isinstance(value, str):
            raise Refusal(422, f"Invalid request.\n\nFor 'properties/{name}', {value!r} is not a string.")
        return value

    def given(self, name: str, default: str) -> str:
        """A string of the body, or a default where it is missing or null."""
        value = self.body.get(name)
        return default if value is None else str(value)

    def page(self, items: list[Any], show: Callable[[Any], Any] | None = None) -> list[Any]:
        """The page of a list that the query asks for, and the Link header that goes with it."""
        size = max(1, min(100, _int(self.query.get("per_page"), 30)))
        page = max(1, _int(self.query.get("page"), 1))
        last = max(1, -(-len(items) // size))
        near = {"prev": page - 1 if page > 1 else None, "next": page + 1 if page < last else None}
        near |= {"last": last if page < last else None, "first": 1 if page > 1 else None}
        for name, number in near.items():
            if number is not None:
                self.links[name] = self.views.again(self.path, {**self.query, "page": str(number)})
        chosen = items[(page - 1) * size : page * size]
        return [show(item) for item in chosen] if show else chosen

    def link(self) -> dict[str, str]:
        """The Link header of the page that was given; none where there are no others."""
        order = [name for name in ("prev", "next", "last", "first") if name in self.links]
        return {"Link": ", ".join(f'<{self.links[name]}>; rel="{name}"' for name in order)} if order else {}


Endpoint = Callable[[ForgeRequest], ForgeAnswer]

ROUTES: list[ForgeRoute] = []


def route(
    method: str,
    template: str,
    *,
    grant: str | None = "metadata:read",
    role: str = "read",
    kind: str = "user",
    into: list[ForgeRoute] | None = None,
) -> Callable[[Endpoint], Endpoint]:
    """Put an endpoint into the table. `{name}` takes a part of the path, `{name*}` all that follows. `into`: the table
    of another dialect."""
    table = ROUTES if into is None else into
    parts = re.sub(r"\\\{(\w+)\\\*\\\}", r"(?P<\1>.+)", re.escape(template))
    pattern = re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", parts))

    def register(call: Endpoint) -> Endpoint:
        table.append(ForgeRoute(method, template, pattern, grant, role, kind, call))
        # What takes any path comes last, and what names more of it first: /issues/comments before /issues/{number}.
        table.sort(key=lambda one: ("*" in one.template, one.template.count("{"), -len(one.template)))
        return call

    return register


def _int(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else default
