"""How GitLab shows what the forge remembers: https://docs.gitlab.com/api/."""

from typing import Any

from kits.fake_forge import access
from kits.fake_forge.ask import ForgeRequest
from kits.fake_forge.endpoints.pulls import results
from kits.fake_forge.git import Changed
from kits.fake_forge.store import Doc

LEVELS = {"none": 0, "read": 20, "triage": 20, "write": 30, "maintain": 40, "admin": 50}
"""https://docs.gitlab.com/api/access_requests/#valid-access-levels"""
DRAFTS = ("draft:", "[draft]", "(draft)")


def moment(ask: ForgeRequest) -> str:
    """Now, to the millisecond."""
    return ask.forge.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


def user(ask: ForgeRequest, login: str | None) -> Doc | None:
    found = ask.store.one("user", key=login) if login else None
    if found is None:
        return None
    name = found["login"]
    shown = {"id": found["id"], "username": name, "name": found.get("name") or name, "state": "active", "locked": False}
    return shown | {"avatar_url": None, "web_url": f"{ask.views.site}/{name}"}


def level(ask: ForgeRequest, login: str) -> int:
    return LEVELS[access.role_of(ask.store, login, ask.repo)]


def project(ask: ForgeRequest, repo: Doc) -> Doc:
    full = f"{repo['owner']}/{repo['name']}"
    shown = {"id": repo["id"], "name": repo["name"], "path": repo["name"], "path_with_namespace": full}
    shown |= {"default_branch": repo["default_branch"], "archived": repo["archived"], "visibility": "private"}
    shown |= {"web_url": f"{ask.views.site}/{full}", "http_url_to_repo": f"{ask.views.site}/{full}.git"}
    shown |= {
        "squash_option": repo.get("squash_option", "default_off"),
        "merge_method": repo.get("merge_method", "merge"),
    }
    shown |= {name: repo.get(name, False) for name in SETTINGS}
    return shown | {"created_at": repo["created_at"], "last_activity_at": repo["updated_at"]}


SETTINGS = ("only_allow_merge_if_pipeline_succeeds", "only_allow_merge_if_all_discussions_are_resolved")


ISSUES = 1_000_000
"""Issues have numbers of their own: what is remembered of them has theirs and so much."""


def labels(ask: ForgeRequest, one: Doc) -> list[str]:
    known = {each["id"]: each["name"] for each in ask.store.find("label", repo=ask.repo["id"])}
    return [known[identity] for identity in one["labels"] if identity in known]


def issue(ask: ForgeRequest, one: Doc) -> Doc:
    number = one["number"] - ISSUES
    at = f"{ask.views.site}/{ask.repo['owner']}/{ask.repo['name']}/-/issues/{number}"
    people = [user(ask, login) for login in one["assignees"]]
    shown = {"id": one["id"], "iid": number, "project_id": ask.repo["id"], "title": one["title"], "web_url": at}
    shown |= {"description": one["body"], "state": "opened" if one["state"] == "open" else "closed"}
    shown |= {"labels": labels(ask, one), "author": user(ask, one["user"]), "assignees": people, "type": "ISSUE"}
    shown |= {
        "assignee": people[0] if people else None,
        "confidential": bool(one.get("confidential")),
        "issue_type": "issue",
    }
    shown |= {"closed_by": user(ask, one.get("closed_by")), "closed_at": one.get("closed_at"), "milestone": None}
    return shown | {"created_at": one["created_at"], "updated_at": one["updated_at"]}


LABELLED = {"labeled": "add", "unlabeled": "remove"}


def label_event(ask: ForgeRequest, one: Doc) -> Doc:
    named = ask.store.one("label", repo=ask.repo["id"], name=one["more"]["label"]["name"])
    label = {name: named[name] for name in ("id", "name", "color", "description")} if named else None
    shown = {"id": one["id"], "user": user(ask, one["user"]), "created_at": one["created_at"], "label": label}
    is_issue = one["number"] > ISSUES
    return shown | {"resource_type": "Issue" if is_issue else "MergeRequest", "action": LABELLED[one["event"]]}


def said(ask: ForgeRequest, one: Doc) -> Doc:
    """An entry of what happened in a project. The note in it has no time of its last edit."""
    told = {name: value for name, value in note(ask, one).items() if name != "updated_at"}
    shown = {"id": one["id"], "project_id": ask.repo["id"], "action_name": "commented on", "target_type": "Note"}
    shown |= {"target_id": one["id"], "target_iid": one["id"], "title": None, "target_title": None, "note": told}
    return shown | {"author": told["author"], "author_username": one["user"], "created_at": one["created_at"]}


def is_draft(title: str) -> bool:
    return title.lstrip().casefold().startswith(DRAFTS)


