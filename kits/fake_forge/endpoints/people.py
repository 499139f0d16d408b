"""Who is who: the user of the token, others, collaborators and teams, and the rate limit."""

from kits.fake_forge import access
from kits.fake_forge.answers import ForgeAnswer, Refusal, not_found
from kits.fake_forge.ask import ForgeRequest, route
from kits.fake_forge.store import Doc


@route("GET", "/rate_limit", kind="anyone")
def show_limit(ask: ForgeRequest) -> ForgeAnswer:
    limit, used, reset = ask.forge.limits.state(ask.actor)
    core = {"limit": limit, "used": used, "remaining": max(0, limit - used), "reset": reset}
    search = {"limit": 30, "used": 0, "remaining": 30, "reset": reset}
    return ForgeAnswer(200, {"resources": {"core": core, "search": search, "graphql": core}, "rate": core})


@route("GET", "/meta", kind="anyone")
def show_meta(ask: ForgeRequest) -> ForgeAnswer:
    body: Doc = {"verifiable_password_authentication": False}
    if ask.forge.enterprise:
        body["installed_version"] = "3.19.0"
    return ForgeAnswer(200, body)


@route("GET", "/user", grant=None)
def show_me(ask: ForgeRequest) -> ForgeAnswer:
    if ask.actor.kind == "installation":
        raise Refusal(403, "Resource not accessible by integration")
    return ForgeAnswer(200, ask.views.private_user(ask.login))


@route("GET", "/users/{username}", kind="anyone")
def show_user(ask: ForgeRequest) -> ForgeAnswer:
    if ask.store.one("user", key=ask.values["username"]) is None:
        raise not_found()
    return ForgeAnswer(200, ask.views.public_user(ask.values["username"]))


@route("GET", "/user/{account_id}", kind="anyone")
def show_user_by_id(ask: ForgeRequest) -> ForgeAnswer:
    user = ask.store.get("user", ask.number("account_id"))
    if user is None:
        raise not_found()
    return ForgeAnswer(200, ask.views.public_user(user["login"]))


@route("GET", "/repos/{owner}/{repo}/collaborators/{username}/permission", role="write")
def show_permission(ask: ForgeRequest) -> ForgeAnswer:
    """`permission` knows four words; maintain is write, triage is read. `role_name` has the whole."""
    login = ask.values["username"]
    user = ask.views.user(login)
    if user is None:
        raise not_found()
    role = access.role_of(ask.store, login, ask.repo)
    permission = {"maintain": "write", "triage": "read"}.get(role, role)
    allowed = {name: access.has_role(role, wanted) for name, wanted in _WORDS.items()}
    shown = {**user, "permissions": allowed, "role_name": role}
    return ForgeAnswer(200, {"permission": permission, "role_name": role, "user": shown})


@route("GET", "/repos/{owner}/{repo}/collaborators", role="write")
def list_collaborators(ask: ForgeRequest) -> ForgeAnswer:
    logins = [doc["key"] for doc in ask.store.find("collaborator", repo=ask.repo["id"])]
    owner = ask.store.one("user", key=ask.repo["owner"])
    if owner and owner["type"] == "User":
        logins.insert(0, ask.repo["owner"])
    return ForgeAnswer(200, ask.page(logins, lambda login: _collaborator(ask, login)))


@route("GET", "/repos/{owner}/{repo}/collaborators/{username}")
def is_collaborator(ask: ForgeRequest) -> ForgeAnswer:
    login = ask.values["username"]
    if login != ask.repo["owner"] and ask.store.one("collaborator", repo=ask.repo["id"], key=login) is None:
        raise not_found()
    return ForgeAnswer(204)


@route("DELETE", "/repos/{owner}/{repo}/collaborators/{username}", role="admin", grant="administration:write")
def remove_collaborator(ask: ForgeRequest) -> ForgeAnswer:
    doc = ask.store.one("collaborator", repo=ask.repo["id"], key=ask.values["username"])
    if doc:
        ask.store.remove(doc)
    return ForgeAnswer(204)


@route("GET", "/repos/{owner}/{repo}/assignees/{assignee}")
def is_assignable(ask: ForgeRequest) -> ForgeAnswer:
    role = access.role_of(ask.store, ask.values["assignee"], ask.repo)
    if ask.store.one("user", key=ask.values["assignee"]) is None or not access.has_role(role, "triage"):
        raise not_found()
    return ForgeAnswer(204)


@route("GET", "/orgs/{org}/teams/{team_slug}/members", grant="members:read")
def list_team_members(ask: ForgeRequest) -> ForgeAnswer:
    team = _team(ask)
    members = ask.store.find("team_member", team=team["id"])
    return ForgeAnswer(200, ask.page(members, lambda member: ask.views.user(member["key"])))


@route("GET", "/orgs/{org}/teams/{team_slug}", grant="members:read")
def show_team(ask: ForgeRequest) -> ForgeAnswer:
    team = _team(ask)
    members = len(ask.store.find("team_member", team=team["id"]))
    owner = ask.store.one("user", key=team["org"])
    assert owner
    from kits.fake_forge.forge import organization

    whole = {
        **organization(ask.views, owner),
        "html_url": f"{ask.views.site}/{team['org']}",
        "type": "Organization",
        "created_at": owner["created_at"],
        "updated_at": owner["created_at"],
        "archived_at": None,
        "followers": 0,
        "following": 0,
        "public_gists": 0,
        "public_repos": 0,
        "has_organization_projects": True,
        "has_repository_projects": True,
    }
    more = {"members_count": members, "repos_count": 0, "created_at": owner["created_at"]}
    return ForgeAnswer(200, {**ask.views.team(team), **more, "updated_at": owner["created_at"], "organization": whole})


@route("GET", "/orgs/{org}/teams/{team_slug}/memberships/{username}", grant="members:read")
def show_team_membership(ask: ForgeRequest) -> ForgeAnswer:
    team = _team(ask)
    if ask.store.one("team_member", team=team["id"], key=ask.values["username"]) is None:
        raise not_found()
    at = f"{ask.views.api}/organizations/0/team/{team['id']}/memberships/{ask.values['username']}"
    return ForgeAnswer(200, {"url": at, "role": "member", "state": "active"})


_WORDS = {"admin": "admin", "maintain": "maintain", "push": "write", "triage": "triage", "pull": "read"}


def _team(ask: ForgeRequest) -> Doc:
    team = ask.store.one("team", org=ask.values["org"], key=ask.values["team_slug"])
    if team is None or (ask.actor.installation and ask.actor.installation["account"] != ask.values["org"]):
        raise not_found()
    if ask.actor.kind not in ("installation",) and not ask.store.one("membership", org=team["org"], key=ask.login):
        raise not_found()
    if ask.actor.kind != "classic" and not access.grants(ask.actor, "members:read"):
        raise Refusal(403, "Resource not accessible by integration")
    found: Doc = team
    return found


def _collaborator(ask: ForgeRequest, login: str) -> Doc:
    role = access.role_of(ask.store, login, ask.repo)
    allowed = {name: access.has_role(role, wanted) for name, wanted in _WORDS.items()}
    return {**(ask.views.user(login) or {}), "permissions": allowed, "role_name": role}
