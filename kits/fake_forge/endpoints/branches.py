"""Branches, refs, and the rules of branches."""

import re
import subprocess
from urllib.parse import quote

from kits.fake_forge.answers import ForgeAnswer, Refusal, not_found
from kits.fake_forge.ask import ForgeRequest, route
from kits.fake_forge.git import ZERO
from kits.fake_forge.store import Doc

_STRICT_NAME = re.compile(r"refs/(heads|tags)/(?!.*(\.\.|//|@\{|\.lock$|/$|\.$))[^\x00-\x20~^:?*\[\\\x7f]+")


@route("GET", "/repos/{owner}/{repo}/branches", grant="contents:read")
def list_branches(ask: ForgeRequest) -> ForgeAnswer:
    heads = [name.removeprefix("refs/heads/") for name in ask.git.refs() if name.startswith("refs/heads/")]
    return ForgeAnswer(200, ask.page(sorted(heads), lambda name: _short(ask, name)))


@route("GET", "/repos/{owner}/{repo}/branches/{branch*}/protection", role="admin", grant="administration:read")
def show_protection(ask: ForgeRequest) -> ForgeAnswer:
    rule = ask.forge.protection(ask.repo, ask.values["branch"])
    if rule is None:
        raise Refusal(404, "Branch not protected")
    return ForgeAnswer(200, _protection(ask, ask.values["branch"], rule))


