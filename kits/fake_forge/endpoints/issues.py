"""Issues, their comments and labels; a pull request is an issue too."""

from collections.abc import Callable
from typing import Any

from kits.fake_forge import access
from kits.fake_forge.answers import ForgeAnswer, Refusal, invalid, not_found
from kits.fake_forge.ask import ForgeRequest, route
from kits.fake_forge.store import Doc

LONGEST = 65_536
EITHER = "issues:write|pull_requests:write"
EITHER_READ = "issues:read|pull_requests:read"


@route("GET", "/repos/{owner}/{repo}/issues", grant=EITHER_READ)
def list_issues(ask: ForgeRequest) -> ForgeAnswer:
    """Pull requests among them; the newest first."""
    state = ask.query.get("state", "open")
    labels = [name for name in ask.query.get("labels", "").split(",") if name]
    since = ask.query.get("since", "")
    known = {label["id"]: label["name"].lower() for label in ask.store.find("label", repo=ask.repo["id"])}
    found: list[Doc] = []
    for issue in ask.store.find("issue", repo=ask.repo["id"], **({} if state == "all" else {"state": state})):
        names = {known.get(identity) for identity in issue["labels"]}
        if not all(label.lower() in names for label in labels) or issue["updated_at"] < since:
            continue
        if ask.query.get("creator", issue["user"]) != issue["user"]:
            continue
        assignee = ask.query.get("assignee", "")
        if assignee not in ("", "*") and assignee not in (issue["assignees"] or ["none"]):
            continue
        found.append(issue)
    order = {"created": "number", "updated": "updated_at"}.get(ask.query.get("sort", "created"), "number")
    found.sort(key=lambda issue: (issue[order], issue["number"]), reverse=ask.query.get("direction", "desc") == "desc")
    return ForgeAnswer(200, ask.page(found, lambda issue: ask.views.issue(ask.repo, issue)))


@route("POST", "/repos/{owner}/{repo}/issues", grant="issues:write")
def create_issue(ask: ForgeRequest) -> ForgeAnswer:
    """Labels and assignees of somebody who may not set them are left out without a word."""
    title, body = ask.text("title", "Issue"), ask.body.get("body")
    issue = add_issue(ask, title, body, pull=False)
    ask.forge.emit(ask.repo, "issues", ask.actor, "opened", issue=ask.views.issue(ask.repo, issue))
    if access.may(ask.store, ask.actor, ask.repo, "triage", "issues:write"):
        set_labels(ask, issue, [_label_name(label) for label in ask.body.get("labels", [])])
        assign(ask, issue, ask.body.get("assignees", []))
    return ForgeAnswer(
        201, ask.views.issue(ask.repo, issue), {"Location": f"{ask.views.at(ask.repo)}/issues/{issue['number']}"}
    )


@route("GET", "/repos/{owner}/{repo}/issues/comments", grant=EITHER_READ)
def list_all_comments(ask: ForgeRequest) -> ForgeAnswer:
    """By id, or by what `sort` says; a direction without it is ignored."""
    found = _since(ask, ask.store.find("comment", repo=ask.repo["id"]))
    if order := {"created": "created_at", "updated": "updated_at"}.get(ask.query.get("sort", "")):
        backwards = ask.query.get("direction", "asc") == "desc"
        found.sort(key=lambda comment: (comment[order], comment["id"]), reverse=backwards)
    return ForgeAnswer(200, ask.page(found, lambda comment: ask.views.comment(ask.repo, comment)))


@route("GET", "/repos/{owner}/{repo}/issues/{issue_number}", grant=EITHER_READ)
def show_issue(ask: ForgeRequest) -> ForgeAnswer:
    issue = the_issue(ask)
    shown = ask.views.issue(ask.repo, issue)
    return ForgeAnswer(200, {**shown, "closed_by": ask.views.user(issue.get("closed_by"))})


