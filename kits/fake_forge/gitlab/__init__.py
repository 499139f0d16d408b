"""A GitLab on this machine: REST at `/api/v4`, and git."""

from collections.abc import Mapping
from typing import Any

from kits.fake_forge import access
from kits.fake_forge.answers import ForgeRoute, Refusal, not_found
from kits.fake_forge.dialect import OtherForge
from kits.fake_forge.gitlab.endpoints import ROUTES
from kits.fake_forge.gitlab.shapes import ISSUES
from kits.fake_forge.store import Doc

SCOPE, HIGHER = "insufficient_scope", "The request requires higher privileges than provided by the access token."
"""A token's refusal is told by another library, and in other fields."""


class FakeGitLab(OtherForge):
    """GitLab's REST, and its words for a push that is refused."""

    prefix, contents, place, routes = "/api/v4", "repository", "id", ROUTES

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.forge.refused = "GitLab: You are not allowed to push code to protected branches on this project."
        self.forge.committer = ("GitLab", "noreply@gitlab.example")
        self.forge.is_precise, self.forge.pull_ref = True, "refs/merge-requests/{}/head"

    def issues(self, repository: str, login: str, count: int) -> int:
        """The same with numbers of their own."""
        last = super().issues(repository, login, count)
        with self.forge.store.transaction():
            repo = self._repository(repository)
            found = self.forge.store.find("issue", repo=repo["id"], pull=False)
            for number, one in enumerate(found, ISSUES + 1):
                self.forge.store.save({**one, "number": number})
        return last

    def named(self, values: Mapping[str, str], path: str, method: str) -> Doc:
        """By its path or its number. An older path is redirected; nothing is written there."""
        name = values["id"]
        if name.isdigit() and (found := self.forge.store.get("repository", int(name))):
            return found
        owner, _, short = name.rpartition("/")
        found = self.forge.find_repository(owner, short)
        if found:
            return found
        moved = self.forge.store.one("moved", key=name.lower())
        if moved is None:
            raise not_found()
        if method != "GET":
            raise Refusal(405, "405 Method Not Allowed - Non GET methods are not allowed for moved projects")
        at = f"{self.api_url}/projects/{moved['to']}" + "".join(f"/{part}" for part in path.split("/")[3:])
        raise Refusal(302, "Found", None, Location=at)

    def admit(self, actor: access.Actor, route: ForgeRoute, repo: Doc | None) -> None:
        if actor.kind == "fine" and not access.grants(actor, route.grant):
            raise Refusal(403, SCOPE)
        if repo is None:
            return
        if not access.has_role(access.role_of(self.forge.store, actor.login, repo), route.role):
            raise Refusal(403, "403 Forbidden")
        if repo["archived"] and route.method != "GET" and not route.template.endswith("archive"):
            raise Refusal(403, "403 Forbidden")

    def told(self, refusal: Refusal) -> Doc:
        said = str(refusal.answer.body["message"])
        if said == SCOPE:
            return {"error": SCOPE, "error_description": HIGHER}
        return {"message": "404 Not found" if said == "Not Found" else said}
