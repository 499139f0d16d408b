"""Forgejo's REST: what pull requests, reviews, statuses and permissions need. Its words are those of
https://codeberg.org/forgejo/forgejo and https://github.com/go-gitea/gitea, below routers/api/v1/repo."""

from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from kits.fake_forge import access
from kits.fake_forge import ask as table
from kits.fake_forge.answers import ForgeAnswer, ForgeRoute, Refusal, not_found
from kits.fake_forge.ask import ForgeRequest
from kits.fake_forge.endpoints import issues
from kits.fake_forge.endpoints.pulls import latest_reviews
from kits.fake_forge.endpoints.repositories import move_branch
from kits.fake_forge.forgejo import shapes
from kits.fake_forge.git import lines_of, position_of
from kits.fake_forge.store import Doc

ROUTES: list[ForgeRoute] = []
route = partial(table.route, into=ROUTES)
REPO = "/repos/{owner}/{repo}"
PULL = REPO + "/pulls/{index}"
READ, WRITE = "repository:read", "repository:write"
EVENTS = {"APPROVED": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}
STATES = ("pending", "success", "error", "failure", "warning", "skipped")
STYLES = {"merge": "merge_commit", "squash": "squash_merge", "rebase": "rebase_merge"}
MOST = 50
"""Items of a page, however many are asked for."""


@route("GET", "/user", grant="user:read")
def show_me(ask: ForgeRequest) -> ForgeAnswer:
    if not access.grants(ask.actor, "user:read") and ask.actor.kind == "fine":
        raise Refusal(403, "token does not have at least one of required scope(s): [read:user]")
    return ForgeAnswer(200, shapes.user(ask, ask.login))


@route("POST", REPO + "/forks", grant=WRITE)
def create_fork(ask: ForgeRequest) -> ForgeAnswer:
    """Of whoever asks, under the same name."""
    fork = ask.forge.find_repository(ask.login, ask.repo["name"])
    if fork is not None:
        raise Refusal(409, "The repository with the same name already exists.")
    fork = ask.forge.add_repository(
        ask.login, ask.repo["name"], private=ask.repo["private"], branch=ask.repo["default_branch"], fork_of=ask.repo
    )
    return ForgeAnswer(202, shapes.repository(ask, fork))


@route("GET", REPO, grant=READ)
def show_repository(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, shapes.repository(ask, ask.repo))


@route("PATCH", REPO, role="admin", grant=WRITE)
def change_repository(ask: ForgeRequest) -> ForgeAnswer:
    """Rename, archive, and what may be merged how; the old name still leads here."""
    repo = ask.repo
    name = ask.given("name", repo["name"])
    if name != repo["name"]:
        if ask.forge.find_repository(repo["owner"], name):
            raise Refusal(422, "The repository with the same name already exists.")
        ask.store.add("moved", key=repo["key"], to=repo["id"])
        repo |= {"name": name, "key": f"{repo['owner']}/{name}".lower()}
    for field, setting in {**shapes.MERGES, "archived": "", "private": ""}.items():
        if field in ask.body:
            repo[f"allow_{setting}" if setting else field] = ask.body[field]
    ask.store.save(repo)
    return ForgeAnswer(200, shapes.repository(ask, repo))


# pull requests


@route("GET", REPO + "/pulls", grant=READ)
def list_pulls(ask: ForgeRequest) -> ForgeAnswer:
    """By state and poster; `head` is no filter here, and is ignored."""
    state, poster = ask.query.get("state", "open"), ask.query.get("poster")
    if poster and ask.store.one("user", key=poster) is None:
        raise Refusal(400, f"user does not exist [uid: 0, name: {poster}]")
    found = []
    for pull in ask.store.find("pull", repo=ask.repo["id"]):
        issue = ask.issue_of(pull)
        if state in ("all", issue["state"]) and poster in (None, issue["user"]):
            found.append(pull)
    return paged(ask, found[::-1], lambda pull: shapes.pull(ask, pull, _mergeable(ask, pull)))


