"""A Forgejo on this machine: another dialect of the same forge. REST at `/api/v1`, and git; Gitea speaks the same."""

from typing import Any
from urllib.parse import parse_qsl

from kits.fake_forge import access
from kits.fake_forge.answers import Answer, Refusal, Route, not_found
from kits.fake_forge.ask import Ask
from kits.fake_forge.forgejo.endpoints import ROUTES
from kits.fake_forge.handler import find_route
from kits.fake_forge.server import FakeGitHub
from kits.fake_forge.store import Doc
from kits.fake_forge.views import Views

API = "/api/v1"


class FakeForgejo(FakeGitHub):
    """As `FakeGitHub`, with a Forgejo's REST, and its words for a push that is refused."""

    prefix, contents = API, "repository"

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.dialect = self
        self.forge.refused = "Forgejo: Not allowed to push to protected branch {branch}"
        self.forge.committer = ("Forgejo", "noreply@forgejo.example")

    @property
    def api_url(self) -> str:
        return self.url + API

    def resolve(self, repository: str, number: int, login: str) -> int:
        """Somebody resolves all conversations; only its pages can. Returns how many there were."""
        with self.forge.store.transaction():
            comments = self.forge.store.find("review_comment", repo=self._repository(repository)["id"], number=number)
            for one in comments:
                self.forge.store.save({**one, "resolved_by": login})
        return len(comments)

    def dispatch(
        self, actor: access.Actor, method: str, path: str, query: str, body: Any, headers: dict[str, str]
    ) -> tuple[Answer, Route | None]:
        """One request below `/api/v1`."""
        route: Route | None = None
        try:
            route, values = find_route(method, path, ROUTES)
            if not isinstance(body, dict):
                raise Refusal(422, "the body is no object")
            views = Views(self.forge.store, self.forge.git, self.url, API, actor)
            ask = Ask(self.forge, actor, views, method, path, values, dict(parse_qsl(query)), body, headers)
            repo = self._named(values, path) if "repo" in values else None
            if repo is not None:
                ask.repo = repo
            admit(self.forge.store, actor, route, repo)
            return route.call(ask), route
        except Refusal as refusal:
            status, said = refusal.answer.status, str(refusal.answer.body["message"])
            told: Doc = {"message": said, "url": f"{self.url}{API}/swagger"}
            if said == not_found().answer.body["message"]:
                told = {"message": "The target couldn't be found.", "url": told["url"], "errors": []}
            refusal.answer = Answer(status, told, refusal.answer.headers)
            refusal.route = route  # type: ignore[attr-defined]
            raise

    def _named(self, values: dict[str, str], path: str) -> Doc:
        """The repository of a path; 307 if it is known by a newer name."""
        found = self.forge.find_repository(values["owner"], values["repo"])
        if found:
            return found
        moved = self.forge.store.one("moved", key=f"{values['owner']}/{values['repo']}".lower())
        if moved is None:
            raise not_found()
        repo = self.forge.store.get("repository", moved["to"]) or {}
        at = f"{API}/repos/{repo['owner']}/{repo['name']}" + "".join(f"/{part}" for part in path.split("/")[4:])
        raise Refusal(307, "Temporary Redirect", None, Location=at)


def admit(store: Any, actor: access.Actor, route: Route, repo: Doc | None) -> None:
    """401 nobody, 404 what they may not know of, 403 what their role or their token's scopes do not reach, 423 a write
    to what is archived."""
    if not actor.login:
        raise Refusal(401, "token is required")
    if repo is None:
        return
    if access.role_of(store, actor.login, repo) == "none":
        raise not_found()
    scope, _, level = str(route.grant).partition(":")
    if actor.kind == "fine" and not access.grants(actor, route.grant):
        raise Refusal(403, f"token does not have at least one of required scope(s): [{level}:{scope}]")
    if not access.has_role(access.role_of(store, actor.login, repo), route.role):
        raise Refusal(403, "user should have a permission to write to this repo")
    if repo["archived"] and route.method != "GET" and route.template != "/repos/{owner}/{repo}":
        raise Refusal(423, f"{repo['owner']}/{repo['name']} is archived")
