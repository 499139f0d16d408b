"""GitLab's REST: what merge requests, approvals, statuses and deployments need. Its words are those of
https://gitlab.com/gitlab-org/gitlab, below lib/api, and of https://docs.gitlab.com/api/."""

import secrets
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from domain.diffs import files_of
from kits.fake_forge import access
from kits.fake_forge import ask as table
from kits.fake_forge.answers import ForgeAnswer, ForgeRoute, Refusal, not_found
from kits.fake_forge.ask import ForgeRequest
from kits.fake_forge.endpoints import issues
from kits.fake_forge.endpoints.repositories import move_branch
from kits.fake_forge.git import Changed
from kits.fake_forge.gitlab import shapes
from kits.fake_forge.store import Doc

ROUTES: list[ForgeRoute] = []
route = partial(table.route, into=ROUTES)
PROJECT = "/projects/{id}"
MINE = PROJECT + "/merge_requests/{iid}"
READ, WRITE = "api:read", "api:write"
STATES = ("pending", "running", "success", "failed", "canceled", "skipped")
UNDER_WAY = ("pending", "running")


@route("GET", "/user", grant=READ)
def show_me(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, {**(shapes.user(ask, ask.login) or {}), "bot": False})


@route("GET", "/users", grant=READ)
def find_users(ask: ForgeRequest) -> ForgeAnswer:
    found = shapes.user(ask, ask.query.get("username"))
    return ForgeAnswer(200, [found] if found else [])


@route("GET", "/users/{user}", grant=READ)
def show_user(ask: ForgeRequest) -> ForgeAnswer:
    found = ask.store.get("user", ask.number("user"))
    if found is None:
        raise Refusal(404, "404 User Not Found")
    return ForgeAnswer(200, {**(shapes.user(ask, found["login"]) or {}), "bot": found["type"] == "Bot"})


@route("GET", PROJECT, grant=READ)
def show_project(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, shapes.project(ask, ask.repo))


@route("PUT", PROJECT, role="maintain", grant=WRITE)
def change_project(ask: ForgeRequest) -> ForgeAnswer:
    """Rename, and how merge requests are merged; the old path still leads here."""
    repo = ask.repo
    name = ask.given("path", repo["name"])
    if name != repo["name"]:
        ask.store.add("moved", key=repo["key"], to=repo["id"])
        repo |= {"name": name, "key": f"{repo['owner']}/{name}".lower()}
    repo |= {
        field: ask.body[field] for field in (*shapes.SETTINGS, "squash_option", "merge_method") if field in ask.body
    }
    ask.store.save(repo)
    return ForgeAnswer(200, shapes.project(ask, repo))