@route("POST", REPO + "/pulls", grant=WRITE)
def create_pull(ask: ForgeRequest) -> ForgeAnswer:
    owner, _, head = ask.given("head", "").rpartition(":")
    base, head_repo = ask.given("base", ""), ask.repo
    if owner and owner != ask.repo["owner"]:
        forks = ask.store.find("repository", owner=owner, parent=ask.repo["id"])
        if not forks:
            raise not_found()
        head_repo = forks[0]
    if head == base and head_repo is ask.repo:
        raise Refusal(422, "Invalid PullRequest: There are no changes between the head and the base")
    tip, onto = ask.forge.git(head_repo).branch(head), ask.git.branch(base)
    if tip is None or onto is None:
        raise not_found()
    for pull in ask.store.find("pull", repo=ask.repo["id"], head_repo=head_repo["id"], head_ref=head, base_ref=base):
        if ask.issue_of(pull)["state"] == "open":
            raise Refusal(
                409,
                f"pull request already exists for these targets [id: {pull['id']}, issue_id: {pull['number']}, "
                f"head_repo_id: {head_repo['id']}, base_repo_id: {ask.repo['id']}, head_branch: {head}, "
                f"base_branch: {base}]",
            )
    if not ask.given("title", "").strip():
        raise Refusal(422, "[Title]: Required")
    if head_repo["id"] != ask.repo["id"]:
        ask.git.run("fetch", "-q", str(ask.forge.git(head_repo).place), tip)
    issue = issues.add_issue(ask, ask.body["title"], ask.body.get("body"), pull=True)
    ends = {"head_repo": head_repo["id"], "head_ref": head, "head_sha": tip, "base_ref": base, "base_sha": onto}
    state = {"merged_at": None, "merged_by": None, "merge_sha": None, "mergeable": None, "looked": False}
    people: Doc = {"user": ask.login, "requested_reviewers": [], "requested_teams": [], "draft": False}
    pull = ask.store.add("pull", repo=ask.repo["id"], number=issue["number"], **ends, **state, **people)
    ask.git.set(ask.forge.pull_ref.format(pull["number"]), pull["head_sha"])
    return ForgeAnswer(201, shapes.pull(ask, pull, False))


@route("GET", PULL, grant=READ)
def show_pull(ask: ForgeRequest) -> ForgeAnswer:
    """The first look after a change begins the check for conflicts; as long as that runs, it is not mergeable."""
    pull = ask.pull("index")
    shown = shapes.pull(ask, pull, _mergeable(ask, pull))
    if not pull["looked"]:
        ask.store.save({**pull, "looked": True})
    return ForgeAnswer(200, shown)


@route("PATCH", PULL, grant=WRITE)
def change_pull(ask: ForgeRequest) -> ForgeAnswer:
    pull = ask.pull("index")
    issue = ask.issue_of(pull)
    if issue["user"] != ask.login and not ask.writes:
        raise Refusal(403, "user should be the poster or have write permission")
    issues.change_text(ask, issue)
    state = ask.body.get("state")
    if state is not None and pull["merged_at"]:
        raise Refusal(412, "cannot change state of this pull request, it was already merged")
    if state == "closed" and issue["state"] == "open":
        issue["closed_by"] = ask.login
        ask.forge.close(ask.repo, issue, ask.actor)
    elif state == "open" and issue["state"] == "closed":
        issue |= {"state": "open", "closed_at": None, "closed_by": None}
        issues.touch(ask, issue)
        ask.forge.note(ask.repo, issue, ask.actor, "reopened")
    base = ask.given("base", "") or pull["base_ref"]
    if base != pull["base_ref"]:
        tip = ask.git.branch(base)
        if tip is None:
            raise Refusal(404, f"new base '{base}' not exist")
        ask.store.save({**pull, "base_ref": base, "base_sha": tip, "looked": False})
    return ForgeAnswer(201, shapes.pull(ask, pull := ask.pull("index"), _mergeable(ask, pull)))


@route("POST", PULL + "/requested_reviewers", role="write", grant=WRITE)
def ask_reviewers(ask: ForgeRequest) -> ForgeAnswer:
    pull = ask.pull("index")
    for login in ask.body.get("reviewers") or []:
        if ask.store.one("user", key=login) is None:
            raise Refusal(404, f"User '{login}' not exist")
        reason = "poster of pr can't be reviewer" if login == pull["user"] else "Reviewer can't read"
        if login == pull["user"] or access.role_of(ask.store, login, ask.repo) == "none":
            raise Refusal(422, f"{reason} [user_id: 0, repo_id: {ask.repo['id']}]")
        pull["requested_reviewers"] = list(dict.fromkeys([*pull["requested_reviewers"], login]))
        ask.store.save(pull)
    return ForgeAnswer(201, [])


