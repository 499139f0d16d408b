"""The same forge in another dialect than GitHub's: its REST is below `prefix`, with a table of endpoints of its own."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from kits.fake_forge import access
from kits.fake_forge.answers import ForgeAnswer, ForgeRoute, Refusal, not_found
from kits.fake_forge.ask import ForgeRequest
from kits.fake_forge.handler import find_route
from kits.fake_forge.server import FakeGitHub
from kits.fake_forge.store import Doc
from kits.fake_forge.views import Views


class OtherForge(FakeGitHub):
    """As `FakeGitHub`, with another REST. `contents`: what a token needs for git; `place`: what a path calls the
    repository."""

    prefix: str
    contents: str
    place: str
    routes: Sequence[ForgeRoute]

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.dialect = self

    @property
    def api_url(self) -> str:
        return self.url + self.prefix

    def dispatch(
        self, actor: access.Actor, method: str, path: str, query: str, body: Any, headers: dict[str, str]
    ) -> tuple[ForgeAnswer, ForgeRoute | None]:
        """One request below the prefix."""
        route: ForgeRoute | None = None
        try:
            route, values = find_route(method, path, self.routes)
            if not isinstance(body, dict):
                raise Refusal(422, "the body is no object")
            views = Views(self.forge.store, self.forge.git, self.url, self.prefix, actor)
            ask = ForgeRequest(self.forge, actor, views, method, path, values, dict(parse_qsl(query)), body, headers)
            if not actor.login:
                raise Refusal(401, "401 Unauthorized")
            repo = self.named(values, path, method) if self.place in values else None
            if repo is not None:
                if access.role_of(self.forge.store, actor.login, repo) == "none":
                    raise not_found()
                ask.repo = repo
            self.admit(actor, route, repo)
            return route.call(ask), route
        except Refusal as refusal:
            refusal.answer = ForgeAnswer(refusal.answer.status, self.told(refusal), refusal.answer.headers)
            refusal.route = route  # type: ignore[attr-defined]
            raise

    @abstractmethod
    def named(self, values: Mapping[str, str], path: str, method: str) -> Doc:
        """The repository of a path; a redirect if it is known by a newer name."""

    @abstractmethod
    def admit(self, actor: access.Actor, route: ForgeRoute, repo: Doc | None) -> None:
        """Refuses what a role or a token's scopes do not reach, and writes to what is archived."""

    @abstractmethod
    def told(self, refusal: Refusal) -> Doc:
        """A refusal as this forge words it."""
