"""Repositories, their commits, files and comparisons."""

import base64
import binascii
import subprocess
from typing import Any

from kits.fake_forge import access
from kits.fake_forge.answers import ForgeAnswer, Refusal, invalid, not_found
from kits.fake_forge.ask import ForgeRequest, route
from kits.fake_forge.git import Git
from kits.fake_forge.store import Doc


@route("GET", "/repos/{owner}/{repo}")
def show_repository(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, ask.views.repo_full(ask.repo))


@route("PATCH", "/repos/{owner}/{repo}", role="admin", grant="administration:write")
def change_repository(ask: ForgeRequest) -> ForgeAnswer:
    """Rename, archive, and what may be merged how; the old name still leads here."""
    repo = ask.repo
    if repo["archived"] and ask.body.get("archived") is not False:
        raise Refusal(403, access.READ_ONLY)
    name = ask.given("name", repo["name"])
    if name != repo["name"]:
        if ask.forge.find_repository(repo["owner"], name):
            raise invalid("Repository", field="name", code="custom", message="name already exists on this account")
        ask.store.add("moved", key=repo["key"], to=repo["id"])
        repo |= {"name": name, "key": f"{repo['owner']}/{name}".lower()}
    for field in ("archived", "private", "default_branch", "description", *_SETTINGS):
        if field in ask.body:
            repo[field] = ask.body[field]
    repo["updated_at"] = ask.forge.stamp()
    ask.store.save(repo)
    return ForgeAnswer(200, ask.views.repo_full(repo))


@route("POST", "/user/repos", grant="administration:write")
def create_repository(ask: ForgeRequest) -> ForgeAnswer:
    return _create(ask, ask.login)


@route("POST", "/orgs/{org}/repos", grant="administration:write")
def create_organization_repository(ask: ForgeRequest) -> ForgeAnswer:
    member = ask.store.one("membership", org=ask.values["org"], key=ask.login)
    if member is None:
        raise not_found()
    return _create(ask, ask.values["org"])


@route("POST", "/repos/{owner}/{repo}/forks")
def create_fork(ask: ForgeRequest) -> ForgeAnswer:
    """At once; GitHub makes it in the background."""
    if ask.actor.kind == "installation":
        raise Refusal(403, "Resource not accessible by integration")
    name = ask.body.get("name") or ask.repo["name"]
    fork = ask.forge.find_repository(ask.login, name)
    if fork is None:
        fork = ask.forge.add_repository(
            ask.login, name, private=ask.repo["private"], branch=ask.repo["default_branch"], fork_of=ask.repo
        )
    shown = ask.views.repo_full(fork)
    return ForgeAnswer(202, {**shown, "parent": ask.views.repo(ask.repo), "source": ask.views.repo(ask.repo)})


@route("GET", "/repos/{owner}/{repo}/commits", grant="contents:read")
def list_commits(ask: ForgeRequest) -> ForgeAnswer:
    start = ask.query.get("sha") or ask.repo["default_branch"]
    tip = ask.git.resolve(start)
    if tip is None:
        if not ask.git.refs():
            raise Refusal(409, "Git Repository is empty.")
        raise not_found()
    return ForgeAnswer(200, ask.page(ask.git.commits(tip), lambda commit: ask.views.commit(ask.repo, commit)))


@route("GET", "/repos/{owner}/{repo}/commits/{ref}/pulls", grant="pull_requests:read")
def list_pulls_of_commit(ask: ForgeRequest) -> ForgeAnswer:
    sha = known_commit(ask, ask.values["ref"])
    pulls = [
        pull
        for pull in ask.store.find("pull", repo=ask.repo["id"])
        if pull["merge_sha"] == sha
        or (ask.git.is_ancestor(sha, pull["head_sha"]) and not ask.git.is_ancestor(sha, pull["base_sha"]))
    ]
    return ForgeAnswer(200, ask.page(pulls, lambda pull: ask.views.pull_simple(ask.repo, pull)))