@route("PATCH", "/repos/{owner}/{repo}/issues/{issue_number}", grant=EITHER)
def change_issue(ask: ForgeRequest) -> ForgeAnswer:
    """Its author may change title, body and state; labels and assignees take triage."""
    issue = the_issue(ask)
    trusted = access.may(ask.store, ask.actor, ask.repo, "triage", EITHER)
    if not trusted and issue["user"] != ask.login:
        raise Refusal(403, "Must have admin rights to Repository.")
    change_text(ask, issue)
    if trusted:
        if "labels" in ask.body:
            set_labels(ask, issue, [_label_name(label) for label in ask.body["labels"] or []])
        if "assignees" in ask.body:
            assign(ask, issue, ask.body["assignees"] or [], replace=True)
    change_state(ask, issue, trusted=trusted)
    return ForgeAnswer(200, ask.views.issue(ask.repo, issue))


@route("GET", "/repos/{owner}/{repo}/issues/{issue_number}/events", grant=EITHER_READ)
def list_events(ask: ForgeRequest) -> ForgeAnswer:
    """Labels, titles, states and assignees that changed, the oldest first. Not that the text was edited: only GraphQL
    tells when that was last."""
    issue = the_issue(ask)
    found = ask.store.find("event", repo=ask.repo["id"], number=issue["number"])
    return ForgeAnswer(200, ask.page(found, lambda event: ask.views.event(ask.repo, event)))


@route("GET", "/repos/{owner}/{repo}/issues/{issue_number}/comments", grant=EITHER_READ)
def list_comments(ask: ForgeRequest) -> ForgeAnswer:
    issue = the_issue(ask)
    found = _since(ask, ask.store.find("comment", repo=ask.repo["id"], number=issue["number"]))
    return ForgeAnswer(200, ask.page(found, lambda comment: ask.views.comment(ask.repo, comment)))


@route("POST", "/repos/{owner}/{repo}/issues/{issue_number}/comments", grant=EITHER)
def create_comment(ask: ForgeRequest) -> ForgeAnswer:
    issue = the_issue(ask)
    if issue.get("locked") and not access.may(ask.store, ask.actor, ask.repo, "write", EITHER):
        raise Refusal(403, "Unable to create comment because issue is locked.")
    comment = ask.store.add(
        "comment",
        repo=ask.repo["id"],
        number=issue["number"],
        user=ask.login,
        body=checked_body(ask, "IssueComment"),
        app=ask.actor.app["id"] if ask.actor.app else None,
        created_at=ask.forge.stamp(),
        updated_at=ask.forge.stamp(),
    )
    touch(ask, issue)
    _tell_comment(ask, issue, comment, "created")
    shown = ask.views.comment(ask.repo, comment)
    return ForgeAnswer(201, shown, {"Location": shown["url"]})


@route("GET", "/repos/{owner}/{repo}/issues/comments/{comment_id}", grant=EITHER_READ)
def show_comment(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, ask.views.comment(ask.repo, _comment(ask)))


@route("PATCH", "/repos/{owner}/{repo}/issues/comments/{comment_id}", grant=EITHER)
def edit_comment(ask: ForgeRequest) -> ForgeAnswer:
    comment = _own(ask, _comment(ask))
    before = comment["body"]
    comment["body"], comment["updated_at"] = checked_body(ask, "IssueComment"), ask.forge.stamp()
    ask.store.save(comment)
    issue = ask.store.one("issue", repo=ask.repo["id"], number=comment["number"])
    touch(ask, issue)
    _tell_comment(ask, issue, comment, "edited", changes={"body": {"from": before}})
    return ForgeAnswer(200, ask.views.comment(ask.repo, comment))


@route("DELETE", "/repos/{owner}/{repo}/issues/comments/{comment_id}", grant=EITHER)
def delete_comment(ask: ForgeRequest) -> ForgeAnswer:
    comment = _own(ask, _comment(ask))
    issue = ask.store.one("issue", repo=ask.repo["id"], number=comment["number"])
    _tell_comment(ask, issue, comment, "deleted")
    ask.store.remove(comment)
    return ForgeAnswer(204)


@route("POST", "/repos/{owner}/{repo}/issues/comments/{comment_id}/reactions", grant=EITHER)
def react_to_comment(ask: ForgeRequest) -> ForgeAnswer:
    return _react(ask, _comment(ask))


