"""GitHub Apps: what an app asks with its own JWT, and what an installation may see."""

import datetime

from kits.fake_forge import access
from kits.fake_forge.answers import ForgeAnswer, Refusal, not_found
from kits.fake_forge.ask import ForgeRequest, route
from kits.fake_forge.store import Doc

LIFE = datetime.timedelta(hours=1)


@route("GET", "/app", kind="app")
def show_app(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, ask.views.app(ask.actor.app))


@route("GET", "/app/installations", kind="app")
def list_installations(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, ask.page(ask.store.find("installation", app=_app(ask)["id"]), ask.views.installation))


@route("GET", "/app/installations/{installation_id}", kind="app")
def show_installation(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, ask.views.installation(_installation(ask)))


@route("GET", "/repos/{owner}/{repo}/installation", kind="app")
def find_installation(ask: ForgeRequest) -> ForgeAnswer:
    for installation in ask.store.find("installation", app=_app(ask)["id"], key=ask.repo["owner"]):
        if installation["repositories"] is None or ask.repo["id"] in installation["repositories"]:
            return ForgeAnswer(200, ask.views.installation(installation))
    raise not_found()


@route("POST", "/app/installations/{installation_id}/access_tokens", kind="app")
def create_token(ask: ForgeRequest) -> ForgeAnswer:
    """An hour of what the installation may, or less of it."""
    installation = _installation(ask)
    if installation.get("suspended_at"):
        raise Refusal(403, "This installation has been suspended")
    permissions = ask.body.get("permissions") or installation["permissions"]
    for name, level in permissions.items():
        held = installation["permissions"].get(name, "none")
        if ("none", "read", "write", "admin").index(held) < ("none", "read", "write", "admin").index(level):
            raise Refusal(422, "The permissions requested are not granted to this installation.")
    chosen = _chosen(ask, installation)
    expires = access.stamp(ask.forge.now() + LIFE)
    value, _ = access.issue_token(
        ask.store,
        f"{_app(ask)['slug']}[bot]",
        "installation",
        expires,
        installation=installation["id"],
        permissions=permissions,
        repositories=chosen,
    )
    body: Doc = {"token": value, "expires_at": expires, "permissions": permissions}
    body["repository_selection"] = "all" if chosen is None and installation["repositories"] is None else "selected"
    if chosen is not None:
        body["repositories"] = [ask.views.repo(ask.store.get("repository", one)) for one in chosen]
    return ForgeAnswer(201, body)


@route("GET", "/installation/repositories", kind="installation")
def list_repositories(ask: ForgeRequest) -> ForgeAnswer:
    installation = ask.actor.installation
    assert installation
    owned = ask.store.find("repository", owner=installation["account"])
    mine = [repo for repo in owned if access.reaches(ask.actor, repo)]
    shown = ask.page(mine, ask.views.repo)
    return ForgeAnswer(200, {"total_count": len(mine), "repository_selection": "selected", "repositories": shown})


@route("DELETE", "/installation/token", kind="installation")
def revoke_token(ask: ForgeRequest) -> ForgeAnswer:
    ask.store.remove(ask.actor.token)
    return ForgeAnswer(204)


def _app(ask: ForgeRequest) -> Doc:
    assert ask.actor.app
    return ask.actor.app


def _installation(ask: ForgeRequest) -> Doc:
    found: Doc | None = ask.store.get("installation", ask.number("installation_id"))
    if found is None or found["app"] != _app(ask)["id"]:
        raise not_found()
    return found


def _chosen(ask: ForgeRequest, installation: Doc) -> list[int] | None:
    """The repositories that a token is narrowed to; None: all of the installation's."""
    names, ids = ask.body.get("repositories"), ask.body.get("repository_ids")
    if names is None and ids is None:
        return None
    chosen = []
    for repo in ask.store.find("repository", owner=installation["account"]):
        if repo["name"] in (names or []) or repo["id"] in (ids or []):
            chosen.append(repo["id"])
    allowed = installation["repositories"]
    if len(chosen) < len(names or []) + len(ids or []) or (allowed is not None and set(chosen) - set(allowed)):
        raise Refusal(
            422, "There is at least one repository that does not exist or is not accessible to the parent installation."
        )
    return chosen