@route("GET", "/repos/{owner}/{repo}/commits/{ref*}", grant="contents:read")
def show_commit(ask: ForgeRequest) -> ForgeAnswer:
    sha = known_commit(ask, ask.values["ref"])
    commit = ask.git.commit(sha)
    changes = ask.git.changes(commit.parents[0] if commit.parents else _empty_tree(ask.git), sha)
    additions, deletions = sum(c.additions for c in changes), sum(c.deletions for c in changes)
    return ForgeAnswer(
        200,
        {
            **ask.views.commit(ask.repo, commit),
            "stats": {"additions": additions, "deletions": deletions, "total": additions + deletions},
            "files": [ask.views.file(ask.repo, sha, change) for change in changes],
        },
    )


@route("GET", "/repos/{owner}/{repo}/git/commits/{commit_sha}", grant="contents:read")
def show_git_commit(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, ask.views.git_commit(ask.repo, ask.git.commit(known_commit(ask, ask.values["commit_sha"]))))


@route("GET", "/repos/{owner}/{repo}/compare/{basehead*}", grant="contents:read")
def compare(ask: ForgeRequest) -> ForgeAnswer:
    base_name, _, head_name = ask.values["basehead"].partition("...")
    base, head = known_commit(ask, base_name, 404), known_commit(ask, head_name, 404)
    middle = ask.git.merge_base(base, head)
    if middle is None:
        raise Refusal(404, f"No common ancestor between {base_name} and {head_name}.")
    commits = ask.git.commits("--reverse", f"{middle}..{head}")
    behind = len(ask.git.commits(f"{middle}..{base}"))
    state = "identical" if base == head else "ahead" if not behind else "behind" if not commits else "diverged"
    html, at = ask.views.html(ask.repo), f"{ask.views.at(ask.repo)}/compare/{ask.values['basehead']}"
    web = f"{html}/compare/{ask.values['basehead']}"
    return ForgeAnswer(
        200,
        {
            "url": at,
            "html_url": web,
            "permalink_url": web,
            "diff_url": web + ".diff",
            "patch_url": web + ".patch",
            "base_commit": ask.views.commit(ask.repo, ask.git.commit(base)),
            "merge_base_commit": ask.views.commit(ask.repo, ask.git.commit(middle)),
            "status": state,
            "ahead_by": len(commits),
            "behind_by": behind,
            "total_commits": len(commits),
            "commits": ask.page([ask.views.commit(ask.repo, commit) for commit in commits]),
            "files": [ask.views.file(ask.repo, head, change) for change in ask.git.changes(middle, head)][:300],
        },
    )


@route("GET", "/repos/{owner}/{repo}/contents/{path*}", grant="contents:read")
def show_content(ask: ForgeRequest) -> ForgeAnswer:
    path = ask.values["path"].strip("/")
    commit = known_commit(ask, ask.query.get("ref") or ask.repo["default_branch"], 404)
    content = ask.git.read(commit, path)
    if content is None:
        raise not_found()
    return ForgeAnswer(200, _file(ask, path, commit, content, whole=True))


