"""How Forgejo shows what the forge remembers: the shapes of its swagger."""

import re
from typing import Any

from kits.fake_forge import access
from kits.fake_forge.ask import ForgeRequest
from kits.fake_forge.git import Changed
from kits.fake_forge.store import Doc

WIP = re.compile(r"(?i)(?:WIP:|\[WIP\])")
"""https://forgejo.org/docs/latest/admin/config-cheat-sheet/#repository---pull-request-repositorypull-request"""
WORDS = {"APPROVED": "APPROVED", "CHANGES_REQUESTED": "REQUEST_CHANGES", "COMMENTED": "COMMENT", "PENDING": "PENDING"}
PERMISSIONS = {"none": "none", "read": "read", "triage": "read", "write": "write", "maintain": "write"}
MERGES = {"allow_merge_commits": "merge_commit", "allow_rebase": "rebase_merge", "allow_squash_merge": "squash_merge"}


def user(ask: ForgeRequest, login: str | None) -> Doc | None:
    found = ask.store.one("user", key=login) if login else None
    if found is None:
        return None
    name = found["login"]
    shown = {"id": found["id"], "login": name, "login_name": "", "source_id": 0, "full_name": found.get("name") or ""}
    shown |= {"email": found["email"], "avatar_url": f"{ask.views.site}/avatars/{found['id']}", "language": ""}
    shown |= {"html_url": f"{ask.views.site}/{name}", "is_admin": False, "restricted": False, "active": False}
    shown |= {"prohibit_login": False, "location": "", "pronouns": "", "website": "", "description": ""}
    shown |= {"visibility": "public", "followers_count": 0, "following_count": 0, "starred_repos_count": 0}
    return shown | {"created": found["created_at"], "last_login": "0001-01-01T00:00:00Z"}


def permission(ask: ForgeRequest, login: str) -> str:
    """none, read, write, admin or owner: https://forgejo.org/docs/latest/user/repo-permissions/"""
    if login == ask.repo["owner"]:
        return "owner"
    return PERMISSIONS.get(role := access.role_of(ask.store, login, ask.repo), role)


def repository(ask: ForgeRequest, repo: Doc) -> Doc:
    full, site = f"{repo['owner']}/{repo['name']}", ask.views.site
    role = access.role_of(ask.store, ask.login, repo)
    shown = {"id": repo["id"], "name": repo["name"], "full_name": full, "owner": user(ask, repo["owner"])}
    shown |= {"private": repo["private"], "archived": repo["archived"], "default_branch": repo["default_branch"]}
    shown |= {"description": repo["description"] or "", "html_url": f"{site}/{full}", "clone_url": f"{site}/{full}.git"}
    shown |= {"url": f"{ask.views.api}/repos/{full}", "created_at": repo["created_at"]}
    shown |= {"updated_at": repo["updated_at"], "empty": not ask.forge.git(repo).refs(), "fork": bool(repo["parent"])}
    shown |= {"has_pull_requests": True, "default_merge_style": "merge", "object_format_name": "sha1"}
    shown |= {name: repo[f"allow_{setting}"] for name, setting in MERGES.items()}
    levels = {"admin": "admin", "push": "write", "pull": "read"}
    return shown | {"permissions": {name: access.has_role(role, level) for name, level in levels.items()}}


def pull(ask: ForgeRequest, one: Doc, mergeable: bool) -> Doc:
    issue = ask.store.one("issue", repo=ask.repo["id"], number=one["number"])
    at = f"{ask.views.site}/{ask.repo['owner']}/{ask.repo['name']}/pulls/{one['number']}"
    head_repo = ask.store.get("repository", one["head_repo"]) or ask.repo
    is_there = ask.forge.git(head_repo).branch(one["head_ref"]) is not None
    ends: dict[str, Any] = {
        "head": {"ref": one["head_ref"] if is_there else f"refs/pull/{one['number']}/head", "sha": one["head_sha"]},
        "base": {"ref": one["base_ref"], "sha": ask.git.branch(one["base_ref"]) or ""},
    }
    for name, repo in (("head", head_repo), ("base", ask.repo)):
        ends[name] |= {"label": one[f"{name}_ref"], "repo_id": repo["id"], "repo": repository(ask, repo)}
    shown = {"id": one["id"], "number": one["number"], "title": issue["title"], "body": issue["body"] or "", **ends}
    shown |= {"state": issue["state"], "draft": bool(WIP.match(issue["title"])), "user": user(ask, issue["user"])}
    shown |= {"url": at, "html_url": at, "diff_url": f"{at}.diff", "patch_url": f"{at}.patch", "is_locked": False}
    shown |= {"mergeable": mergeable, "merged": bool(one["merged_at"]), "merged_at": one["merged_at"]}
    shown |= {"merge_commit_sha": one["merge_sha"], "merged_by": user(ask, one["merged_by"]), "labels": []}
    shown |= {"merge_base": ask.git.merge_base(one["base_sha"], one["head_sha"]) or "", "milestone": None}
    shown |= {"requested_reviewers": [user(ask, login) for login in one["requested_reviewers"]], "assignees": None}
    shown |= {"created_at": issue["created_at"], "updated_at": issue["updated_at"], "assignee": None}
    return shown | {"closed_at": issue.get("closed_at"), "due_date": None, "pin_order": 0}