@route("PUT", "/repos/{owner}/{repo}/branches/{branch*}/protection", role="admin", grant="administration:write")
def protect(ask: ForgeRequest) -> ForgeAnswer:
    branch = ask.values["branch"]
    if ask.git.branch(branch) is None:
        raise Refusal(404, "Branch not found")
    for name in ("required_status_checks", "enforce_admins", "required_pull_request_reviews", "restrictions"):
        if name not in ask.body:
            raise Refusal(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.')
    old = ask.store.one("protection", repo=ask.repo["id"], key=branch)
    if old:
        ask.store.remove(old)
    ask.store.add("protection", repo=ask.repo["id"], key=branch, rule=ask.body)
    for pull in ask.store.find("pull", repo=ask.repo["id"], base_ref=branch):
        ask.store.save({**pull, "looked": False})
    return ForgeAnswer(200, _protection(ask, branch, ask.body))


@route("DELETE", "/repos/{owner}/{repo}/branches/{branch*}/protection", role="admin", grant="administration:write")
def unprotect(ask: ForgeRequest) -> ForgeAnswer:
    rule = ask.store.one("protection", repo=ask.repo["id"], key=ask.values["branch"])
    if rule is None:
        raise Refusal(404, "Branch not protected")
    ask.store.remove(rule)
    return ForgeAnswer(204)


@route("GET", "/repos/{owner}/{repo}/branches/{branch*}", grant="contents:read")
def show_branch(ask: ForgeRequest) -> ForgeAnswer:
    name = ask.values["branch"]
    sha = ask.git.branch(name)
    if sha is None:
        raise Refusal(404, "Branch not found")
    rule = ask.forge.protection(ask.repo, name)
    at = f"{ask.views.at(ask.repo)}/branches/{quote(name)}"
    checks = (rule or {}).get("required_status_checks") or {}
    contexts = checks.get("contexts") or [check["context"] for check in checks.get("checks", [])]
    return ForgeAnswer(
        200,
        {
            "name": name,
            "commit": ask.views.commit(ask.repo, ask.git.commit(sha)),
            "_links": {"self": at, "html": f"{ask.views.html(ask.repo)}/tree/{quote(name)}"},
            "protected": rule is not None,
            "protection": {
                "enabled": rule is not None,
                "required_status_checks": {
                    "enforcement_level": "non_admins" if contexts else "off",
                    "contexts": contexts,
                    "checks": [{"context": context, "app_id": None} for context in contexts],
                },
            },
            "protection_url": at + "/protection",
        },
    )


@route("GET", "/repos/{owner}/{repo}/git/ref/{ref*}", grant="contents:read")
def show_ref(ask: ForgeRequest) -> ForgeAnswer:
    name = "refs/" + ask.values["ref"]
    sha = ask.git.refs().get(name)
    if sha is None:
        raise not_found()
    return ForgeAnswer(200, ask.views.ref(ask.repo, name, sha))


@route("GET", "/repos/{owner}/{repo}/git/matching-refs/{ref*}", grant="contents:read")
def list_matching_refs(ask: ForgeRequest) -> ForgeAnswer:
    start = "refs/" + ask.values["ref"]
    found = sorted((name, sha) for name, sha in ask.git.refs().items() if name.startswith(start))
    return ForgeAnswer(200, ask.page(found, lambda item: ask.views.ref(ask.repo, *item)))


@route("POST", "/repos/{owner}/{repo}/git/refs", role="write", grant="contents:write")
def create_ref(ask: ForgeRequest) -> ForgeAnswer:
    name, sha = ask.text("ref", "Reference"), ask.text("sha", "Reference")
    if not _STRICT_NAME.fullmatch(name):
        raise Refusal(422, f"{name} is not a valid ref name.")
    if ask.git.resolve(sha) != sha:
        raise Refusal(422, "Object does not exist")
    if name in ask.git.refs():
        raise Refusal(422, "Reference already exists")
    _move(ask, name, sha, ZERO)
    return ForgeAnswer(201, ask.views.ref(ask.repo, name, sha))


@route("PATCH", "/repos/{owner}/{repo}/git/refs/{ref*}", role="write", grant="contents:write")
def move_ref(ask: ForgeRequest) -> ForgeAnswer:
    """Without `force` only forward."""
    name, sha = "refs/" + ask.values["ref"], ask.text("sha", "Reference")
    old = ask.git.refs().get(name)
    if old is None:
        raise Refusal(422, "Reference does not exist")
    if ask.git.resolve(sha) != sha:
        raise Refusal(422, "Object does not exist")
    if not ask.body.get("force") and not ask.git.is_ancestor(old, sha):
        raise Refusal(422, "Update is not a fast forward")
    rule = ask.forge.protection(ask.repo, name.removeprefix("refs/heads/"))
    if rule and not rule.get("allow_force_pushes") and not ask.git.is_ancestor(old, sha):
        raise Refusal(422, "Cannot force-push to this branch")
    if rule and rule.get("required_pull_request_reviews") is not None:
        raise Refusal(422, "Changes must be made through a pull request.")
    _move(ask, name, sha, old)
    return ForgeAnswer(200, ask.views.ref(ask.repo, name, sha))


@route("DELETE", "/repos/{owner}/{repo}/git/refs/{ref*}", role="write", grant="contents:write")
def delete_ref(ask: ForgeRequest) -> ForgeAnswer:
    name = "refs/" + ask.values["ref"]
    before = ask.git.refs()
    if name not in before:
        raise Refusal(422, "Reference does not exist")
    rule = ask.forge.protection(ask.repo, name.removeprefix("refs/heads/"))
    if name == f"refs/heads/{ask.repo['default_branch']}" or (rule and not rule.get("allow_deletions")):
        raise Refusal(422, "Cannot delete this protected branch")
    ask.git.delete(name)
    ask.forge.after_push(ask.repo, before, ask.git.refs(), ask.actor)
    return ForgeAnswer(204)


def _move(ask: ForgeRequest, name: str, sha: str, old: str) -> None:
    before = ask.git.refs()
    try:
        ask.git.set(name, sha, old)
    except subprocess.CalledProcessError as err:
        raise Refusal(422, "Reference cannot be updated") from err
    ask.forge.after_push(ask.repo, before, ask.git.refs(), ask.actor)


def _short(ask: ForgeRequest, name: str) -> Doc:
    sha = ask.git.branch(name)
    protected = ask.forge.protection(ask.repo, name) is not None
    commit = {"sha": sha, "url": f"{ask.views.at(ask.repo)}/commits/{sha}"}
    return {"name": name, "commit": commit, "protected": protected}


def _protection(ask: ForgeRequest, branch: str, rule: Doc) -> Doc:
    at = f"{ask.views.at(ask.repo)}/branches/{quote(branch)}/protection"
    shown: Doc = {"url": at, "enforce_admins": {"url": at + "/enforce_admins", "enabled": bool(rule["enforce_admins"])}}
    checks = rule.get("required_status_checks")
    if checks:
        contexts = checks.get("contexts") or [check["context"] for check in checks.get("checks", [])]
        shown["required_status_checks"] = {
            "url": at + "/required_status_checks",
            "strict": bool(checks.get("strict")),
            "contexts": contexts,
            "contexts_url": at + "/required_status_checks/contexts",
            "checks": [{"context": context, "app_id": None} for context in contexts],
        }
    reviews = rule.get("required_pull_request_reviews")
    if reviews is not None:
        shown["required_pull_request_reviews"] = {
            "url": at + "/required_pull_request_reviews",
            "dismiss_stale_reviews": bool(reviews.get("dismiss_stale_reviews")),
            "require_code_owner_reviews": bool(reviews.get("require_code_owner_reviews")),
            "required_approving_review_count": reviews.get("required_approving_review_count", 1),
            "require_last_push_approval": bool(reviews.get("require_last_push_approval")),
        }
    for name in (
        "required_linear_history",
        "allow_force_pushes",
        "allow_deletions",
        "required_conversation_resolution",
    ):
        shown[name] = {"enabled": bool(rule.get(name))}
    return shown