@route("PUT", "/repos/{owner}/{repo}/contents/{path*}", role="write", grant="contents:write")
def write_content(ask: ForgeRequest) -> ForgeAnswer:
    """One file, one commit on a branch; 409 if the file is not what the caller has seen."""
    path = ask.values["path"].strip("/")
    branch, tip, blob = _writes_to(ask, path)
    try:
        content = base64.b64decode(ask.text("content", "Content"), validate=False)
    except binascii.Error:
        raise Refusal(422, "content is not valid Base64") from None
    if blob and ask.body.get("sha") is None:
        raise Refusal(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
    sha = ask.git.write_file(tip, path, content, ask.text("message", "Content"), _who(ask))
    move_branch(ask, branch, sha)
    shown = _file(ask, path, sha, content, whole=False)
    return ForgeAnswer(
        200 if blob else 201, {"content": shown, "commit": ask.views.git_commit(ask.repo, ask.git.commit(sha))}
    )


@route("DELETE", "/repos/{owner}/{repo}/contents/{path*}", role="write", grant="contents:write")
def delete_content(ask: ForgeRequest) -> ForgeAnswer:
    path = ask.values["path"].strip("/")
    branch, tip, blob = _writes_to(ask, path)
    if not blob:
        raise not_found()
    sha = ask.git.write_file(tip, path, None, ask.text("message", "Content"), _who(ask))
    move_branch(ask, branch, sha)
    return ForgeAnswer(200, {"content": None, "commit": ask.views.git_commit(ask.repo, ask.git.commit(sha))})


def known_commit(ask: ForgeRequest, name: str, status: int = 422) -> str:
    """A commit by id, branch or tag; `status` if there is none."""
    sha = ask.git.resolve(name)
    if sha is None:
        raise not_found() if status == 404 else Refusal(422, f"No commit found for SHA: {name}")
    return sha


def move_branch(ask: ForgeRequest, branch: str, sha: str) -> None:
    """As a push does."""
    before = ask.git.refs()
    ask.git.set(f"refs/heads/{branch}", sha)
    ask.forge.after_push(ask.repo, before, ask.git.refs(), ask.actor)


def _create(ask: ForgeRequest, owner: str) -> ForgeAnswer:
    if ask.actor.kind == "installation" and owner == ask.login:
        raise Refusal(403, "Resource not accessible by integration")
    name = ask.text("name", "Repository")
    if ask.forge.find_repository(owner, name):
        raise invalid("Repository", field="name", code="custom", message="name already exists on this account")
    repo = ask.forge.add_repository(owner, name, private=bool(ask.body.get("private", False)))
    repo["description"] = ask.body.get("description")
    for field in _SETTINGS:
        repo[field] = ask.body.get(field, repo[field])
    ask.store.save(repo)
    if ask.body.get("auto_init"):
        git = ask.forge.git(repo)
        readme = f"# {name}\n".encode()
        git.set("refs/heads/main", git.write_file(None, "README.md", readme, "Initial commit", _who(ask)))
    return ForgeAnswer(201, ask.views.repo_full(repo), {"Location": ask.views.at(repo)})


_SETTINGS = ("allow_merge_commit", "allow_squash_merge", "allow_rebase_merge", "delete_branch_on_merge")


def _writes_to(ask: ForgeRequest, path: str) -> tuple[str, str | None, str | None]:
    """(branch, its tip, the file's blob there); refused if the caller has seen another one, or may not."""
    branch = ask.body.get("branch") or ask.repo["default_branch"]
    tip = ask.git.branch(branch)
    if tip is None and ask.git.refs():
        raise Refusal(404, f"Branch {branch} not found")
    refuse_protected(ask.forge.protection(ask.repo, branch))
    blob = _blob(ask.git, tip, path) if tip else None
    seen = ask.body.get("sha")
    if seen is not None and blob is not None and seen != blob:
        raise Refusal(409, f"{path} does not match {seen}")
    return branch, tip, blob


def refuse_protected(rule: Doc | None) -> None:
    """What a protected branch answers to a write past its pull requests."""
    if rule and rule.get("required_pull_request_reviews") is not None:
        raise Refusal(409, "Repository rule violations found\n\nChanges must be made through a pull request.\n\n")


def _blob(git: Git, tip: str, path: str) -> str | None:
    try:
        return git.run("rev-parse", "--verify", "--quiet", f"{tip}:{path}").strip()
    except subprocess.CalledProcessError:
        return None


def _file(ask: ForgeRequest, path: str, commit: str, content: bytes, *, whole: bool) -> dict[str, Any]:
    blob = _blob(ask.git, commit, path)
    at, html = (
        f"{ask.views.at(ask.repo)}/contents/{path}?ref={commit}",
        f"{ask.views.html(ask.repo)}/blob/{commit}/{path}",
    )
    git_at = f"{ask.views.at(ask.repo)}/git/blobs/{blob}"
    shown: dict[str, Any] = {
        "name": path.rsplit("/", 1)[-1],
        "path": path,
        "sha": blob,
        "size": len(content),
        "url": at,
        "html_url": html,
        "git_url": git_at,
        "download_url": html.replace("/blob/", "/raw/"),
        "type": "file",
        "_links": {"self": at, "git": git_at, "html": html},
    }
    if whole:
        shown |= {"content": base64.encodebytes(content).decode(), "encoding": "base64"}
    return shown


def _who(ask: ForgeRequest) -> dict[str, str]:
    return ask.forge.who(ask.login)


def _empty_tree(git: Git) -> str:
    return git.run("hash-object", "-w", "-t", "tree", "--stdin", given="").strip()