@route("POST", PULL + "/merge", grant=WRITE)
def merge_pull(ask: ForgeRequest) -> ForgeAnswer:
    """By an exact head if `head_commit_id` is given; the answer is empty."""
    pull = ask.pull("index")
    issue, style = ask.issue_of(pull), ask.body.get("Do")
    if issue["state"] != "open" and not pull["merged_at"]:
        raise not_found()
    if not ask.writes:
        raise Refusal(405, "User not allowed to merge PR")
    if pull["merged_at"]:
        raise Refusal(405, "")
    if shapes.WIP.match(issue["title"]):
        raise Refusal(405, "Work in progress PRs cannot be merged")
    if not _mergeable(ask, pull):
        raise Refusal(405, "Please try again later")
    if missing := _unmet(ask, pull):
        raise Refusal(405, f"not allowed to merge [reason: {missing}]")
    if style not in STYLES or not ask.repo[f"allow_{STYLES[style]}"]:
        raise Refusal(405, f"{style} is not allowed an allowed merge style for this repository")
    if ask.body.get("head_commit_id") not in (None, "", pull["head_sha"]):
        raise Refusal(409, "head out of date")
    merged = _merged(ask, pull, issue, style)
    ask.store.save({**pull, "merged_at": ask.forge.stamp(), "merged_by": ask.login, "merge_sha": merged})
    ask.forge.note(ask.repo, issue, ask.actor, "merged")
    ask.forge.close(ask.repo, issue, ask.actor)
    move_branch(ask, pull["base_ref"], merged)
    return ForgeAnswer(200)


def _merged(ask: ForgeRequest, pull: Doc, issue: Doc, style: str) -> str:
    base, head, who = ask.git.branch(pull["base_ref"]) or "", pull["head_sha"], ask.forge.who(ask.login)
    rebased = ask.git.rebase(base, head, who) if style == "rebase" else None
    if rebased:
        return rebased
    title = ask.given("MergeTitleField", "").strip() or f"{issue['title']} (#{pull['number']})"
    text = ask.given("MergeMessageField", "").strip()
    tree = ask.git.merge_trees(base, head)
    if tree is None or style == "rebase":
        raise Refusal(409, "Merge Conflict Error")
    message = f"{title}\n\n{text}\n" if text else f"{title}\n"
    return ask.git.write_commit(tree, [base, head] if style == "merge" else [base], message, who)


def _mergeable(ask: ForgeRequest, pull: Doc) -> bool:
    issue = ask.issue_of(pull)
    if not pull["looked"] or issue["state"] != "open" or shapes.WIP.match(issue["title"]):
        return False
    return ask.git.merge_trees(pull["base_sha"], pull["head_sha"]) is not None


def _unmet(ask: ForgeRequest, pull: Doc) -> str | None:
    """What the branch's rule still asks, in the forge's own words."""
    rule = shapes.rule_of(ask, pull["base_ref"])
    if rule is None:
        return None
    latest = latest_reviews(ask, pull)
    if rule.get("enable_status_check") and not _checks_pass(ask, pull, rule.get("status_check_contexts") or []):
        return "Not all required status checks successful"
    if list(latest.values()).count("APPROVED") < rule.get("required_approvals", 0):
        return "Does not have enough approvals"
    if rule.get("block_on_rejected_reviews") and "CHANGES_REQUESTED" in latest.values():
        return "There are requested changes"
    if rule.get("block_on_outdated_branch") and not ask.git.is_ancestor(pull["base_sha"], pull["head_sha"]):
        return "The head branch is behind the base branch"
    return None


def _checks_pass(ask: ForgeRequest, pull: Doc, patterns: list[str]) -> bool:
    known = {
        one["context"]: one["state"] for one in ask.store.find("status", repo=ask.repo["id"], sha=pull["head_sha"])
    }
    for pattern in patterns or ["*"]:
        states = [state for name, state in known.items() if fnmatchcase(name, pattern)]
        if (patterns and not states) or any(state not in ("success", "skipped") for state in states):
            return False
    return True


# reviews


@route("GET", PULL + "/files", grant=READ)
def list_files(ask: ForgeRequest) -> ForgeAnswer:
    pull = ask.pull("index")
    base = ask.git.merge_base(pull["base_sha"], pull["head_sha"]) or pull["base_sha"]
    return paged(ask, ask.git.changes(base, pull["head_sha"]), shapes.changed_file)


@route("GET", PULL + "/reviews", grant=READ)
def list_reviews(ask: ForgeRequest) -> ForgeAnswer:
    found = ask.store.find("review", repo=ask.repo["id"], number=ask.pull("index")["number"])
    return paged(ask, found, lambda review: shapes.review(ask, review))