@route("POST", "/repos/{owner}/{repo}/issues/{issue_number}/reactions", grant=EITHER)
def react_to_issue(ask: ForgeRequest) -> ForgeAnswer:
    return _react(ask, the_issue(ask))


@route("GET", "/repos/{owner}/{repo}/issues/{issue_number}/labels", grant=EITHER_READ)
def list_labels_of(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, ask.page(ask.views.labels(ask.repo, the_issue(ask))))


@route("POST", "/repos/{owner}/{repo}/issues/{issue_number}/labels", role="triage", grant=EITHER)
def add_labels(ask: ForgeRequest) -> ForgeAnswer:
    issue = the_issue(ask)
    known = {label["id"]: label["name"] for label in ask.store.find("label", repo=ask.repo["id"])}
    set_labels(ask, issue, [known[identity] for identity in issue["labels"]] + _labels_asked(ask))
    return ForgeAnswer(200, ask.views.labels(ask.repo, issue))


@route("PUT", "/repos/{owner}/{repo}/issues/{issue_number}/labels", role="triage", grant=EITHER)
def replace_labels(ask: ForgeRequest) -> ForgeAnswer:
    issue = the_issue(ask)
    set_labels(ask, issue, _labels_asked(ask))
    return ForgeAnswer(200, ask.views.labels(ask.repo, issue))


@route("DELETE", "/repos/{owner}/{repo}/issues/{issue_number}/labels/{name}", role="triage", grant=EITHER)
def remove_label(ask: ForgeRequest) -> ForgeAnswer:
    issue = the_issue(ask)
    label = _label(ask, ask.values["name"])
    if label is None or label["id"] not in issue["labels"]:
        raise Refusal(404, "Label does not exist")
    names = {known["id"]: known["name"] for known in ask.store.find("label", repo=ask.repo["id"])}
    set_labels(ask, issue, [names[identity] for identity in issue["labels"] if identity != label["id"]])
    return ForgeAnswer(200, ask.views.labels(ask.repo, issue))


@route("POST", "/repos/{owner}/{repo}/issues/{issue_number}/assignees", role="triage", grant=EITHER)
def add_assignees(ask: ForgeRequest) -> ForgeAnswer:
    issue = the_issue(ask)
    assign(ask, issue, ask.body.get("assignees", []))
    return ForgeAnswer(201, ask.views.issue(ask.repo, issue))


@route("DELETE", "/repos/{owner}/{repo}/issues/{issue_number}/assignees", role="triage", grant=EITHER)
def remove_assignees(ask: ForgeRequest) -> ForgeAnswer:
    issue = the_issue(ask)
    gone = ask.body.get("assignees", [])
    assign(ask, issue, [login for login in issue["assignees"] if login not in gone], replace=True)
    return ForgeAnswer(200, ask.views.issue(ask.repo, issue))


@route("GET", "/repos/{owner}/{repo}/labels", grant=EITHER_READ)
def list_labels(ask: ForgeRequest) -> ForgeAnswer:
    labels = ask.store.find("label", repo=ask.repo["id"])
    return ForgeAnswer(200, ask.page(labels, lambda label: ask.views.label(ask.repo, label)))


@route("POST", "/repos/{owner}/{repo}/labels", role="write", grant=EITHER)
def create_label(ask: ForgeRequest) -> ForgeAnswer:
    name = ask.text("name", "Label")
    if _label(ask, name):
        raise invalid("Label", field="name", code="already_exists")
    label = add_label(ask, name, ask.body.get("color"), ask.body.get("description"))
    return ForgeAnswer(201, ask.views.label(ask.repo, label), {"Location": f"{ask.views.at(ask.repo)}/labels/{name}"})


@route("GET", "/repos/{owner}/{repo}/labels/{name}", grant=EITHER_READ)
def show_label(ask: ForgeRequest) -> ForgeAnswer:
    label = _label(ask, ask.values["name"])
    if label is None:
        raise not_found()
    return ForgeAnswer(200, ask.views.label(ask.repo, label))


# what pull requests share