def merge_request(ask: ForgeRequest, one: Doc, status: str) -> Doc:
    issue = ask.store.one("issue", repo=ask.repo["id"], number=one["number"])
    state = "merged" if one["merged_at"] else {"open": "opened"}.get(issue["state"], issue["state"])
    at = f"{ask.views.site}/{ask.repo['owner']}/{ask.repo['name']}/-/merge_requests/{one['number']}"
    shown = {
        "id": one["id"],
        "iid": one["number"],
        "project_id": ask.repo["id"],
        "title": issue["title"],
        "state": state,
    }
    shown |= {"description": issue["body"], "source_branch": one["head_ref"], "target_branch": one["base_ref"]}
    shown |= {"source_project_id": one["head_repo"], "target_project_id": ask.repo["id"], "sha": one["head_sha"]}
    shown |= {"draft": is_draft(issue["title"]), "author": user(ask, issue["user"]), "web_url": at}
    shown |= {"detailed_merge_status": status, "merge_user": user(ask, one["merged_by"]), "merged_at": one["merged_at"]}
    shown |= {"closed_by": user(ask, issue.get("closed_by") if state == "closed" else None)}
    shown |= {"labels": labels(ask, issue), "assignees": [user(ask, login) for login in issue["assignees"]]}
    shown |= {
        "diff_refs": diff_refs(ask, one),
        "merge_commit_sha": one["merge_sha"],
        "squash_commit_sha": one.get("squash_sha"),
    }
    shown |= {
        "reviewers": [user(ask, login) for login in one["requested_reviewers"]],
        "has_conflicts": status == "conflict",
    }
    return shown | {"created_at": issue["created_at"], "updated_at": issue["updated_at"]}


def diff_refs(ask: ForgeRequest, one: Doc) -> dict[str, str]:
    base = ask.git.merge_base(one["base_sha"], one["head_sha"]) or one["base_sha"]
    return {"base_sha": base, "start_sha": one["base_sha"], "head_sha": one["head_sha"]}


def diff(change: Changed) -> Doc:
    shown: dict[str, Any] = {"old_path": change.before or change.path, "new_path": change.path, "diff": change.patch}
    shown |= {"new_file": change.status == "added", "deleted_file": change.status == "removed"}
    return shown | {"renamed_file": change.status == "renamed", "collapsed": False, "too_large": False}


def merge_status(ask: ForgeRequest, one: Doc) -> str:
    """https://docs.gitlab.com/api/merge_requests/#merge-status"""
    issue = ask.store.one("issue", repo=ask.repo["id"], number=one["number"])
    if issue["state"] != "open":
        return "not_open"
    if not one["looked"]:
        return "checking"
    if is_draft(issue["title"]):
        return "draft_status"
    if ask.git.merge_trees(one["base_sha"], one["head_sha"]) is None:
        return "conflict"
    rules = ask.store.find("approval_rule", repo=ask.repo["id"])
    given = ask.store.find("approval", repo=ask.repo["id"], number=one["number"])
    if any(len(given) < rule["approvals_required"] for rule in rules):
        return "not_approved"
    if ask.repo.get(SETTINGS[1]) and any(
        not is_resolved(notes) for notes in discussions(ask, one) if notes[0]["place"]
    ):
        return "discussions_not_resolved"
    if ask.repo.get(SETTINGS[0]):
        states = set(results(ask, one["head_sha"]).values())
        if states & {"pending", "running"}:
            return "ci_still_running"
        if not states or states != {"success"}:
            return "ci_must_pass"
    return "mergeable"


def discussions(ask: ForgeRequest, one: Doc) -> list[list[Doc]]:
    found: dict[str, list[Doc]] = {}
    for note in ask.store.find("note", repo=ask.repo["id"], number=one["number"]):
        found.setdefault(note["discussion"], []).append(note)
    return list(found.values())


def is_resolved(notes: list[Doc]) -> bool:
    return all(note.get("resolved_by") for note in notes if note["place"])


def note(ask: ForgeRequest, one: Doc) -> Doc:
    shown = {"id": one["id"], "body": one["body"], "author": user(ask, one["user"]), "system": one["system"]}
    is_issue = one["number"] > ISSUES
    shown |= {"noteable_type": "Issue" if is_issue else "MergeRequest", "noteable_iid": one["number"] % ISSUES}
    shown |= {"type": "DiffNote" if one["place"] else None, "resolvable": bool(one["place"]), "internal": False}
    if one["place"]:
        place = one["place"]
        shown |= {"resolved": bool(one.get("resolved_by")), "resolved_by": user(ask, one.get("resolved_by"))}
        shown |= {"position": {"new_path": place["path"], "old_path": place["path"], "position_type": "text"}}
        shown["position"] |= {"new_line": place["line"], "old_line": None, "head_sha": place["head"]}
    return shown | {"created_at": one["created_at"], "updated_at": one["updated_at"]}


def status(ask: ForgeRequest, one: Doc) -> Doc:
    shown = {"id": one["id"], "sha": one["sha"], "ref": one.get("ref"), "status": one["state"], "name": one["context"]}
    shown |= {"description": one["description"], "target_url": one["target_url"], "author": user(ask, one["user"])}
    return shown | {"created_at": one["created_at"], "allow_failure": False, "coverage": None}


def deployment(ask: ForgeRequest, one: Doc) -> Doc:
    shown: dict[str, Any] = {
        "id": one["id"],
        "iid": one["id"],
        "sha": one["sha"],
        "ref": one["ref"],
        "status": one["state"],
    }
    shown |= {"environment": {"id": one["id"], "name": one["environment"]}, "user": user(ask, one["user"])}
    return shown | {"created_at": one["created_at"], "updated_at": one["created_at"]}