@route("POST", PULL + "/reviews", grant=WRITE)
def create_review(ask: ForgeRequest) -> ForgeAnswer:
    """Nobody approves or refuses their own; who may read may review."""
    pull = ask.pull("index")
    event, body, comments = ask.body.get("event"), ask.given("body", "").strip(), ask.body.get("comments") or []
    if event not in EVENTS:
        raise Refusal(422, "pending reviews are not built")
    if event != "COMMENT" and pull["user"] == ask.login:
        raise Refusal(422, f"{'approve' if event == 'APPROVED' else 'reject'} your own pull is not allowed")
    if event == "REQUEST_CHANGES" and not body:
        raise Refusal(422, f"review event {event} requires a body")
    if event == "COMMENT" and not body and not comments:
        raise Refusal(422, f"review event {event} requires a body or a comment")
    if ask.issue_of(pull)["state"] != "open" and event != "COMMENT":
        raise Refusal(422, "can't submit review for a closed or merged PR")
    commit, now = ask.given("commit_id", "") or pull["head_sha"], ask.forge.stamp()
    made = {"user": ask.login, "body": body, "state": EVENTS[event], "commit": commit, "submitted_at": now, "at": now}
    review = ask.store.add("review", repo=ask.repo["id"], number=pull["number"], **made)
    for one in comments:
        _add_comment(ask, pull, review, one)
    ask.store.save({**pull, "requested_reviewers": [one for one in pull["requested_reviewers"] if one != ask.login]})
    return ForgeAnswer(200, shapes.review(ask, review))


def _add_comment(ask: ForgeRequest, pull: Doc, review: Doc, asked: Doc) -> None:
    base = ask.git.merge_base(pull["base_sha"], pull["head_sha"]) or pull["base_sha"]
    change = next((one for one in ask.git.changes(base, pull["head_sha"]) if one.path == asked.get("path")), None)
    old, new = int(asked.get("old_position") or 0), int(asked.get("new_position") or 0)
    side, line = ("LEFT", old) if old else ("RIGHT", new)
    patch = change.patch if change else ""
    hunk = patch if line in lines_of(patch)[side] else ""
    now = ask.forge.stamp()
    place = {"path": asked.get("path") or "", "side": side, "line": line, "original_line": line, "hunk": hunk}
    place |= {"position": position_of(patch, side, line) or 1, "commit": review["commit"], "review": review["id"]}
    said = {"user": ask.login, "body": asked.get("body") or "", "created_at": now, "updated_at": now}
    ask.store.add("review_comment", repo=ask.repo["id"], number=pull["number"], **place, **said)


@route("GET", PULL + "/reviews/{id}/comments", grant=READ)
def list_review_comments(ask: ForgeRequest) -> ForgeAnswer:
    """All of them: this list has no pages."""
    found = ask.store.find("review_comment", repo=ask.repo["id"], review=_review(ask)["id"])
    return ForgeAnswer(200, [shapes.review_comment(ask, one) for one in found])


@route("POST", PULL + "/reviews/{id}/dismissals", role="admin", grant=WRITE)
def dismiss_review(ask: ForgeRequest) -> ForgeAnswer:
    review = _review(ask)
    if review["state"] not in ("APPROVED", "CHANGES_REQUESTED"):
        raise Refusal(403, "not need to dismiss this review because it's type is not Approve or change request")
    review |= {"was": review["state"], "state": "DISMISSED"}
    ask.store.save(review)
    return ForgeAnswer(200, shapes.review(ask, review))


# what gates say


@route("GET", REPO + "/statuses/{sha}", grant=READ)
def list_statuses(ask: ForgeRequest) -> ForgeAnswer:
    found = ask.store.find("status", repo=ask.repo["id"], sha=ask.values["sha"])
    numbered = list(enumerate(found, 1))[::-1]
    return paged(ask, numbered, lambda one: shapes.status(ask, one[1], one[0]))


@route("POST", REPO + "/statuses/{sha}", role="write", grant=WRITE)
def create_status(ask: ForgeRequest) -> ForgeAnswer:
    sha = ask.values["sha"]
    if ask.git.resolve(sha) != sha:
        raise not_found()
    if ask.body.get("state") not in STATES:
        raise Refusal(400, "invalid state")
    said = {name: ask.body.get(name) for name in ("state", "description", "target_url")}
    context, now = ask.given("context", "default"), ask.forge.stamp()
    status = ask.store.add(
        "status", repo=ask.repo["id"], sha=sha, context=context, user=ask.login, created_at=now, **said
    )
    return ForgeAnswer(201, shapes.status(ask, status, len(ask.store.find("status", repo=ask.repo["id"], sha=sha))))


