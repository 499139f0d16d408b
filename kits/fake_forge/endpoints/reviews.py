"""Reviews of pull requests, and comments at lines."""

from typing import Any

from kits.fake_forge import access
from kits.fake_forge.answers import ForgeAnswer, Refusal, not_found, unprocessable
from kits.fake_forge.ask import ForgeRequest, route
from kits.fake_forge.endpoints.issues import checked_body
from kits.fake_forge.endpoints.pulls import READ, WRITE, the_pull
from kits.fake_forge.forge import hook_review
from kits.fake_forge.git import Changed, lines_of, position_of
from kits.fake_forge.store import Doc

EVENTS = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews", grant=READ)
def list_reviews(ask: ForgeRequest) -> ForgeAnswer:
    """The oldest first; somebody's pending review is their own to see."""
    pull = the_pull(ask)
    found = ask.store.find("review", repo=ask.repo["id"], number=pull["number"])
    mine = [review for review in found if review["state"] != "PENDING" or review["user"] == ask.login]
    return ForgeAnswer(200, ask.page(mine, lambda review: ask.views.review(ask.repo, review)))


@route("POST", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews", grant=WRITE)
def create_review(ask: ForgeRequest) -> ForgeAnswer:
    """Without an event it is pending. Nobody approves or refuses their own."""
    pull = the_pull(ask)
    event = ask.body.get("event")
    _refuse_event(ask, pull, event, ask.body.get("body"), ask.body.get("comments"))
    commit = ask.given("commit_id", pull["head_sha"])
    if ask.git.resolve(commit) is None:
        raise unprocessable("Commit is not part of the pull request")
    if event is None and ask.store.one(
        "review", repo=ask.repo["id"], number=pull["number"], user=ask.login, state="PENDING"
    ):
        raise unprocessable("User can only have one pending review per pull request")
    review = _add_review(ask, pull, event, ask.body.get("body") or "", commit)
    for comment in ask.body.get("comments") or []:
        _add_comment(ask, pull, review, comment)
    if event:
        _submit(ask, pull, review)
    return ForgeAnswer(200, ask.views.review(ask.repo, review))


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}", grant=READ)
def show_review(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, ask.views.review(ask.repo, _review(ask)))


@route("PUT", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}", grant=WRITE)
def change_review(ask: ForgeRequest) -> ForgeAnswer:
    review = _mine(ask, _review(ask))
    review["body"] = checked_body(ask, "PullRequestReview")
    ask.store.save(review)
    return ForgeAnswer(200, ask.views.review(ask.repo, review))


@route("POST", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}/events", grant=WRITE)
def submit_review(ask: ForgeRequest) -> ForgeAnswer:
    pull, review = the_pull(ask), _mine(ask, _review(ask))
    event = ask.body.get("event")
    if review["state"] != "PENDING" or event not in EVENTS:
        raise unprocessable("Can not submit this review")
    _refuse_event(ask, pull, event, ask.body.get("body") or review["body"], ["it may have comments"])
    review |= {"state": EVENTS[event], "body": ask.body.get("body") or review["body"]}
    _submit(ask, pull, review)
    return ForgeAnswer(200, ask.views.review(ask.repo, review))


@route("PUT", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}/dismissals", role="write", grant=WRITE)
def dismiss_review(ask: ForgeRequest) -> ForgeAnswer:
    review = _review(ask)
    ask.text("message", "PullRequestReview")
    if review["state"] not in ("APPROVED", "CHANGES_REQUESTED"):
        raise unprocessable(f"Can not dismiss a {review['state'].lower()} pull request review")
    review["state"] = "DISMISSED"
    ask.store.save(review)
    _tell(ask, the_pull(ask), review, "dismissed")
    return ForgeAnswer(200, ask.views.review(ask.repo, review))


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}/comments", grant=READ)
def list_comments_of_review(ask: ForgeRequest) -> ForgeAnswer:
    review = _review(ask)
    found = ask.store.find("review_comment", repo=ask.repo["id"], review=review["id"])
    return ForgeAnswer(200, ask.page(found, lambda comment: _as_review_comment(ask, comment)))


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/comments", grant=READ)
def list_review_comments(ask: ForgeRequest) -> ForgeAnswer:
    pull = the_pull(ask)
    since = ask.query.get("since", "")
    found = [
        comment
        for comment in ask.store.find("review_comment", repo=ask.repo["id"], number=pull["number"])
        if comment["updated_at"] >= since and not comment.get("pending")
    ]
    return ForgeAnswer(200, ask.page(found, lambda comment: ask.views.review_comment(ask.repo, comment)))