@route("POST", PROJECT + "/archive", role="admin", grant=WRITE)
def archive(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(201, shapes.project(ask, ask.store.save({**ask.repo, "archived": True})))


@route("POST", PROJECT + "/unarchive", role="admin", grant=WRITE)
def unarchive(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(201, shapes.project(ask, ask.store.save({**ask.repo, "archived": False})))


@route("POST", PROJECT + "/fork", grant=WRITE)
def fork(ask: ForgeRequest) -> ForgeAnswer:
    """At once; GitLab makes it in the background."""
    made = ask.forge.add_repository(
        ask.login, ask.repo["name"], private=ask.repo["private"], branch=ask.repo["default_branch"], fork_of=ask.repo
    )
    return ForgeAnswer(201, shapes.project(ask, made))


@route("GET", PROJECT + "/members/all/{user}", grant=READ)
def show_member(ask: ForgeRequest) -> ForgeAnswer:
    found = ask.store.get("user", ask.number("user"))
    level = shapes.level(ask, found["login"]) if found else 0
    if found is None or not level:
        raise Refusal(404, "404 Member Not Found")
    return ForgeAnswer(200, {**(shapes.user(ask, found["login"]) or {}), "access_level": level, "expires_at": None})


# issues, and what they share with merge requests


@route("GET", PROJECT + "/issues", grant=READ)
def list_issues(ask: ForgeRequest) -> ForgeAnswer:
    found = [one for one in ask.store.find("issue", repo=ask.repo["id"], pull=False) if is_wanted(ask, one)]
    return paged(ask, ordered(ask, [shapes.issue(ask, one) for one in found]))


@route("POST", PROJECT + "/issues", grant=WRITE)
def create_issue(ask: ForgeRequest) -> ForgeAnswer:
    if not ask.given("title", "").strip():
        raise Refusal(400, "title is missing")
    made = issues.add_issue(ask, ask.body["title"], ask.body.get("description"), pull=False)
    ask.store.save({**(ask.store.get("repository", ask.repo["id"]) or ask.repo), "numbers": made["number"] - 1})
    number = shapes.ISSUES + len(ask.store.find("issue", repo=ask.repo["id"], pull=False))
    more = {"number": number, "confidential": bool(ask.body.get("confidential"))}
    return ForgeAnswer(201, shapes.issue(ask, ask.store.save({**made, **more})))


@route("GET", PROJECT + "/issues/{iid}", grant=READ)
def show_issue(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, shapes.issue(ask, about(ask)))


@route("PUT", PROJECT + "/issues/{iid}", grant=WRITE)
def change_issue(ask: ForgeRequest) -> ForgeAnswer:
    """By its author, and from Reporter on."""
    issue = about(ask)
    if issue["user"] != ask.login and not access.has_role(access.role_of(ask.store, ask.login, ask.repo), "triage"):
        raise Refusal(403, "403 Forbidden")
    change(ask, issue)
    return ForgeAnswer(200, shapes.issue(ask, issue))


@route("DELETE", PROJECT + "/issues/{iid}", role="admin", grant=WRITE)
def delete_issue(ask: ForgeRequest) -> ForgeAnswer:
    ask.store.remove(about(ask))
    return ForgeAnswer(204)


@route("GET", PROJECT + "/events", grant=READ)
def list_events(ask: ForgeRequest) -> ForgeAnswer:
    """What was said, by whom and where; at lines of a change it is of another kind. Not whether it was edited. `after`
    is the end of that day in the time zone that its administrators chose."""
    zone = timedelta(hours=ask.forge.zone_h)
    after = ask.query.get("after", "")
    found = [one for one in ask.store.find("note", repo=ask.repo["id"]) if not one["system"] and not one["place"]]
    found = [one for one in found if f"{datetime.fromisoformat(one['created_at']) + zone:%Y-%m-%d}" > after]
    newest = ask.query.get("sort", "desc") == "desc"
    return paged(ask, [shapes.said(ask, one) for one in (found[::-1] if newest else found)])


# merge requests


@route("GET", PROJECT + "/merge_requests", grant=READ)
def list_merge_requests(ask: ForgeRequest) -> ForgeAnswer:
    branch, found = ask.query.get("source_branch"), []
    for pull in ask.store.find("pull", repo=ask.repo["id"]):
        if branch in (None, pull["head_ref"]) and is_wanted(ask, ask.issue_of(pull), bool(pull["merged_at"])):
            found.append(shapes.merge_request(ask, pull, "unchecked"))
    return paged(ask, ordered(ask, found))


@route("POST", PROJECT + "/merge_requests", role="write", grant=WRITE)
def create_merge_request(ask: ForgeRequest) -> ForgeAnswer:
    head, base, source = ask.given("source_branch", ""), ask.given("target_branch", ""), ask.repo
    ask.repo = ask.store.get("repository", int(ask.body.get("target_project_id") or source["id"])) or source
    tip, onto = ask.forge.git(source).branch(head), ask.git.branch(base)
    if tip is None or onto is None:
        raise Refusal(400, f"{'Source' if tip is None else 'Target'} branch does not exist")
    for pull in ask.store.find("pull", repo=ask.repo["id"], head_repo=source["id"], head_ref=head, base_ref=base):
        if ask.issue_of(pull)["state"] == "open":
            raise Refusal(409, f"Another open merge request already exists for this source branch: !{pull['number']}")
    if source["id"] != ask.repo["id"]:
        ask.git.run("fetch", "-q", str(ask.forge.git(source).place), tip)
    issue = issues.add_issue(ask, ask.given("title", ""), ask.body.get("description"), pull=True)
    ends = {"head_repo": source["id"], "head_ref": head, "head_sha": tip, "base_ref": base, "base_sha": onto}
    state = {"merged_at": None, "merged_by": None, "merge_sha": None, "mergeable": None, "looked": False}
    people: Doc = {"user": ask.login, "requested_reviewers": [], "requested_teams": [], "draft": False}
    pull = ask.store.add("pull", repo=ask.repo["id"], number=issue["number"], **ends, **state, **people)
    ask.git.set(ask.forge.pull_ref.format(pull["number"]), pull["head_sha"])
    ask.forge.add_version(ask.repo, pull)
    return ForgeAnswer(201, shapes.merge_request(ask, pull, "preparing"))


@route("GET", MINE, grant=READ)
def show_merge_request(ask: ForgeRequest) -> ForgeAnswer:
    """The first look after a change begins the check whether it can be merged."""
    pull = ask.pull("iid")
    shown = shapes.merge_request(ask, pull, shapes.merge_status(ask, pull))
    if not pull["looked"]:
        ask.store.save({**pull, "looked": True})
    return ForgeAnswer(200, shown)


@route("PUT", MINE, grant=WRITE)
def change_merge_request(ask: ForgeRequest) -> ForgeAnswer:
    pull = ask.pull("iid")
    issue = ask.issue_of(pull)
    if issue["user"] != ask.login and not ask.writes:
        raise Refusal(403, "403 Forbidden")
    change(ask, issue, is_over=bool(pull["merged_at"]))
    base = ask.given("target_branch", "") or pull["base_ref"]
    if base != pull["base_ref"]:
        tip = ask.git.branch(base)
        if tip is None:
            raise Refusal(400, "Target branch does not exist")
        pull |= {"base_ref": base, "base_sha": tip, "looked": False}
    if "reviewer_ids" in ask.body:
        chosen = [ask.store.get("user", number) for number in ask.body["reviewer_ids"]]
        # One reviewer in GitLab Free; who may not read is left out without a word.
        named = [
            user["login"] for user in chosen if user and access.role_of(ask.store, user["login"], ask.repo) != "none"
        ]
        pull["requested_reviewers"] = named
    ask.store.save(pull)
    return ForgeAnswer(200, shapes.merge_request(ask, pull, shapes.merge_status(ask, pull)))


@route("PUT", MINE + "/merge", grant=WRITE)
def merge(ask: ForgeRequest) -> ForgeAnswer:
    """By an exact head if `sha` is given."""
    pull = ask.pull("iid")
    issue = ask.issue_of(pull)
    if not ask.writes:
        raise Refusal(401, "401 Unauthorized")
    if shapes.merge_status(ask, pull) not in ("mergeable", "conflict"):
        raise Refusal(405, "405 Method Not Allowed")
    if ask.body.get("sha") not in (None, pull["head_sha"]):
        raise Refusal(409, f"SHA does not match HEAD of source branch: {pull['head_sha']}")
    base, who = ask.git.branch(pull["base_ref"]) or "", ask.forge.who(ask.login)
    tree = ask.git.merge_trees(base, pull["head_sha"])
    if tree is None:
        raise Refusal(422, "Branch cannot be merged")
    head, method = pull["head_sha"], ask.repo.get("merge_method", "merge")
    if ask.body.get("squash"):
        fork = ask.git.merge_base(base, head) or base
        head = ask.git.write_commit(
            ask.git.commit(pull["head_sha"]).tree,
            [fork],
            f"{ask.given('squash_commit_message', issue['title'])}\n",
            who,
        )
        pull["squash_sha"] = head
    merged = head
    if method != "ff":
        title = ask.given("merge_commit_message", f"Merge branch '{pull['head_ref']}' into '{pull['base_ref']}'")
        merged = pull["merge_sha"] = ask.git.write_commit(tree, [base, head], f"{title}\n", who)
    elif not ask.git.is_ancestor(base, head):
        raise Refusal(405, "405 Method Not Allowed")
    ask.store.save({**pull, "merged_at": ask.forge.stamp(), "merged_by": ask.login})
    ask.forge.close(ask.repo, issue, ask.actor)
    move_branch(ask, pull["base_ref"], merged)
    return ForgeAnswer(200, shapes.merge_request(ask, ask.pull("iid"), "not_open"))


@route("GET", MINE + "/versions", grant=READ)
def list_versions(ask: ForgeRequest) -> ForgeAnswer:
    """The newest first."""
    found = ask.store.find("version", repo=ask.repo["id"], number=ask.pull("iid")["number"])
    shown = [
        {"id": one["id"], "head_commit_sha": one["head"], "created_at": one["created_at"], "state": "collected"}
        for one in found[::-1]
    ]
    return paged(ask, shown)


# what people say


@route("GET", MINE + "/approvals", grant=READ)
def list_approvals(ask: ForgeRequest) -> ForgeAnswer:
    found = ask.store.find("approval", repo=ask.repo["id"], number=ask.pull("iid")["number"])
    given = [{"user": shapes.user(ask, one["key"]), "approved_at": one["created_at"]} for one in found]
    return ForgeAnswer(200, {"approved": bool(given), "approved_by": given})


@route("POST", MINE + "/approve", grant=WRITE)
def approve(ask: ForgeRequest) -> ForgeAnswer:
    """Authors may, where nobody forbids it."""
    pull = ask.pull("iid")
    where = {"repo": ask.repo["id"], "number": pull["number"], "key": ask.login}
    if ask.body.get("sha") not in (None, pull["head_sha"]):
        raise Refusal(409, f"SHA does not match HEAD of source branch: {pull['head_sha']}")
    if pull["merged_at"] or ask.store.one("approval", **where):
        raise Refusal(401, "401 Unauthorized")
    ask.store.add("approval", **where, created_at=shapes.moment(ask))
    add_note(ask, pull, "approved this merge request", system=True)
    if wish := ask.store.one("wish", **where):
        ask.store.remove(wish)
    return ForgeAnswer(201, list_approvals(ask).body)


@route("POST", MINE + "/unapprove", grant=WRITE)
def unapprove(ask: ForgeRequest) -> ForgeAnswer:
    pull = ask.pull("iid")
    known = ask.store.one("approval", repo=ask.repo["id"], number=pull["number"], key=ask.login)
    if known is None:
        raise not_found()
    ask.store.remove(known)
    add_note(ask, pull, "unapproved this merge request", system=True)
    return ForgeAnswer(201, list_approvals(ask).body)


@route("GET", MINE + "/reviewers", grant=READ)
def list_reviewers(ask: ForgeRequest) -> ForgeAnswer:
    pull = ask.pull("iid")
    wishes = {one["key"] for one in ask.store.find("wish", repo=ask.repo["id"], number=pull["number"])}
    given = {one["key"] for one in ask.store.find("approval", repo=ask.repo["id"], number=pull["number"])}
    words = {login: "requested_changes" if login in wishes else "approved" for login in wishes | given}
    people = dict.fromkeys([*pull["requested_reviewers"], *sorted(wishes)])
    shown = [{"user": shapes.user(ask, one), "state": words.get(one, "unreviewed")} for one in people]
    return ForgeAnswer(200, [{**one, "created_at": ask.forge.stamp()} for one in shown])


for kind in ("merge_requests", "issues"):
    at = f"{PROJECT}/{kind}/{{iid}}"

    @route("GET", at + "/notes", grant=READ)
    def list_notes(ask: ForgeRequest) -> ForgeAnswer:
        found = ask.store.find("note", repo=ask.repo["id"], number=about(ask)["number"])
        newest = ask.query.get("sort", "desc") == "desc"
        return paged(ask, [shapes.note(ask, one) for one in (found[::-1] if newest else found)])

    @route("GET", at + "/notes/{note}", grant=READ)
    def show_note(ask: ForgeRequest) -> ForgeAnswer:
        return ForgeAnswer(200, shapes.note(ask, the_note(ask)))

    @route("POST", at + "/notes", grant=WRITE)
    def create_note(ask: ForgeRequest) -> ForgeAnswer:
        """A line `/request_changes` in it is an order, and no text; a line with a slash that is none stays."""
        issue = about(ask)
        lines = ask.given("body", "").splitlines()
        if "/request_changes" in lines:
            where = {"repo": ask.repo["id"], "number": issue["number"], "key": ask.login}
            if given := ask.store.one("approval", **where):
                ask.store.remove(given)
            if ask.store.one("wish", **where) is None:
                ask.store.add("wish", **where)
            add_note(ask, issue, "requested changes", system=True)
        text = "\n".join(line for line in lines if line != "/request_changes").strip()
        if not text:
            return ForgeAnswer(
                202, {"commands_changes": {}, "summary": ["Changes requested to the current merge request."]}
            )
        issues.touch(ask, issue)
        return ForgeAnswer(201, shapes.note(ask, add_note(ask, issue, text)))

    @route("PUT", at + "/notes/{note}", grant=WRITE)
    def change_note(ask: ForgeRequest) -> ForgeAnswer:
        note = the_note(ask)
        is_trusted = access.has_role(access.role_of(ask.store, ask.login, ask.repo), "maintain")
        if note["user"] != ask.login and not is_trusted:
            raise Refusal(403, "403 Forbidden")
        note |= {"body": ask.given("body", ""), "updated_at": shapes.moment(ask)}
        return ForgeAnswer(200, shapes.note(ask, ask.store.save(note)))

    @route("GET", at + "/resource_label_events", grant=READ)
    def list_label_events(ask: ForgeRequest) -> ForgeAnswer:
        found = ask.store.find("event", repo=ask.repo["id"], number=about(ask)["number"])
        return paged(ask, [shapes.label_event(ask, one) for one in found if one["event"] in shapes.LABELLED])


def about(ask: ForgeRequest) -> Doc:
    """The issue of the path, or what the merge request there has as issues have it."""
    number = ask.number("iid") + (shapes.ISSUES if "/issues/" in ask.path else 0)
    found: Doc | None = ask.store.one("issue", repo=ask.repo["id"], number=number)
    if found is None:
        raise Refusal(404, "404 Not found")
    return found


def the_note(ask: ForgeRequest) -> Doc:
    found: Doc | None = ask.store.get("note", ask.number("note"))
    if found is None or (found["repo"], found["number"]) != (ask.repo["id"], about(ask)["number"]):
        raise not_found()
    return found


def is_wanted(ask: ForgeRequest, issue: Doc, is_merged: bool = False) -> bool:
    """By what a list is asked for: state, labels, an assignee, and since when it changed."""
    state = "merged" if is_merged else {"open": "opened"}.get(issue["state"], issue["state"])
    names = {name for name in ask.query.get("labels", "").split(",") if name}
    return (
        ask.query.get("state", "all") in ("all", state)
        and names <= set(shapes.labels(ask, issue))
        and ask.query.get("assignee_username") in (None, *issue["assignees"])
        and issue["updated_at"] >= ask.query.get("updated_after", "")
    )


def ordered(ask: ForgeRequest, found: list[Doc]) -> list[Doc]:
    """The newest first, unless it says otherwise."""
    by = "updated_at" if ask.query.get("order_by") == "updated_at" else "id"
    return sorted(found, key=lambda one: (one[by], one["id"]), reverse=ask.query.get("sort", "desc") == "desc")


def change(ask: ForgeRequest, issue: Doc, *, is_over: bool = False) -> None:
    """Title, description, labels, assignees and state. What changed is noted, as people see it."""
    before = dict(issue)
    if "description" in ask.body:
        ask.body["body"] = ask.body["description"]
    if "confidential" in ask.body:
        issue["confidential"] = bool(ask.body["confidential"])
        issues.touch(ask, issue)
    issues.change_text(ask, issue)
    if issue["title"] != before["title"]:
        add_note(ask, issue, f"changed title from **{before['title']}** to **{issue['title']}**", system=True)
    if issue["body"] != before["body"]:
        add_note(ask, issue, "changed the description", system=True)
    more, less = (set(str(ask.body.get(name) or "").split(",")) - {""} for name in ("add_labels", "remove_labels"))
    if more or less:
        issues.set_labels(ask, issue, [*(set(shapes.labels(ask, issue)) - less), *more])
    if "assignee_ids" in ask.body:
        chosen = [ask.store.get("user", number) for number in ask.body["assignee_ids"]]
        issues.assign(ask, issue, [one["login"] for one in chosen if one], replace=True)
        new, old = (
            [f"@{one}" for one in this["assignees"] if one not in other["assignees"]]
            for this, other in ((issue, before), (before, issue))
        )
        said = [f"assigned to {' and '.join(new)}"] if new else []
        said += [f"unassigned {' and '.join(old)}"] if old else []
        if said:
            add_note(ask, issue, " and ".join(said), system=True)
    event = ask.body.get("state_event")
    if event == "close" and issue["state"] == "open":
        issue["closed_by"] = ask.login
        ask.forge.close(ask.repo, issue, ask.actor)
    elif event == "reopen" and issue["state"] == "closed" and not is_over:
        issue |= {"state": "open", "closed_at": None, "closed_by": None}
        issues.touch(ask, issue)


@route("GET", MINE + "/discussions", grant=READ)
def list_discussions(ask: ForgeRequest) -> ForgeAnswer:
    found = shapes.discussions(ask, ask.pull("iid"))
    return paged(
        ask,
        [
            {"id": notes[0]["discussion"], "individual_note": False, "notes": [shapes.note(ask, one) for one in notes]}
            for notes in found
        ],
    )


@route("GET", MINE + "/diffs", grant=READ)
def list_diffs(ask: ForgeRequest) -> ForgeAnswer:
    return paged(ask, [shapes.diff(one) for one in _changes(ask, ask.pull("iid"))])


def _changes(ask: ForgeRequest, pull: Doc) -> list[Changed]:
    return ask.git.changes(shapes.diff_refs(ask, pull)["base_sha"], pull["head_sha"])


@route("POST", MINE + "/discussions", grant=WRITE)
def create_discussion(ask: ForgeRequest) -> ForgeAnswer:
    """At a line of the newest diff alone; of a line that stands in both files, both numbers are given."""
    pull, asked = ask.pull("iid"), ask.body.get("position") or {}
    if missing := [one for one in ("base_sha", "start_sha", "head_sha", "position_type") if not asked.get(one)]:
        raise Refusal(400, f"position[{missing[0]}] is missing")
    patch = next((one.patch for one in _changes(ask, pull) if one.path == asked.get("new_path")), "")
    files, _ = files_of(f"diff --git a/x b/x\n{patch}")
    there = {(line.old, line.new) for file in files for line in file.lines if line.new is not None}
    is_newest = all(asked[name] == sha for name, sha in shapes.diff_refs(ask, pull).items())
    if not is_newest or (asked.get("old_line"), asked.get("new_line")) not in there:
        raise Refusal(400, '400 Bad request - Note {:line_code=>["can\'t be blank", "must be a valid line code"]}')
    place = {"path": asked["new_path"], "line": asked["new_line"], "head": asked["head_sha"]}
    note = add_note(ask, pull, ask.given("body", ""), place=place)
    return ForgeAnswer(201, {"id": note["discussion"], "individual_note": False, "notes": [shapes.note(ask, note)]})


@route("PUT", MINE + "/discussions/{discussion}", role="write", grant=WRITE)
def resolve_discussion(ask: ForgeRequest) -> ForgeAnswer:
    pull = ask.pull("iid")
    notes = ask.store.find("note", repo=ask.repo["id"], number=pull["number"], discussion=ask.values["discussion"])
    if not notes:
        raise not_found()
    for note in notes:
        ask.store.save({**note, "resolved_by": ask.login if ask.body.get("resolved") else None})
    return ForgeAnswer(200, {"id": ask.values["discussion"], "notes": []})


def add_note(ask: ForgeRequest, about: Doc, body: str, *, system: bool = False, place: Doc | None = None) -> Doc:
    """`about`: an issue or a merge request."""
    now = shapes.moment(ask)
    said = {"user": ask.login, "body": body, "system": system, "place": place, "discussion": secrets.token_hex(20)}
    made: Doc = ask.store.add(
        "note", repo=ask.repo["id"], number=about["number"], **said, created_at=now, updated_at=now
    )
    return made


# commits, branches and releases


@route("GET", PROJECT + "/repository/commits/{sha}/statuses", grant=READ)
def list_statuses(ask: ForgeRequest) -> ForgeAnswer:
    found = ask.store.find("status", repo=ask.repo["id"], sha=ask.values["sha"])
    if ask.query.get("all") != "true":
        found = list({one["context"]: one for one in found}.values())
    return paged(ask, [shapes.status(ask, one) for one in found])


@route("POST", PROJECT + "/statuses/{sha}", role="write", grant=WRITE)
def create_status(ask: ForgeRequest) -> ForgeAnswer:
    """One that is under way becomes what is said; it is not said twice that it is pending."""
    sha, state, name = ask.values["sha"], ask.body.get("state"), ask.given("name", "") or "default"
    if ask.git.resolve(sha) != sha:
        raise Refusal(404, "404 Commit Not Found")
    if state not in STATES:
        raise Refusal(400, "state does not have a valid value")
    found = ask.store.find("status", repo=ask.repo["id"], sha=sha, context=name, user=ask.login)
    known = next((one for one in found if one["state"] in UNDER_WAY), None)
    said = {"state": state, "description": ask.body.get("description"), "target_url": ask.body.get("target_url")}
    if known and state in UNDER_WAY and (known["state"], state) != ("pending", "running"):
        raise Refusal(400, f"Cannot transition status via :enqueue from :{known['state']}")
    if known:
        return ForgeAnswer(201, shapes.status(ask, ask.store.save({**known, **said})))
    now = ask.forge.stamp()
    made = ask.store.add("status", repo=ask.repo["id"], sha=sha, context=name, user=ask.login, created_at=now, **said)
    return ForgeAnswer(201, shapes.status(ask, made))


@route("GET", PROJECT + "/repository/branches/{branch}", grant=READ)
def show_branch(ask: ForgeRequest) -> ForgeAnswer:
    tip = ask.git.branch(ask.values["branch"])
    if tip is None:
        raise Refusal(404, "404 Branch Not Found")
    name = ask.values["branch"]
    is_protected = ask.forge.protection(ask.repo, name) is not None
    shown = {"name": name, "commit": {"id": tip}, "default": name == ask.repo["default_branch"]}
    return ForgeAnswer(200, {**shown, "protected": is_protected})


@route("POST", PROJECT + "/repository/branches", role="write", grant=WRITE)
def create_branch(ask: ForgeRequest) -> ForgeAnswer:
    tip = ask.git.resolve(ask.given("ref", ""))
    if tip is None:
        raise Refusal(400, "Invalid reference name")
    move_branch(ask, ask.given("branch", ""), tip)
    return ForgeAnswer(201, {"name": ask.body["branch"], "commit": {"id": tip}})


@route("DELETE", PROJECT + "/repository/branches/{branch}", role="write", grant=WRITE)
def delete_branch(ask: ForgeRequest) -> ForgeAnswer:
    """Its open merge requests are closed."""
    if ask.git.branch(ask.values["branch"]) is None:
        raise Refusal(404, "404 Branch Not Found")
    before = ask.git.refs()
    ask.git.delete(f"refs/heads/{ask.values['branch']}")
    ask.forge.after_push(ask.repo, before, ask.git.refs(), ask.actor)
    return ForgeAnswer(204)


@route("POST", PROJECT + "/protected_branches", role="maintain", grant=WRITE)
def protect_branch(ask: ForgeRequest) -> ForgeAnswer:
    name = ask.given("name", "")
    if ask.store.one("protection", repo=ask.repo["id"], key=name):
        raise Refusal(409, f"Protected branch '{name}' already exists")
    takes_none = int(ask.body.get("push_access_level", 40)) == 0
    rule: Doc = {"enforce_admins": takes_none, "required_pull_request_reviews": {}}
    ask.store.add("protection", repo=ask.repo["id"], key=name, rule=rule)
    return ForgeAnswer(201, {"name": name, "allow_force_push": False})


@route("DELETE", PROJECT + "/protected_branches/{name}", role="maintain", grant=WRITE)
def unprotect_branch(ask: ForgeRequest) -> ForgeAnswer:
    found = ask.store.one("protection", repo=ask.repo["id"], key=ask.values["name"])
    if found is None:
        raise not_found()
    ask.store.remove(found)
    return ForgeAnswer(204)


@route("POST", PROJECT + "/approval_rules", role="maintain", grant=WRITE)
def create_rule(ask: ForgeRequest) -> ForgeAnswer:
    """GitLab Premium."""
    made = ask.store.add(
        "approval_rule",
        repo=ask.repo["id"],
        name=ask.given("name", ""),
        approvals_required=ask.body["approvals_required"],
    )
    return ForgeAnswer(201, {name: made[name] for name in ("id", "name", "approvals_required")})


@route("DELETE", PROJECT + "/approval_rules/{rule}", role="maintain", grant=WRITE)
def delete_rule(ask: ForgeRequest) -> ForgeAnswer:
    found = ask.store.get("approval_rule", ask.number("rule"))
    if found is None:
        raise not_found()
    ask.store.remove(found)
    return ForgeAnswer(204)


@route("GET", PROJECT + "/deployments", grant=READ)
def list_deployments(ask: ForgeRequest) -> ForgeAnswer:
    found = ask.store.find("gitlab_deployment", repo=ask.repo["id"])
    wanted = ask.query.get("environment")
    chosen = [one for one in found if wanted in (None, one["environment"])]
    newest = ask.query.get("sort", "asc") == "desc"
    return paged(ask, [shapes.deployment(ask, one) for one in (chosen[::-1] if newest else chosen)])


@route("POST", PROJECT + "/deployments", role="write", grant=WRITE)
def create_deployment(ask: ForgeRequest) -> ForgeAnswer:
    if ask.git.resolve(ask.given("sha", "")) is None:
        raise Refusal(400, "The SHA is invalid")
    told = {"environment": ask.given("environment", ""), "sha": ask.given("sha", ""), "ref": ask.given("ref", "")}
    told |= {"state": ask.given("status", ""), "user": ask.login, "created_at": ask.forge.stamp()}
    return ForgeAnswer(201, shapes.deployment(ask, ask.store.add("gitlab_deployment", repo=ask.repo["id"], **told)))


@route("PUT", PROJECT + "/deployments/{deployment}", role="write", grant=WRITE)
def change_deployment(ask: ForgeRequest) -> ForgeAnswer:
    found = ask.store.get("gitlab_deployment", ask.number("deployment"))
    if found is None:
        raise not_found()
    if found["state"] == ask.body.get("status"):
        raise Refusal(400, f"Cannot transition status via :{found['state']} from :{found['state']}")
    return ForgeAnswer(200, shapes.deployment(ask, ask.store.save({**found, "state": ask.body["status"]})))


# parts


def paged(ask: ForgeRequest, items: list[Any]) -> ForgeAnswer:
    """`per_page`, 100 at most, and `page`; the `Link` header leads on."""
    shown = ask.page(items)
    return ForgeAnswer(200, shown, ask.link())