# branches and people


@route("GET", REPO + "/branches/{branch*}", grant=READ)
def show_branch(ask: ForgeRequest) -> ForgeAnswer:
    name = ask.values["branch"]
    if (tip := ask.git.branch(name)) is None:
        raise not_found()
    return ForgeAnswer(200, shapes.branch(ask, name, tip))


@route("POST", REPO + "/branches", role="write", grant=WRITE)
def create_branch(ask: ForgeRequest) -> ForgeAnswer:
    name = ask.given("new_branch_name", "")
    tip = ask.git.resolve(ask.given("old_ref_name", "") or ask.repo["default_branch"])
    if tip is None:
        raise not_found()
    if ask.git.branch(name):
        raise Refusal(409, "The branch already exists.")
    move_branch(ask, name, tip)
    return ForgeAnswer(201, shapes.branch(ask, name, tip))


@route("DELETE", REPO + "/branches/{branch*}", role="write", grant=WRITE)
def delete_branch(ask: ForgeRequest) -> ForgeAnswer:
    """Its open pull requests are closed."""
    if ask.git.branch(ask.values["branch"]) is None:
        raise not_found()
    before = ask.git.refs()
    ask.git.delete(f"refs/heads/{ask.values['branch']}")
    ask.forge.after_push(ask.repo, before, ask.git.refs(), ask.actor)
    return ForgeAnswer(204)


@route("POST", REPO + "/branch_protections", role="admin", grant=WRITE)
def create_protection(ask: ForgeRequest) -> ForgeAnswer:
    """Rules for one branch by its name; patterns are not built."""
    name = ask.given("rule_name", "") or ask.given("branch_name", "")
    if ask.store.one("protection", repo=ask.repo["id"], key=name):
        raise Refusal(403, "Branch protection already exist")
    dismisses = {"dismiss_stale_reviews": bool(ask.body.get("dismiss_stale_approvals"))}
    push = bool(ask.body.get("enable_push"))
    rule: Doc = {"enforce_admins": True, "required_pull_request_reviews": None if push else dismisses}
    made: dict[str, Any] = {"rule": rule, "forgejo": {**ask.body, "rule_name": name, "branch_name": name}}
    ask.store.add("protection", repo=ask.repo["id"], key=name, **made)
    return ForgeAnswer(201, made["forgejo"])


@route("DELETE", REPO + "/branch_protections/{name*}", role="admin", grant=WRITE)
def delete_protection(ask: ForgeRequest) -> ForgeAnswer:
    found = ask.store.one("protection", repo=ask.repo["id"], key=ask.values["name"])
    if found is None:
        raise not_found()
    ask.store.remove(found)
    return ForgeAnswer(204)


@route("GET", REPO + "/collaborators/{collaborator}/permission", grant=READ)
def show_permission(ask: ForgeRequest) -> ForgeAnswer:
    login = ask.values["collaborator"]
    if login != ask.login and not is_admin(ask):
        raise Refusal(
            403,
            "Only admins can query all permissions, repo admins can query all repo permissions, collaborators can "
            "query only their own",
        )
    if ask.store.one("user", key=login) is None:
        raise Refusal(404, f"user does not exist [uid: 0, name: {login}]")
    word = shapes.permission(ask, login)
    return ForgeAnswer(200, {"permission": word, "role_name": word, "user": shapes.user(ask, login)})


# parts


def _review(ask: ForgeRequest) -> Doc:
    found: Doc | None = ask.store.get("review", ask.number("id"))
    if found is None or (found["repo"], found["number"]) != (ask.repo["id"], ask.pull("index")["number"]):
        raise not_found()
    return found


def is_admin(ask: ForgeRequest) -> bool:
    return access.has_role(access.role_of(ask.store, ask.login, ask.repo), "admin")


def paged(ask: ForgeRequest, items: list[Any], show: Any) -> ForgeAnswer:
    """`limit` and `page`; `X-Total-Count` has how many there are in all."""
    given = {name: int(text) for name in ("limit", "page") if (text := ask.query.get(name, "")).isdigit()}
    size, page = min(MOST, given.get("limit") or 30), max(1, given.get("page", 1))
    chosen = items[(page - 1) * size : page * size]
    return ForgeAnswer(200, [show(one) for one in chosen], {"X-Total-Count": str(len(items))})