@route("POST", "/repos/{owner}/{repo}/pulls/{pull_number}/comments", grant=WRITE)
def create_review_comment(ask: ForgeRequest) -> ForgeAnswer:
    """A comment at a line; a reply with `in_reply_to`."""
    pull = the_pull(ask)
    body = checked_body(ask, "PullRequestReviewComment")
    if ask.body.get("in_reply_to"):
        return _reply(ask, pull, int(ask.body["in_reply_to"]), body)
    commit = ask.text("commit_id", "PullRequestReviewComment")
    if ask.git.resolve(commit) is None:
        raise unprocessable("commit_id is not part of the pull request")
    review = _add_review(ask, pull, "COMMENT", "", commit)
    comment = _add_comment(ask, pull, review, ask.body)
    _submit(ask, pull, review)
    shown = ask.views.review_comment(ask.repo, comment)
    return ForgeAnswer(201, shown, {"Location": shown["url"]})


@route("POST", "/repos/{owner}/{repo}/pulls/{pull_number}/comments/{comment_id}/replies", grant=WRITE)
def reply(ask: ForgeRequest) -> ForgeAnswer:
    return _reply(ask, the_pull(ask), ask.number("comment_id"), checked_body(ask, "PullRequestReviewComment"))


@route("GET", "/repos/{owner}/{repo}/pulls/comments/{comment_id}", grant=READ)
def show_review_comment(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, ask.views.review_comment(ask.repo, _comment(ask, ask.number("comment_id"))))


@route("PATCH", "/repos/{owner}/{repo}/pulls/comments/{comment_id}", grant=WRITE)
def edit_review_comment(ask: ForgeRequest) -> ForgeAnswer:
    comment = _mine(ask, _comment(ask, ask.number("comment_id")))
    before = comment["body"]
    comment |= {"body": checked_body(ask, "PullRequestReviewComment"), "updated_at": ask.forge.stamp()}
    ask.store.save(comment)
    _tell_comment(ask, comment, "edited", changes={"body": {"from": before}})
    return ForgeAnswer(200, ask.views.review_comment(ask.repo, comment))


@route("DELETE", "/repos/{owner}/{repo}/pulls/comments/{comment_id}", grant=WRITE)
def delete_review_comment(ask: ForgeRequest) -> ForgeAnswer:
    comment = _mine(ask, _comment(ask, ask.number("comment_id")))
    _tell_comment(ask, comment, "deleted")
    ask.store.remove(comment)
    return ForgeAnswer(204)


def resolve_thread(ask: ForgeRequest, root: Doc, resolved: bool) -> None:
    """Only GraphQL does it. The author of the pull request, and who may write."""
    pull = ask.store.one("pull", repo=ask.repo["id"], number=root["number"])
    if pull["user"] != ask.login and not access.may(ask.store, ask.actor, ask.repo, "write", WRITE):
        raise Refusal(403, "Resource not accessible by integration")
    if bool(root.get("resolved_by")) == resolved:
        return
    root["resolved_by"] = ask.login if resolved else None
    ask.store.save(root)
    thread = {
        "comments": [ask.views.review_comment(ask.repo, comment) for comment in comments_of(ask, root)],
        "node_id": thread_id(root),
    }
    shown = ask.views.pull_simple(ask.repo, pull)
    ask.forge.emit(
        ask.repo,
        "pull_request_review_thread",
        ask.actor,
        "resolved" if resolved else "unresolved",
        pull_request=shown,
        thread=thread,
    )


def comments_of(ask: ForgeRequest, root: Doc) -> list[Doc]:
    """A thread's comments, the first one first."""
    return [root, *ask.store.find("review_comment", repo=ask.repo["id"], reply_to=root["id"])]


def thread_id(root: Doc) -> str:
    from kits.fake_forge.views import node

    return node("thread", root["id"])


def _refuse_event(ask: ForgeRequest, pull: Doc, event: str | None, body: str | None, comments: Any) -> None:
    if event is not None and event not in EVENTS:
        raise unprocessable("Variable $event of type PullRequestReviewEvent was provided invalid value")
    if event == "APPROVE" and pull["user"] == ask.login:
        raise unprocessable("Can not approve your own pull request")
    if event == "REQUEST_CHANGES" and pull["user"] == ask.login:
        raise unprocessable("Can not request changes on your own pull request")
    if event in ("REQUEST_CHANGES", "COMMENT") and not (body or "").strip() and not comments:
        raise unprocessable("Body can't be blank" if event == "COMMENT" else "Review body can't be blank")


def _add_review(ask: ForgeRequest, pull: Doc, event: str | None, body: str, commit: str) -> Doc:
    review: Doc = ask.store.add(
        "review",
        repo=ask.repo["id"],
        number=pull["number"],
        user=ask.login,
        body=body,
        state=EVENTS[event] if event else "PENDING",
        commit=commit,
        submitted_at=None,
    )
    return review


def _submit(ask: ForgeRequest, pull: Doc, review: Doc) -> None:
    review["submitted_at"] = ask.forge.stamp()
    ask.store.save(review)
    if ask.login in pull["requested_reviewers"]:
        pull["requested_reviewers"].remove(ask.login)
        ask.store.save(pull)
    _tell(ask, pull, review, "submitted")
    for comment in ask.store.find("review_comment", repo=ask.repo["id"], review=review["id"]):
        comment["pending"] = False
        ask.store.save(comment)
        _tell_comment(ask, comment, "created")