def the_issue(ask: ForgeRequest) -> Doc:
    """The issue of the path."""
    found: Doc | None = ask.store.one("issue", repo=ask.repo["id"], number=ask.number("issue_number"))
    if found is None:
        raise not_found()
    return found


def add_issue(ask: ForgeRequest, title: str, body: str | None, *, pull: bool) -> Doc:
    if len(body or "") > LONGEST:
        raise invalid(
            "Issue", field="body", code="custom", message=f"body is too long (maximum is {LONGEST} characters)"
        )
    if not title.strip():
        raise invalid("Issue", field="title", code="missing_field")
    now = ask.forge.stamp()
    issue: Doc = ask.store.add(
        "issue",
        repo=ask.repo["id"],
        number=ask.forge.next_number(ask.repo),
        title=title,
        body=body,
        user=ask.login,
        app=ask.actor.app["id"] if ask.actor.app else None,
        state="open",
        pull=pull,
        labels=[],
        assignees=[],
        created_at=now,
        updated_at=now,
    )
    return issue


def change_text(ask: ForgeRequest, issue: Doc) -> None:
    """Title and body, and the event that tells what they were."""
    changes = {}
    for name in ("title", "body"):
        if name in ask.body and ask.body[name] != issue[name]:
            if name == "body" and len(ask.body[name] or "") > LONGEST:
                message = f"body is too long (maximum is {LONGEST} characters)"
                raise invalid("Issue", field="body", code="custom", message=message)
            changes[name] = {"from": issue[name] or ""}
            if name == "title":
                rename = {"from": issue[name], "to": ask.body[name]}
                ask.forge.note(ask.repo, issue, ask.actor, "renamed", rename=rename)
            else:
                issue["edited_at"], issue["editor"] = ask.forge.stamp(), ask.login
            issue[name] = ask.body[name]
    if changes:
        touch(ask, issue)
        _tell(ask, issue, "edited", changes=changes)


def change_state(ask: ForgeRequest, issue: Doc, *, trusted: bool) -> None:
    state = ask.body.get("state", issue["state"])
    if state not in ("open", "closed"):
        raise invalid("Issue", field="state", code="invalid")
    if state == issue["state"]:
        return
    if state == "closed":
        issue["closed_by"] = ask.login
        ask.forge.close(ask.repo, issue, ask.actor, ask.body.get("state_reason") or "completed")
        return
    if not trusted and issue.get("closed_by") != ask.login:
        raise Refusal(403, "Must have push access to repository")
    issue |= {
        "state": "open",
        "closed_at": None,
        "closed_by": None,
        "state_reason": None if issue["pull"] else "reopened",
    }
    touch(ask, issue)
    ask.forge.note(ask.repo, issue, ask.actor, "reopened")
    _tell(ask, issue, "reopened")


def set_labels(ask: ForgeRequest, issue: Doc, names: list[str]) -> None:
    """These labels and no others; one that the repository has not is made. One event for each."""
    before, after = set(issue["labels"]), []
    for name in names:
        label = _label(ask, name) or add_label(ask, name, None, None)
        if label["id"] not in after:
            after.append(label["id"])
    issue["labels"] = after
    if before == set(after):
        return
    touch(ask, issue)
    known = {label["id"]: label for label in ask.store.find("label", repo=ask.repo["id"])}
    for action, changed in (("labeled", set(after) - before), ("unlabeled", before - set(after))):
        for identity in sorted(changed):
            named = {name: known[identity][name] for name in ("name", "color")}
            ask.forge.note(ask.repo, issue, ask.actor, action, label=named)
            _tell(ask, issue, action, label=ask.views.label(ask.repo, known[identity]))


def add_label(ask: ForgeRequest, name: str, color: str | None, description: str | None) -> Doc:
    label: Doc = ask.store.add(
        "label", repo=ask.repo["id"], key=name.lower(), name=name, color=color or "ededed", description=description
    )
    return label


def checked_body(ask: ForgeRequest, resource: str) -> str:
    body = ask.text("body", resource)
    if not body.strip():
        raise invalid(resource, field="body", code="missing_field")
    if len(body) > LONGEST:
        message = f"body is too long (maximum is {LONGEST} characters)"
        raise invalid(resource, field="body", code="custom", message=message)
    return body