def changed_file(change: Changed) -> Doc:
    word = {"removed": "deleted", "modified": "changed"}.get(change.status, change.status)
    shown: dict[str, Any] = {"filename": change.path, "previous_filename": change.before or "", "status": word}
    sizes = {"additions": change.additions, "deletions": change.deletions}
    return (
        shown
        | sizes
        | {"changes": change.additions + change.deletions, "html_url": "", "contents_url": "", "raw_url": ""}
    )


def review(ask: ForgeRequest, one: Doc) -> Doc:
    comments = ask.store.find("review_comment", repo=ask.repo["id"], review=one["id"])
    head = ask.store.one("pull", repo=ask.repo["id"], number=one["number"])["head_sha"]
    was = one.get("was") or "APPROVED"
    shown = {"id": one["id"], "user": user(ask, one["user"]), "team": None, "body": one["body"]}
    shown |= {"state": WORDS[was if one["state"] == "DISMISSED" else one["state"]], "commit_id": one["commit"]}
    shown |= {
        "dismissed": one["state"] == "DISMISSED",
        "stale": one["commit"] != head,
        "official": is_official(ask, one),
    }
    shown |= {"comments_count": len(comments), "submitted_at": one["submitted_at"] or one["at"]}
    at = f"{ask.views.site}/{ask.repo['owner']}/{ask.repo['name']}/pulls/{one['number']}"
    return shown | {"updated_at": one["at"], "pull_request_url": at, "html_url": f"{at}#issuecomment-{one['id']}"}


def is_official(ask: ForgeRequest, one: Doc) -> bool:
    return bool(access.has_role(access.role_of(ask.store, one["user"], ask.repo), "write"))


def review_comment(ask: ForgeRequest, one: Doc) -> Doc:
    at = f"{ask.views.site}/{ask.repo['owner']}/{ask.repo['name']}/pulls/{one['number']}"
    new = one["side"] == "RIGHT"
    shown = {"id": one["id"], "body": one["body"], "user": user(ask, one["user"]), "path": one["path"]}
    shown |= {"position": one["original_line"] if new else 0, "original_position": 0 if new else one["original_line"]}
    shown |= {"resolver": user(ask, one.get("resolved_by")), "pull_request_review_id": one["review"]}
    shown |= {"commit_id": one["commit"], "original_commit_id": "", "diff_hunk": one["hunk"], "pull_request_url": at}
    shown |= {"html_url": f"{at}/files#issuecomment-{one['id']}", "created_at": one["created_at"]}
    return shown | {"updated_at": one["updated_at"]}


def issue(ask: ForgeRequest, one: Doc) -> Doc:
    """A pull request is one, too."""
    what = "pulls" if one["pull"] else "issues"
    full = f"{ask.repo['owner']}/{ask.repo['name']}"
    people = [user(ask, login) for login in one["assignees"]] or None
    said = ask.store.find("comment", repo=ask.repo["id"], number=one["number"])
    shown = {"id": one["id"], "number": one["number"], "title": one["title"], "body": one["body"] or "", "ref": ""}
    shown |= {"url": f"{ask.views.api}/repos/{full}/issues/{one['number']}", "assets": [], "milestone": None}
    shown |= {"html_url": f"{ask.views.site}/{full}/{what}/{one['number']}", "user": user(ask, one["user"])}
    shown |= {"original_author": "", "original_author_id": 0, "labels": labels(ask, one), "state": one["state"]}
    shown |= {"assignees": people, "assignee": people[0] if people else None, "is_locked": False, "pin_order": 0}
    shown |= {"comments": len(said), "created_at": one["created_at"], "updated_at": one["updated_at"]}
    owner = {"id": ask.repo["id"], "name": ask.repo["name"], "owner": ask.repo["owner"], "full_name": full}
    shown |= {"closed_at": one.get("closed_at"), "due_date": None, "pull_request": None, "repository": owner}
    if one["pull"]:
        pull = ask.store.one("pull", repo=ask.repo["id"], number=one["number"])
        merged = {"merged": bool(pull["merged_at"]), "merged_at": pull["merged_at"]}
        shown["pull_request"] = {**merged, "draft": bool(WIP.match(one["title"])), "html_url": shown["html_url"]}
    return shown


