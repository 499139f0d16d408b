"""A Forgejo on this machine: REST at `/api/v1`, and git; Gitea speaks the same."""

from collections.abc import Mapping
from typing import Any

from kits.fake_forge import access
from kits.fake_forge.answers import ForgeRoute, Refusal, not_found
from kits.fake_forge.dialect import OtherForge
from kits.fake_forge.forgejo import issues  # noqa: F401 fills the table of routes
from kits.fake_forge.forgejo.endpoints import ROUTES
from kits.fake_forge.store import Doc


class FakeForgejo(OtherForge):
    """Forgejo's REST, and its words for a push that is refused."""

    prefix, contents, place, routes = "/api/v1", "repository", "repo", ROUTES

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.forge.refused = "Forgejo: Not allowed to push to protected branch {branch}"
        self.forge.committer = ("Forgejo", "noreply@forgejo.example")

    def resolve(self, repository: str, number: int, login: str) -> int:
        """Somebody resolves all conversations; only its pages can. Returns how many there were."""
        with self.forge.store.transaction():
            comments = self.forge.store.find("review_comment", repo=self._repository(repository)["id"], number=number)
            for one in comments:
                self.forge.store.save({**one, "resolved_by": login})
        return len(comments)

    def named(self, values: Mapping[str, str], path: str, method: str) -> Doc:
        """307 for an older name."""
        found = self.forge.find_repository(values["owner"], values["repo"])
        if found:
            return found
        moved = self.forge.store.one("moved", key=f"{values['owner']}/{values['repo']}".lower())
        if moved is None:
            raise not_found()
        repo = self.forge.store.get("repository", moved["to"]) or {}
        at = f"{self.prefix}/repos/{repo['owner']}/{repo['name']}" + "".join(f"/{part}" for part in path.split("/")[4:])
        raise Refusal(307, "Temporary Redirect", None, Location=at)

    def admit(self, actor: access.Actor, route: ForgeRoute, repo: Doc | None) -> None:
        if repo is None:
            return
        scope, _, level = str(route.grant).partition(":")
        if actor.kind == "fine" and not access.grants(actor, route.grant):
            raise Refusal(403, f"token does not have at least one of required scope(s): [{level}:{scope}]")
        if not access.has_role(access.role_of(self.forge.store, actor.login, repo), route.role):
            raise Refusal(403, "user should have a permission to write to this repo")
        if repo["archived"] and route.method != "GET" and route.template != "/repos/{owner}/{repo}":
            raise Refusal(423, f"{repo['owner']}/{repo['name']} is archived")

    def told(self, refusal: Refusal) -> Doc:
        said, page = str(refusal.answer.body["message"]), f"{self.url}{self.prefix}/swagger"
        if said == "Not Found":
            return {"message": "The target couldn't be found.", "url": page, "errors": []}
        return {"message": said, "url": page}
