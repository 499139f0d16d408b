"""Forgejo's REST of issues: labels, assignees, comments and the timeline. A pull request is an issue, too."""

from functools import partial

from kits.fake_forge import ask as table
from kits.fake_forge.answers import ForgeAnswer, Refusal, not_found
from kits.fake_forge.ask import ForgeRequest
from kits.fake_forge.endpoints import issues
from kits.fake_forge.forgejo import shapes
from kits.fake_forge.forgejo.endpoints import REPO, ROUTES, is_admin, paged
from kits.fake_forge.store import Doc

route = partial(table.route, into=ROUTES)
ISSUE = REPO + "/issues/{index}"
READ, WRITE = "issue:read", "issue:write"
SORTED = {"leastupdate": ("updated_at", False), "recentupdate": ("updated_at", True), "oldest": ("number", False)}


@route("GET", REPO + "/issues", grant=READ)
def list_issues(ask: ForgeRequest) -> ForgeAnswer:
    """Pull requests among them. A label that the repository has not is no filter."""
    state, kind, since = ask.query.get("state", "open"), ask.query.get("type", ""), ask.query.get("since", "")
    names = [name for name in ask.query.get("labels", "").split(",") if name]
    wanted = {one["id"] for one in ask.store.find("label", repo=ask.repo["id"]) if one["name"] in names}
    person = ask.query.get("assigned_by")
    found = []
    for one in ask.store.find("issue", repo=ask.repo["id"], **({} if state == "all" else {"state": state})):
        if kind and (kind == "pulls") != one["pull"]:
            continue
        if wanted <= set(one["labels"]) and one["updated_at"] >= since and person in (None, *one["assignees"]):
            found.append(one)
    field, backwards = SORTED.get(ask.query.get("sort", ""), ("number", True))
    found.sort(key=lambda one: (one[field], one["number"]), reverse=backwards)
    return paged(ask, found, lambda one: shapes.issue(ask, one))


@route("POST", REPO + "/issues", grant=WRITE)
def create_issue(ask: ForgeRequest) -> ForgeAnswer:
    if not ask.given("title", "").strip():
        raise Refusal(422, "[Title]: Required")
    return ForgeAnswer(
        201, shapes.issue(ask, issues.add_issue(ask, ask.body["title"], ask.body.get("body"), pull=False))
    )


@route("GET", ISSUE, grant=READ)
def show_issue(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, shapes.issue(ask, the_issue(ask)))


@route("PATCH", ISSUE, grant=WRITE)
def change_issue(ask: ForgeRequest) -> ForgeAnswer:
    """By its poster, and by who may write."""
    issue = the_issue(ask)
    if issue["user"] != ask.login and not ask.writes:
        raise Refusal(403, "")
    issues.change_text(ask, issue)
    if ask.writes and "assignees" in ask.body:
        issues.assign(ask, issue, ask.body["assignees"] or [], replace=True)
    issues.change_state(ask, issue, trusted=ask.writes)
    return ForgeAnswer(201, shapes.issue(ask, issue))


@route("DELETE", ISSUE, role="admin", grant=WRITE)
def delete_issue(ask: ForgeRequest) -> ForgeAnswer:
    ask.store.remove(the_issue(ask))
    return ForgeAnswer(204)


# labels


@route("GET", REPO + "/labels", grant=READ)
def list_labels(ask: ForgeRequest) -> ForgeAnswer:
    return paged(ask, ask.store.find("label", repo=ask.repo["id"]), lambda one: shapes.label(ask, one))


@route("POST", REPO + "/labels", role="write", grant=WRITE)
def create_label(ask: ForgeRequest) -> ForgeAnswer:
    made = issues.add_label(ask, ask.given("name", ""), ask.given("color", "").lstrip("#"), None)
    return ForgeAnswer(201, shapes.label(ask, made))


@route("POST", ISSUE + "/labels", role="write", grant=WRITE)
def add_labels(ask: ForgeRequest) -> ForgeAnswer:
    """By number or by name; those that the repository has not are left out."""
    issue, known = the_issue(ask), ask.store.find("label", repo=ask.repo["id"])
    asked = ask.body.get("labels") or []
    named = [one["name"] for one in known if {one["id"], one["name"]} & set(asked) or one["id"] in issue["labels"]]
    issues.set_labels(ask, issue, named)
    return ForgeAnswer(200, shapes.labels(ask, issue))


@route("DELETE", ISSUE + "/labels/{identifier}", role="write", grant=WRITE)
def remove_label(ask: ForgeRequest) -> ForgeAnswer:
    issue = the_issue(ask)
    word = ask.values["identifier"]
    known = [one for one in ask.store.find("label", repo=ask.repo["id"]) if one["id"] in issue["labels"]]
    left = [one["name"] for one in known if word not in (one["name"], str(one["id"]))]
    if len(left) == len(known):
        raise Refusal(422, f"label does not exist [label_id: 0, repo_id: {ask.repo['id']}]")
    issues.set_labels(ask, issue, left)
    return ForgeAnswer(204)


# what is said there


@route("GET", REPO + "/issues/comments", grant=READ)
def list_all_comments(ask: ForgeRequest) -> ForgeAnswer:
    """Of all issues and pull requests, the oldest first, whatever was edited since."""
    since = ask.query.get("since", "")
    found = [one for one in ask.store.find("comment", repo=ask.repo["id"]) if one["updated_at"] >= since]
    return paged(ask, found, lambda one: shapes.comment(ask, one))


@route("GET", ISSUE + "/comments", grant=READ)
def list_comments(ask: ForgeRequest) -> ForgeAnswer:
    """All of them: this list has no pages."""
    found = ask.store.find("comment", repo=ask.repo["id"], number=the_issue(ask)["number"])
    return ForgeAnswer(200, [shapes.comment(ask, one) for one in found])


@route("POST", ISSUE + "/comments", grant=WRITE)
def create_comment(ask: ForgeRequest) -> ForgeAnswer:
    issue, now, body = the_issue(ask), ask.forge.stamp(), ask.given("body", "")
    if not body.strip():
        raise Refusal(422, "[Body]: Required")
    made = {"user": ask.login, "body": body, "app": None, "created_at": now, "updated_at": now}
    comment = ask.store.add("comment", repo=ask.repo["id"], number=issue["number"], **made)
    ask.store.save(issue | {"updated_at": now})
    return ForgeAnswer(201, shapes.comment(ask, comment))


@route("PATCH", REPO + "/issues/comments/{id}", grant=WRITE)
def change_comment(ask: ForgeRequest) -> ForgeAnswer:
    comment = ask.store.get("comment", ask.number("id"))
    if comment is None or comment["repo"] != ask.repo["id"]:
        raise not_found()
    if comment["user"] != ask.login and not is_admin(ask):
        raise Refusal(403, "")
    comment |= {"body": ask.given("body", ""), "updated_at": ask.forge.stamp()}
    return ForgeAnswer(200, shapes.comment(ask, ask.store.save(comment)))


@route("GET", ISSUE + "/timeline", grant=READ)
def list_timeline(ask: ForgeRequest) -> ForgeAnswer:
    """What happened and what was said, the oldest first."""
    where = {"repo": ask.repo["id"], "number": the_issue(ask)["number"]}
    found = sorted([*ask.store.find("event", **where), *ask.store.find("comment", **where)], key=lambda one: one["id"])
    return paged(ask, found, lambda one: shapes.event(ask, one))


def the_issue(ask: ForgeRequest) -> Doc:
    found: Doc | None = ask.store.one("issue", repo=ask.repo["id"], number=ask.number("index"))
    if found is None:
        raise not_found()
    return found