def labels(ask: ForgeRequest, one: Doc) -> list[Doc]:
    found = [ask.store.get("label", identity) for identity in one["labels"]]
    return [label(ask, each) for each in found if each]


def label(ask: ForgeRequest, one: Doc) -> Doc:
    at = f"{ask.views.api}/repos/{ask.repo['owner']}/{ask.repo['name']}/labels/{one['id']}"
    shown = {"id": one["id"], "name": one["name"], "color": one["color"], "description": one["description"] or ""}
    return shown | {"url": at, "exclusive": False, "is_archived": False}


def comment(ask: ForgeRequest, one: Doc) -> Doc:
    about = ask.store.one("issue", repo=ask.repo["id"], number=one["number"])
    what, name = ("pulls", "pull_request_url") if about["pull"] else ("issues", "issue_url")
    at = f"{ask.views.site}/{ask.repo['owner']}/{ask.repo['name']}/{what}/{one['number']}"
    shown = {"id": one["id"], "body": one["body"], "user": user(ask, one["user"]), "assets": []}
    shown |= {"html_url": f"{at}#issuecomment-{one['id']}", "pull_request_url": "", "issue_url": "", name: at}
    shown |= {"original_author": "", "original_author_id": 0}
    return shown | {"created_at": one["created_at"], "updated_at": one["updated_at"]}


KINDS = {
    "closed": "close", "reopened": "reopen", "renamed": "change_title", "merged": "merge_pull", "labeled": "label",
    "unlabeled": "label", "assigned": "assignees", "unassigned": "assignees",
}  # fmt: skip


def event(ask: ForgeRequest, one: Doc) -> Doc:
    """One entry of a timeline; a comment is one, too. That a text was edited is not told."""
    if one["kind"] == "comment":
        shown, more = {"type": "comment", "body": one["body"]}, Doc()
    else:
        more = one["more"]
        shown = {"type": KINDS.get(one["event"], one["event"]), "body": "1" if one["event"] == "labeled" else ""}
    rename, assignee = more.get("rename") or {}, more.get("assignee") or {}
    named = ask.store.one("label", repo=ask.repo["id"], name=more["label"]["name"]) if more.get("label") else None
    shown |= {"id": one["id"], "user": user(ask, one["user"]), "label": label(ask, named) if named else None}
    shown |= {"assignee": user(ask, assignee.get("login")), "removed_assignee": one.get("event") == "unassigned"}
    shown |= {"old_title": rename.get("from", ""), "new_title": rename.get("to", "")}
    return shown | {"created_at": one["created_at"], "updated_at": one["created_at"], "pull_request_url": ""}


def status(ask: ForgeRequest, one: Doc, number: int) -> Doc:
    """`number`: counted for each commit."""
    at = f"{ask.views.api}/repos/{ask.repo['owner']}/{ask.repo['name']}/statuses/{one['sha']}"
    shown = {"id": number, "context": one["context"], "status": one["state"], "description": one["description"] or ""}
    shown |= {"target_url": one["target_url"] or "", "creator": user(ask, one["user"]), "url": at}
    return shown | {"created_at": one["created_at"], "updated_at": one["created_at"]}


def branch(ask: ForgeRequest, name: str, sha: str) -> Doc:
    commit, rule = ask.git.commit(sha), rule_of(ask, name)
    author = {"name": commit.author, "email": commit.author_email, "username": ""}
    shown: Doc = {"id": sha, "message": commit.message, "url": "", "author": author, "committer": author}
    shown |= {"timestamp": commit.committed, "added": None, "removed": None, "modified": None, "verification": None}
    may = ask.writes
    told: Doc = {"name": name, "commit": shown, "protected": rule is not None, "user_can_merge": may}
    told |= {"user_can_push": may and rule is None, "effective_branch_protection_name": ""}
    rule = rule or {}
    told |= {"required_approvals": rule.get("required_approvals", 0)}
    contexts = rule.get("status_check_contexts", [])
    return told | {"enable_status_check": rule.get("enable_status_check", False), "status_check_contexts": contexts}


def rule_of(ask: ForgeRequest, name: str) -> Doc | None:
    found = ask.store.one("protection", repo=ask.repo["id"], key=name)
    return found["forgejo"] if found else None