def _tell(ask: ForgeRequest, issue: Doc, action: str, **more: Any) -> None:
    if issue["pull"]:
        pull = ask.store.one("pull", repo=ask.repo["id"], number=issue["number"])
        shown = ask.views.pull(ask.repo, pull, pull["mergeable"], "unknown")
        ask.forge.emit(ask.repo, "pull_request", ask.actor, action, number=issue["number"], pull_request=shown, **more)
    else:
        ask.forge.emit(ask.repo, "issues", ask.actor, action, issue=ask.views.issue(ask.repo, issue), **more)


def _tell_comment(ask: ForgeRequest, issue: Doc, comment: Doc, action: str, **more: Any) -> None:
    shown = ask.views.comment(ask.repo, comment)
    ask.forge.emit(
        ask.repo, "issue_comment", ask.actor, action, issue=ask.views.issue(ask.repo, issue), comment=shown, **more
    )


def touch(ask: ForgeRequest, issue: Doc) -> None:
    issue["updated_at"] = ask.forge.stamp()
    ask.store.save(issue)


def assign(ask: ForgeRequest, issue: Doc, logins: list[str], *, replace: bool = False) -> None:
    """Those who can be: the others are left out without a word."""
    wanted = [] if replace else list(issue["assignees"])
    for login in logins:
        known = ask.store.one("user", key=login)
        if known and login not in wanted and access.has_role(access.role_of(ask.store, login, ask.repo), "triage"):
            wanted.append(login)
    before = issue["assignees"]
    issue["assignees"] = wanted
    if before == wanted:
        return
    touch(ask, issue)
    for action, changed in (
        ("assigned", [one for one in wanted if one not in before]),
        ("unassigned", [one for one in before if one not in wanted]),
    ):
        for login in changed:
            who = {"assignee": ask.views.user(login), "assigner": ask.views.user(ask.login)}
            ask.forge.note(ask.repo, issue, ask.actor, action, **who)
            _tell(ask, issue, action, assignee=ask.views.user(login))


def _since(ask: ForgeRequest, comments: list[Doc]) -> list[Doc]:
    since = ask.query.get("since", "")
    key: Callable[[Doc], Any] = lambda comment: comment["id"]  # noqa: E731
    return sorted((comment for comment in comments if comment["updated_at"] >= since), key=key)


def _comment(ask: ForgeRequest) -> Doc:
    found: Doc | None = ask.store.get("comment", ask.number("comment_id"))
    if found is None or found["repo"] != ask.repo["id"]:
        raise not_found()
    return found


def _own(ask: ForgeRequest, comment: Doc) -> Doc:
    """Edited and deleted by its author, and by who may write."""
    if comment["user"] != ask.login and not access.may(ask.store, ask.actor, ask.repo, "write", EITHER):
        raise Refusal(403, "Must have admin rights to Repository.")
    return comment


def _react(ask: ForgeRequest, doc: Doc) -> ForgeAnswer:
    content = ask.text("content", "Reaction")
    if content not in ("+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"):
        raise invalid("Reaction", field="content", code="invalid")
    found = ask.store.one("reaction", key=str(doc["id"]), user=ask.login, content=content)
    reaction = found or ask.store.add(
        "reaction", key=str(doc["id"]), user=ask.login, content=content, created_at=ask.forge.stamp()
    )
    from kits.fake_forge.views import node_id

    shown = {name: reaction[name] for name in ("id", "content", "created_at")}
    shown |= {"node_id": node_id(reaction), "user": ask.views.user(reaction["user"])}
    return ForgeAnswer(200 if found else 201, shown)


def _label(ask: ForgeRequest, name: str) -> Doc | None:
    found: Doc | None = ask.store.one("label", repo=ask.repo["id"], key=name.lower())
    return found


def _label_name(label: Any) -> str:
    return str(label["name"] if isinstance(label, dict) else label)


def _labels_asked(ask: ForgeRequest) -> list[str]:
    asked = ask.body.get("labels", []) if isinstance(ask.body, dict) else ask.body
    return [_label_name(label) for label in asked]