def _add_comment(ask: ForgeRequest, pull: Doc, review: Doc, asked: Doc) -> Doc:
    path, side = asked.get("path"), asked.get("side", "RIGHT")
    base = ask.git.merge_base(pull["base_sha"], pull["head_sha"]) or pull["base_sha"]
    change: Changed | None = next((c for c in ask.git.changes(base, pull["head_sha"]) if c.path == path), None)
    if change is None:
        raise unprocessable("Path could not be resolved")
    whole_file = asked.get("subject_type") == "file"
    line, position = asked.get("line"), asked.get("position")
    if not whole_file:
        if line is None and position is not None:
            numbered = [
                (at, place)
                for at, place in ((n, position_of(change.patch, side, n)) for n in lines_of(change.patch)[side])
                if place == position
            ]
            line = numbered[0][0] if numbered else None
        if line is None or line not in lines_of(change.patch)[side]:
            raise unprocessable(
                "Pull request review thread line must be part of the diff and "
                "Pull request review thread diff hunk can't be blank"
            )
        position = position_of(change.patch, side, line)
    comment: Doc = ask.store.add(
        "review_comment",
        repo=ask.repo["id"],
        number=pull["number"],
        review=review["id"],
        pending=True,
        user=ask.login,
        body=asked.get("body"),
        path=path,
        side=side,
        line=line,
        original_line=line,
        start_line=asked.get("start_line"),
        original_start_line=asked.get("start_line"),
        start_side=asked.get("start_side"),
        position=position or 1,
        original_position=position or 1,
        subject_type="file" if whole_file else "line",
        hunk="" if whole_file else _hunk(change.patch, position or 1),
        commit=review["commit"],
        original_commit=review["commit"],
        created_at=ask.forge.stamp(),
        updated_at=ask.forge.stamp(),
    )
    return comment


def _hunk(patch: str, position: int) -> str:
    """The diff up to the line of the comment, from the hunk's own header."""
    lines = patch.splitlines()[: position + 1]
    start = max(index for index, line in enumerate(lines) if line.startswith("@@"))
    return "\n".join(lines[start:])


def _reply(ask: ForgeRequest, pull: Doc, to: int, body: str) -> ForgeAnswer:
    root = _comment(ask, to)
    if root["number"] != pull["number"] or root.get("reply_to"):
        raise not_found()
    review = _add_review(ask, pull, "COMMENT", "", root["commit"])
    inherited = {name: value for name, value in root.items() if name not in ("id", "kind", "resolved_by")}
    now = ask.forge.stamp()
    inherited |= {"review": review["id"], "user": ask.login, "body": body, "reply_to": root["id"]}
    comment = ask.store.add("review_comment", **{**inherited, "created_at": now, "updated_at": now})
    _submit(ask, pull, review)
    shown = ask.views.review_comment(ask.repo, comment)
    return ForgeAnswer(201, shown, {"Location": shown["url"]})


def _as_review_comment(ask: ForgeRequest, comment: Doc) -> Doc:
    """The list of one review leaves out what the others have."""
    shown = ask.views.review_comment(ask.repo, comment)
    return {name: value for name, value in shown.items() if name != "subject_type"}


def _review(ask: ForgeRequest) -> Doc:
    pull = the_pull(ask)
    found: Doc | None = ask.store.get("review", ask.number("review_id"))
    if found is None or (found["repo"], found["number"]) != (ask.repo["id"], pull["number"]):
        raise not_found()
    return found


def _comment(ask: ForgeRequest, identity: int) -> Doc:
    found: Doc | None = ask.store.get("review_comment", identity)
    if found is None or found["repo"] != ask.repo["id"]:
        raise not_found()
    return found


def _mine(ask: ForgeRequest, doc: Doc) -> Doc:
    if doc["user"] != ask.login and not access.may(ask.store, ask.actor, ask.repo, "admin", WRITE):
        raise Refusal(403, "Must have admin rights to Repository.")
    return doc


def _tell(ask: ForgeRequest, pull: Doc, review: Doc, action: str) -> None:
    shown = ask.views.pull_simple(ask.repo, pull)
    ask.forge.emit(
        ask.repo,
        "pull_request_review",
        ask.actor,
        action,
        review=hook_review(ask.views, ask.repo, review),
        pull_request=shown,
    )


def _tell_comment(ask: ForgeRequest, comment: Doc, action: str, **more: Any) -> None:
    pull = ask.store.one("pull", repo=ask.repo["id"], number=comment["number"])
    ask.forge.emit(
        ask.repo,
        "pull_request_review_comment",
        ask.actor,
        action,
        comment=ask.views.review_comment(ask.repo, comment),
        pull_request=ask.views.pull_simple(ask.repo, pull),
        **more,
    )
