"""GitHub, github.com and Enterprise Server: pull requests, reviews, statuses, merges and deployments by its REST API.

Two things have no REST: a draft that becomes ready, and whether a thread is resolved; they are asked by GraphQL. Plain
httpx for two dozen calls: a client library repeats writes by itself, and here nothing is written that was not looked
for first (https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api).
"""

import base64
import functools
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from time import sleep
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import quote, unquote, urlsplit

import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pydantic import Field, SecretStr, model_validator

from blocks.base import THIS_MACHINE, LockgateBlock
from blocks.forges.credential import RepositoryCredential
from domain.brief import Repository
from domain.errors import ForgeError, InputError, NotYet
from domain.issues import Issue, IssueComment, IssueEvent, IssueText
from domain.pull_request import (
    DeploymentState,
    MergeAnswer,
    Person,
    PullRequest,
    PullReview,
    PullState,
    Remark,
    ReviewState,
    Status,
    StatusState,
    Thread,
)
from domain.text import one_line

VERSION = "2022-11-28"
"""https://docs.github.com/en/rest/about-the-rest-api/api-versions"""
MAX_BODY = 65_000
"""Characters of a body or comment; GitHub takes 65,536."""
MAX_SENTENCE = 140
"""Characters of a status or deployment: https://docs.github.com/en/rest/commits/statuses#create-a-commit-status"""
LEAST_SECRET = 16
LONGEST_WAIT_S = 120.0
"""How long a call waits where GitHub says when it may come again; the step is tried again after that."""
RENEW_S = 300.0
"""An installation token, good for an hour, is renewed so long before its end."""
PERMISSIONS = {
    "contents": "write",
    "pull_requests": "write",
    "statuses": "write",
    "deployments": "write",
    "issues": "write",
    "metadata": "read",
}
"""What a token of an installation is made with, whatever more the App has."""
IF_GRANTED = {"checks": "write"}
"""The same, if the App has it."""
BY_US = "by Lockgate"
"""What our deployments say of themselves: those of others are left alone."""
PER_PAGE = 100
CHECK_STATES: dict[StatusState, dict[str, str]] = {
    StatusState.PENDING: {"status": "in_progress"},
    StatusState.SUCCESS: {"status": "completed", "conclusion": "success"},
    StatusState.FAILURE: {"status": "completed", "conclusion": "failure"},
    StatusState.ERROR: {"status": "completed", "conclusion": "failure"},
}
MOST_ANNOTATIONS = 50
"""A request: https://docs.github.com/en/rest/checks/runs#create-a-check-run"""
MERGEABLE = ("clean", "unstable", "has_hooks", "behind", "dirty")
WRITERS = ("write", "maintain", "admin")

_ISSUE = """
query($owner: String!, $name: String!, $number: Int!) {
  repository(owner: $owner, name: $name) { issue(number: $number) { title body lastEditedAt } } }"""
_READY = "mutation($id: ID!) { markPullRequestReadyForReview(input: {pullRequestId: $id}) { pullRequest { isDraft } } }"
_THREADS = """
query($owner: String!, $name: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $name) { pullRequest(number: $number) {
    reviewThreads(first: 50, after: $after) {
      pageInfo { hasNextPage endCursor }
      nodes { id isResolved path line comments(first: 50) { ...Remarks } } } } } }
""" + (
    _REMARKS := """
fragment Remarks on PullRequestReviewCommentConnection {
  pageInfo { hasNextPage endCursor }
  nodes { body author { __typename login ... on User { databaseId } ... on Bot { databaseId } } }
}
"""
)
_MORE_REMARKS = f"""
query($thread: ID!, $after: String) {{ node(id: $thread) {{ ... on PullRequestReviewThread {{
  comments(first: 100, after: $after) {{ ...Remarks }} }} }} }}
{_REMARKS}"""


class Page(NamedTuple):
    """One answer that GitHub gave, and the mark by which it says that nothing changed since (304, which is free)."""

    etag: str
    body: Any
    following: str | None


class GitHub(LockgateBlock):
    """GitHub, for the repositories below `url`: by a fine-grained token, or as a GitHub App."""

    _block_type_name: ClassVar[str] = "Lockgate GitHub"
    _block_type_slug: ClassVar[str] = "lockgate-github"
    _description: ClassVar[str] = "Pull requests, reviews, statuses, merges and deployments at GitHub."

    url: Repository = Field(
        "https://github.com", description="What its repositories begin with, such as https://github.com/acme"
    )
    api_url: str = Field("", description="Empty: https://api.github.com, or HOST/api/v3 of an Enterprise Server")
    token: SecretStr | None = Field(
        None, description="A fine-grained token: contents, pull requests, issues, commit statuses, deployments: write"
    )
    app_id: str = Field("", description="Of a GitHub App, in place of a token: its App ID or client ID")
    private_key: SecretStr | None = Field(None, description="The App's private key, the whole .pem file")
    webhook_secret: SecretStr | None = Field(
        None, description="Of webhooks to /door/webhooks/github/NAME of this block; empty: none are taken"
    )
    desk_url: str = Field("", description="The desk as your people open it; pull requests link to it")
    certificate: str = Field("", description="The authority's certificate (PEM) of a host with one of its own")
    timeout_s: float = Field(30, gt=0, description="Longest time for one call, in seconds")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for address in (self.url, self._api):
            site = urlsplit(address)
            if site.scheme not in ("https", "http") or not site.hostname or site.query or "@" in site.netloc:
                raise ValueError(f"{address!r} is not an address that begins with https:// and names a host")
            if site.scheme == "http" and site.hostname not in THIS_MACHINE:
                raise ValueError("a token is not sent over http: use https")
        if self.webhook_secret and len(self.webhook_secret.get_secret_value()) < LEAST_SECRET:
            raise ValueError(f"a webhook_secret has {LEAST_SECRET} characters at least: whoever guesses it is believed")
        is_app = bool(self.app_id and self.private_key)
        if is_app == bool(self.token) or bool(self.app_id) != bool(self.private_key):
            raise ValueError("give a token, or app_id and private_key of a GitHub App")
        return self

    # ── who and where ──

    @property
    def host(self) -> str:
        """Its name, such as github.com."""
        return urlsplit(self.url).netloc

    def is_for(self, repository: str) -> bool:
        """Whether the repository is `url`, or one below it, in whatever case: to GitHub that is the same."""
        if any(part in (".", "..") for part in unquote(repository).split("/")):
            return False
        return f"{repository.rstrip('/')}/".casefold().startswith(f"{self.url.rstrip('/')}/".casefold())

    def credential(self, repository: str) -> RepositoryCredential:
        """What opens this repository for git: the same token, through a pipe."""
        return RepositoryCredential(url=repository, token=SecretStr(self._token(repository)))

    def me(self, repository: str) -> str:
        """The login that the platform writes as."""
        if self.private_key:
            return f"{self._as_app('GET', '/app')['slug']}[bot]"
        return str(self._get(repository, "/user")["login"])

    # ── pull requests ──

    def propose(self, repository: str, branch: str, base: str, title: str, body: str, *, draft: bool) -> PullRequest:
        """The one pull request from `branch`, made or brought up to date. One that is over is given as it is."""
        where, body = _path(repository), _bounded(body)
        known = self._from(repository, branch)
        if known is None:
            asked = {"title": title, "head": branch, "base": base, "body": body, "draft": draft}
            known = self._made(repository, branch, asked)
        if known["state"] == "open" and (known["title"], known["body"]) != (title, body):
            known = self._send(
                repository, "PATCH", f"/repos/{where}/pulls/{known['number']}", {"title": title, "body": body}
            )
        return self.pull_request(repository, known["number"])

    def _made(self, repository: str, branch: str, asked: Mapping[str, Any]) -> Any:
        """A new one. 422 says that it is there already (a call that was cut off after it was done), or no drafts."""
        where = f"/repos/{_path(repository)}/pulls"
        for draft in dict.fromkeys((asked["draft"], False)):
            try:
                return self._send(repository, "POST", where, {**asked, "draft": draft})
            except ForgeError as err:
                if known := self._from(repository, branch):
                    return known
                if not draft or not isinstance(err, Refusal) or "draft" not in err.said.lower():
                    raise
        raise ForgeError(f"{self.host}: no pull request could be made from {branch}")

    def _from(self, repository: str, branch: str) -> Any:
        owner = _path(repository).partition("/")[0]
        query = f"state=all&head={quote(f'{owner}:{branch}', safe='')}"
        found = self._all(repository, f"/repos/{_path(repository)}/pulls?{query}")
        ours = [one for one in found if one["head"]["ref"] == branch and _repo_of(one["head"]) == _repo_of(one["base"])]
        return max(ours, key=lambda one: (one["state"] == "open", one["number"]), default=None)

    def pull_request(self, repository: str, number: int) -> PullRequest:
        """As it stands now."""
        one = self._get(repository, f"/repos/{_path(repository)}/pulls/{number}")
        state = PullState.MERGED if one["merged"] else PullState(one["state"])
        return PullRequest(
            number=one["number"],
            url=one["html_url"],
            node=one["node_id"],
            branch=one["head"]["ref"],
            base=one["base"]["ref"],
            head=one["head"]["sha"],
            state=state,
            is_draft=bool(one.get("draft")),
            merged_commit=one["merge_commit_sha"] if one["merged"] else None,
            ended_by=self._ended_by(repository, one),
            is_branch_gone=state is PullState.CLOSED and self._is_gone(repository, one),
        )

    def _ended_by(self, repository: str, pull: Mapping[str, Any]) -> Person | None:
        """Who closed it is told of the issue that it is, too."""
        if pull["merged"]:
            by = pull.get("merged_by")
        elif pull["state"] == "closed":
            by = self._get(repository, f"/repos/{_path(repository)}/issues/{pull['number']}").get("closed_by")
        else:
            by = None
        return _person(by) if by else None

    def _is_gone(self, repository: str, pull: Mapping[str, Any]) -> bool:
        branch = quote(pull["head"]["ref"], safe="/")
        try:
            self._get(repository, f"/repos/{_path(repository)}/git/ref/heads/{branch}")
        except Missing:
            return True
        return False

    def mark_ready(self, repository: str, pull: PullRequest) -> None:
        """It is no draft any more. Safe to repeat."""
        if pull.is_draft:
            self._graph(repository, _READY, {"id": pull.node})

    def ask_reviewers(self, repository: str, number: int, logins: Sequence[str]) -> tuple[str, ...]:
        """Ask these people, each by a call of its own; those whom GitHub does not let review are returned."""
        where = f"/repos/{_path(repository)}/pulls/{number}/requested_reviewers"
        if not logins:
            return ()
        asked = {one["login"].casefold() for one in self._get(repository, where)["users"]}
        refused = []
        for login in logins:
            if login.casefold() in asked:
                continue
            try:
                self._send(repository, "POST", where, {"reviewers": [login]})
            except Refusal:
                refused.append(login)  # no collaborator, or the author: the statuses and the desk still say who decides
        return tuple(refused)

    def report(self, repository: str, commit: str, statuses: Sequence[Status]) -> None:
        """Check runs with annotations, if we are an App that may write them; else commit statuses. The newest of each
        is looked at first."""
        if self._may_check(repository):
            self._report_checks(repository, commit, statuses)
            self._report_statuses(repository, commit, statuses, only_those_there=True)
        else:
            self._report_statuses(repository, commit, statuses)

    def _report_statuses(
        self, repository: str, commit: str, statuses: Sequence[Status], only_those_there: bool = False
    ) -> None:
        """`only_those_there`: made before we might write checks; a required name needs both, check and status."""
        where = f"/repos/{_path(repository)}"
        said: dict[str, tuple[str, str]] = {}
        for one in self._all(repository, f"{where}/commits/{commit}/statuses"):  # the newest first
            said.setdefault(one["context"], (one["state"], one["description"] or ""))
        for status in statuses:
            sentence = _short(status.sentence)
            if only_those_there and status.context not in said:
                continue
            if said.get(status.context) != (status.state.value, sentence):
                body = {"state": status.state.value, "context": status.context, "description": sentence}
                self._send(repository, "POST", f"{where}/statuses/{commit}", body)

    def _report_checks(self, repository: str, commit: str, statuses: Sequence[Status]) -> None:
        where, me = f"/repos/{_path(repository)}", self.me(repository).removesuffix("[bot]")
        known = {
            one["name"]: one
            for one in self._all(repository, f"{where}/commits/{commit}/check-runs", "check_runs")
            if (one.get("app") or {}).get("slug") == me
        }
        for status in statuses:
            self._report_check(repository, commit, status, known.get(status.context))

    def _report_check(self, repository: str, commit: str, status: Status, known: Any) -> None:
        """One check run. Its annotations are added, never replaced: those that are there already are counted."""
        where = f"/repos/{_path(repository)}/check-runs"
        output = {"title": _short(status.sentence), "summary": _bounded(status.text or status.sentence)}
        state = CHECK_STATES[status.state]
        notes = [
            {
                "path": one.path, "start_line": one.line, "end_line": one.line, "annotation_level": one.level.value,
                "title": one.title, "message": one.message,
            }
            for one in status.annotations
        ]  # fmt: skip
        if known is None:
            first = {"name": status.context, "head_sha": commit, **state}
            body = {**first, "output": {**output, "annotations": notes[:MOST_ANNOTATIONS]}}
            known = self._send(repository, "POST", where, body)
        is_said = (
            all(known[name] == value for name, value in state.items()) and known["output"]["title"] == output["title"]
        )
        there = int(known["output"]["annotations_count"])
        while not is_said or there < len(notes):
            some = notes[there : there + MOST_ANNOTATIONS]
            body = {**state, "output": {**output, "annotations": some}}
            self._send(repository, "PATCH", f"{where}/{known['id']}", body)
            there, is_said = there + len(some), True

    def comment(self, repository: str, number: int, marker: str, body: str) -> None:
        """The one comment of ours that begins with the hidden marker; others' comments are never touched."""
        where, text = f"/repos/{_path(repository)}/issues", _bounded(f"<!-- {marker} -->\n{body}")
        me = self.me(repository).casefold()
        for one in self._all(repository, f"{where}/{number}/comments"):
            by = str((one["user"] or {}).get("login", "")).casefold()
            if by == me and str(one["body"] or "").startswith(f"<!-- {marker} -->"):
                if one["body"] != text:
                    self._send(repository, "PATCH", f"{where}/comments/{one['id']}", {"body": text})
                return
        self._send(repository, "POST", f"{where}/{number}/comments", {"body": text})

    # ── what people say ──

    def reviews(self, repository: str, number: int) -> tuple[PullReview, ...]:
        """All of them, the oldest first; those of users who are gone are left out."""
        found = self._all(repository, f"/repos/{_path(repository)}/pulls/{number}/reviews")
        return tuple(
            PullReview(
                id=one["id"],
                by=_person(one["user"]),
                state=ReviewState(one["state"]),
                commit=one.get("commit_id") or "",
                text=one.get("body") or "",
            )
            for one in found
            if one["user"]
        )

    def threads(self, repository: str, number: int) -> tuple[Thread, ...]:
        """Threads at lines; remarks of users who are gone are left out."""
        owner, _, name = _path(repository).partition("/")
        found: list[Thread] = []
        after: str | None = None
        while True:
            given = {"owner": owner, "name": name, "number": number, "after": after}
            asked = self._graph(repository, _THREADS, given)["repository"]["pullRequest"]["reviewThreads"]
            for one in asked["nodes"]:
                remarks = tuple(self._remarks(repository, one))
                found.append(Thread(path=one["path"], line=one["line"], is_resolved=one["isResolved"], remarks=remarks))
            if not asked["pageInfo"]["hasNextPage"]:
                return tuple(found)
            after = asked["pageInfo"]["endCursor"]

    def _remarks(self, repository: str, thread: Mapping[str, Any]) -> Iterator[Remark]:
        """All that was said in a thread, page after page."""
        page = thread["comments"]
        while True:
            yield from (Remark(by=_author(one["author"]), text=one["body"]) for one in page["nodes"] if one["author"])
            if not page["pageInfo"]["hasNextPage"]:
                return
            given = {"thread": thread["id"], "after": page["pageInfo"]["endCursor"]}
            page = self._graph(repository, _MORE_REMARKS, given)["node"]["comments"]

    def may_write(self, repository: str, person: Person) -> bool:
        """Whether this user may write there now. False also where the login is another user's by now."""
        where = f"/repos/{_path(repository)}/collaborators/{quote(person.login, safe='')}/permission"
        try:
            said = self._get(repository, where)
        except Missing:
            return False  # no such user, or nothing is said of them
        user = said.get("user") or {}
        return user.get("id") == person.id and (said.get("role_name") in WRITERS or said.get("permission") in WRITERS)

    # ── issues ──

    def repository_id(self, repository: str) -> int:
        """Its number, which stays where it is renamed."""
        return int(self._get(repository, f"/repos/{_path(repository)}")["id"])

    def moment(self, repository: str) -> datetime:
        """What its clock says. All times that it tells are of that clock."""
        said = self._signed_call(repository, "GET", f"/repos/{_path(repository)}").headers.get("date", "")
        try:
            return parsedate_to_datetime(said).astimezone(UTC)
        except ValueError:
            raise ForgeError(f"{self.host} does not say what time it is") from None

    def issues(self, repository: str, label: str, since: datetime) -> tuple[Issue, ...]:
        """Open issues with this label that changed since then. Pull requests are none."""
        query = f"labels={quote(label, safe='')}&state=open"
        found = self._since(repository, f"/repos/{_path(repository)}/issues", query, since)
        return tuple(_issue(one) for one in found if "pull_request" not in one)

    def issue(self, repository: str, number: int) -> Issue | None:
        """As it stands now; None: it was deleted or moved elsewhere, or is a pull request."""
        try:
            one = self._get(repository, f"/repos/{_path(repository)}/issues/{number}")
        except Moved:
            self._get(repository, f"/repos/{_path(repository)}")  # it is not the whole repository that was
            return None
        except Refusal as err:
            if err.code == 410:
                return None
            raise
        return None if "pull_request" in one else _issue(one)

    def issue_text(self, repository: str, number: int) -> IssueText:
        """Title and body now, and when the body was edited last, which REST does not tell."""
        owner, _, name = _path(repository).partition("/")
        given = {"owner": owner, "name": name, "number": number}
        one = self._graph(repository, _ISSUE, given)["repository"]["issue"]
        return IssueText(title=one["title"], body=one["body"] or "", edited_at=one["lastEditedAt"])

    def issue_events(self, repository: str, number: int) -> tuple[IssueEvent, ...]:
        """What happened to it, the oldest first. It does not tell that the body was edited."""
        found = self._all(repository, f"/repos/{_path(repository)}/issues/{number}/events")
        return tuple(
            IssueEvent(
                id=one["id"],
                kind=one["event"],
                by=_person(one["actor"]) if one.get("actor") else None,
                at=one["created_at"],
                label=(one.get("label") or {}).get("name", ""),
                is_by_app=bool(one.get("performed_via_github_app")),
            )
            for one in sorted(found, key=lambda one: int(one["id"]))
        )

    def issue_comments(self, repository: str, since: datetime) -> tuple[IssueComment, ...]:
        """Comments that were written or edited since then, at issues and pull requests."""
        found = self._since(repository, f"/repos/{_path(repository)}/issues/comments", "", since)
        return tuple(
            IssueComment(
                id=one["id"],
                number=int(one["issue_url"].rpartition("/")[2]),
                by=_person(one["user"]) if one.get("user") else None,
                text=one.get("body") or "",
                at=one["created_at"],
                updated_at=one["updated_at"],
                is_by_app=bool(one.get("performed_via_github_app")),
            )
            for one in found
        )

    def _since(self, repository: str, path: str, query: str, since: datetime) -> list[Any]:
        """All of a list that changed since then, the oldest change first, each once.

        What changes while it is read moves to the end, and what follows it onto an earlier page, past which a reader of
        pages would go. So each question begins where the last answer ended, a second earlier. A page that breaks is an
        error, never a shorter list.
        """
        found: dict[int, Any] = {}
        page = 1
        while True:
            stamp = quote(f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", safe="")
            asked = f"{path}?{query}&" if query else f"{path}?"
            ordered = f"{asked}sort=updated&direction=asc&since={stamp}&per_page={PER_PAGE}&page={page}"
            got = self._page(repository, ordered).body
            found |= {one["id"]: one for one in got}
            if len(got) < PER_PAGE:
                return sorted(found.values(), key=lambda one: (one["updated_at"], one["id"]))
            last = datetime.fromisoformat(got[-1]["updated_at"]) - timedelta(seconds=1)
            since, page = (last, 1) if last > since else (since, page + 1)

    # ── merge and release ──

    def merge(self, repository: str, pull: PullRequest, head: str, title: str, message: str) -> MergeAnswer:
        """One commit on the base branch: squash, or rebase where only that is allowed. GitHub checks the head itself,
        and its own rules; a refusal is told in its words."""
        now = self.pull_request(repository, pull.number)
        if now.state is PullState.MERGED:
            return MergeAnswer(now.merged_commit)
        if now.state is PullState.CLOSED:
            return MergeAnswer(None, "the pull request was closed")
        if now.head != head:
            return MergeAnswer(None, f"its head is {now.head[:12]}, which nobody judged", is_moved=True)
        if now.is_draft:
            return MergeAnswer(None, "somebody made it a draft again", is_moved=True)
        asked: dict[str, Any] = {"sha": head, "merge_method": self._method(repository)}
        if asked["merge_method"] == "squash":
            asked |= {"commit_title": title, "commit_message": message}
        where = f"/repos/{_path(repository)}/pulls/{pull.number}/merge"
        try:
            return MergeAnswer(str(self._send(repository, "PUT", where, asked)["sha"]))
        except ForgeError as err:
            after = self.pull_request(repository, pull.number)  # refused, or cut off after it was done
            if after.state is PullState.MERGED:
                return MergeAnswer(after.merged_commit)
            if isinstance(err, Refusal):
                return MergeAnswer(None, err.said, is_moved=after.head != head, may_pass=err.code in (405, 409))
            raise

    def _method(self, repository: str) -> str:
        """A merge commit has two parents, and could not be taken back by one revert."""
        allowed = self._get(repository, f"/repos/{_path(repository)}")
        for name in ("squash", "rebase"):
            if allowed.get(f"allow_{name}_merge", name == "squash"):
                return name
        raise InputError(f"{repository} allows neither squash nor rebase merges: allow one in its settings")

    def announce(
        self, repository: str, commit: str, environment: str, state: DeploymentState, url: str, sentence: str
    ) -> None:
        """The newest deployment of `commit` there, and its newest status. One that is over is begun anew."""
        where = f"/repos/{_path(repository)}/deployments"
        query = f"sha={commit}&environment={quote(environment, safe='')}"
        ours = [one for one in self._all(repository, f"{where}?{query}") if one["description"] == BY_US]  # newest first
        said = self._all(repository, f"{where}/{ours[0]['id']}/statuses") if ours else []
        is_over = bool(said) and said[0]["state"] in ("inactive", "failure", "error")
        if not ours or (is_over and state is DeploymentState.IN_PROGRESS):
            asked = {
                "ref": commit, "environment": environment, "auto_merge": False, "required_contexts": [],
                "description": BY_US, "task": "deploy",
            }  # fmt: skip
            ours, said = [self._send(repository, "POST", where, asked)], []
        if any(one["state"] == state.value for one in said):
            return
        at = f"{where}/{ours[0]['id']}/statuses"
        told = {"state": state.value, "description": _short(sentence), "environment_url": url, "auto_inactive": True}
        self._send(repository, "POST", at, told)

    def why_blocked(self, repository: str, number: int, looks: int = 1) -> str | None:
        """Why it would not be merged now; None if it would, or where another step says so: one that is behind or
        conflicts is made anew on top of the newest commit. `looks`: how often, a second apart, while it is computed.

        https://docs.github.com/en/graphql/reference/enums#mergestatestatus
        """
        for turn in range(looks):
            if turn:
                sleep(1)  # our question began the computing
            one = self._get(repository, f"/repos/{_path(repository)}/pulls/{number}")
            state = str(one.get("mergeable_state") or "unknown")
            if state != "unknown" or one["state"] != "open":
                break
        if one["state"] != "open" or (state in MERGEABLE and not one.get("draft")):
            return None
        if one.get("draft"):
            return "somebody made it a draft again: mark it as ready for review"
        if state == "unknown":
            return "the forge has not said yet whether it can be merged"
        if state == "blocked":
            return "the rules of its branch are not fulfilled yet: required checks, reviews or conversations"
        return f"the forge calls its state {one_line(state)}, which nobody here knows"

    def why_over(self, repository: str) -> str | None:
        """Why nothing can be done there any more; None if it can."""
        try:
            one = self._get(repository, f"/repos/{_path(repository)}")
        except Moved as err:
            return str(err)
        if one.get("archived"):
            return f"{repository} was archived at {self.host}: unarchive it, and send the brief anew"
        return None

    def is_answering(self, repository: str) -> bool:
        """Whether it answers at all; with a refusal, too."""
        try:
            self._get(repository, f"/repos/{_path(repository)}")
        except NotYet:
            return False
        except (ForgeError, InputError):
            return True  # the run is told the same, and says it
        return True

    def doctor(self, repository: str) -> str | None:
        """None if the token works for this repository, else what is missing."""
        try:
            self._get(repository, f"/repos/{_path(repository)}")
            self.me(repository)
        except (ForgeError, InputError) as err:
            return str(err)
        return None

    # ── one client ──

    @property
    def _api(self) -> str:
        if self.api_url:
            return self.api_url.rstrip("/")
        site = urlsplit(self.url)
        return "https://api.github.com" if site.netloc == "github.com" else f"{site.scheme}://{site.netloc}/api/v3"

    def _get(self, repository: str, path: str) -> Any:
        return self._page(repository, path).body

    def _all(self, repository: str, path: str, name: str = "") -> list[Any]:
        """Every page of a list, or of the list called `name` in it. One that breaks is an error, never a shorter list.

        A page that is still as it was says nothing of a next one that came since: after a full one, it is asked for.
        """
        first = f"{path}{'&' if '?' in path else '?'}per_page={PER_PAGE}"
        found: list[Any] = []
        following: str | None = first
        number = 1
        while following is not None:
            page = self._page(repository, following)
            items = page.body[name] if name else page.body
            found += items
            number += 1
            following = page.following or (f"{first}&page={number}" if len(items) >= PER_PAGE else None)
        return found

    def _page(self, repository: str, path: str) -> Page:
        """One answer; from memory where GitHub says that it is still so."""
        key = (self._api, self._identity, path)
        known = _pages.get(key)
        answer = self._signed_call(repository, "GET", path, etag=known.etag if known else "")
        if answer.status_code == 304 and known:
            return known
        page = Page(answer.headers.get("etag", ""), _json(answer), self._following(answer))
        if page.etag:
            if len(_pages) > 2000:
                _pages.clear()
            _pages[key] = page
        return page

    def _following(self, answer: httpx.Response) -> str | None:
        address = answer.links.get("next", {}).get("url")
        if address is None:
            return None
        if not address.startswith(f"{self._api}/"):
            raise ForgeError(f"{self.host}: the next page is at another address: the token is not sent there")
        return str(address[len(self._api) :])

    def _send(self, repository: str, method: str, path: str, body: Mapping[str, Any]) -> Any:
        return _json(self._signed_call(repository, method, path, body))

    def _graph(self, repository: str, query: str, variables: Mapping[str, Any]) -> Any:
        base = self._api.removesuffix("/api/v3")
        address = f"{base}/api/graphql" if base != self._api else f"{base}/graphql"
        given = {"query": query, "variables": variables}
        answer = _json(self._signed_call(repository, "POST", address, given))
        if answer.get("errors") or not answer.get("data"):
            said = "; ".join(str(one.get("message", "")) for one in answer.get("errors") or ()) or "no data"
            raise ForgeError(f"{self.host}: {said}")
        return answer["data"]

    def _signed_call(
        self, repository: str, method: str, path: str, body: Mapping[str, Any] | None = None, *, etag: str = ""
    ) -> httpx.Response:
        """One request with our token. An App whose token is not taken any more gets a new one, once."""
        token = self._token(repository)
        try:
            return self._call(method, path, token, body, etag=etag)
        except Unsigned:  # nothing was done
            if not self.forget_token(repository, token):
                raise
        return self._call(method, path, self._token(repository), body, etag=etag)

    def _call(
        self, method: str, path: str, token: str, body: Mapping[str, Any] | None = None, *, etag: str = ""
    ) -> httpx.Response:
        """One request. A read is tried again; a write never is, for it may have been done."""
        address = path if "://" in path else f"{self._api}{path}"
        headers = {"Authorization": f"Bearer {token}", "X-GitHub-Api-Version": VERSION}
        headers |= {"If-None-Match": etag} if etag else {}
        last = ""
        for turn in range(4):
            try:
                answer = _client(self.certificate).request(
                    method, address, json=body, headers=headers, timeout=self.timeout_s
                )
            except httpx.HTTPError as err:
                last = f"{self.host} does not answer: {type(err).__name__}"
                if method != "GET":
                    raise NotYet(last) from None  # an error of httpx holds the request, and with it the token
            else:
                wait_s = _wait_s(answer)
                if wait_s is None and (answer.status_code < 500 or method != "GET"):
                    return self._accepted(answer, method, path)
                last = f"{self.host} answered {answer.status_code} to {method} {_plain(path)}"
                if wait_s is not None:
                    if wait_s > LONGEST_WAIT_S or turn == 3:
                        raise NotYet(f"{last}: too many requests, try again in {wait_s:.0f} s")
                    sleep(wait_s)
                    continue
            sleep(0.5 * (turn + 1))
        raise NotYet(last)

    def _accepted(self, answer: httpx.Response, method: str, path: str) -> httpx.Response:
        code = answer.status_code
        if code < 300 or code == 304:
            return answer
        said = f"{self.host} answered {code} to {method} {_plain(path)}: {_message(answer)}"
        if 300 <= code < 400:
            raise Moved(f"{said}: it was renamed or moved; name its new address, and send the brief anew")
        if code == 401:
            raise Unsigned(f"{said}: the token ran out or was taken back; save a new one in the block")
        if code == 404:
            raise Missing(f"{said}: it is gone, or the token may not see it")
        if code >= 500:
            raise NotYet(said)
        raise Refusal(said, _message(answer), code)

    # ── who signs ──

    @property
    def _identity(self) -> str:
        return self.app_id or str(hash(self.token.get_secret_value() if self.token else ""))

    def _token(self, repository: str) -> str:
        if self.token:
            return self.token.get_secret_value()
        key = (self._api, self.app_id, _path(repository))
        with _tokens_lock:
            known = _tokens.get(key, NONE)
            if time.time() >= known.until - RENEW_S:
                known = _tokens[key] = self._installation_token(_path(repository))
            return known.value

    def _may_check(self, repository: str) -> bool:
        """Check runs are written by Apps alone: https://docs.github.com/en/rest/checks/runs"""
        if self.token:
            return False
        self._token(repository)
        with _tokens_lock:
            return _tokens.get((self._api, self.app_id, _path(repository)), NONE).may_check

    def forget_token(self, repository: str, token: str | None = None) -> bool:
        """The token of an installation was not taken: the next call asks for a new one. Whether there can be one.

        `token`: that which was not taken; another thread may have a new one already.
        """
        if self.token:
            return False
        key = (self._api, self.app_id, _path(repository))
        with _tokens_lock:
            if token is None or _tokens.get(key, NONE).value == token:
                _tokens.pop(key, None)
        return True

    def _installation_token(self, path: str) -> "InstallationToken":
        """For this repository alone, with what we need and no more."""
        installed = self._as_app("GET", f"/repos/{path}/installation")
        more = {name: level for name, level in IF_GRANTED.items() if installed["permissions"].get(name) == level}
        asked = {"repositories": [path.partition("/")[2]], "permissions": PERMISSIONS | more}
        made = self._as_app("POST", f"/app/installations/{installed['id']}/access_tokens", asked)
        return InstallationToken(str(made["token"]), time.time() + 3600, "checks" in more)

    def _as_app(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return _json(self._call(method, path, self._signed(), body))

    def _signed(self) -> str:
        """A token of the App itself, for nine minutes.

        https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app
        """
        now = int(time.time())
        claims = {"iat": now - 60, "exp": now + 540, "iss": self.app_id}
        text = b".".join(_encoded(json.dumps(one).encode()) for one in ({"alg": "RS256", "typ": "JWT"}, claims))
        try:
            pem = (self.private_key or SecretStr("")).get_secret_value()
            key = serialization.load_pem_private_key(pem.encode(), None)
        except (ValueError, TypeError):
            raise InputError("the private_key of the GitHub App cannot be read: save the whole .pem file") from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise InputError("the private_key of a GitHub App is an RSA key")
        return (text + b"." + _encoded(key.sign(text, padding.PKCS1v15(), hashes.SHA256()))).decode()


class Missing(InputError):
    """It is not there, or the token may not see it."""


class Unsigned(InputError):
    """The token is not taken."""


class Moved(InputError):
    """It has another address now."""


class Refusal(ForgeError):
    """GitHub understood, and said no."""

    def __init__(self, text: str, said: str, code: int) -> None:
        super().__init__(text)
        self.said, self.code = said, code


class InstallationToken(NamedTuple):
    """What an App works with in one repository."""

    value: str
    until: float
    """Unix seconds."""
    may_check: bool


NONE = InstallationToken("", 0.0, False)
_pages: dict[tuple[str, str, str], Page] = {}
_tokens: dict[tuple[str, str, str], InstallationToken] = {}
_tokens_lock = threading.RLock()


@functools.lru_cache(maxsize=4)
def _client(certificate: str) -> httpx.Client:
    """One for all: it follows no redirect, so no token goes to where a host points."""
    context = ssl.create_default_context(cadata=certificate or None)
    headers = {"Accept": "application/vnd.github+json", "User-Agent": "lockgate"}
    return httpx.Client(verify=context, headers=headers, follow_redirects=False)


def _path(repository: str) -> str:
    """owner/name."""
    parts = urlsplit(repository).path.strip("/").removesuffix(".git").split("/")
    if len(parts) != 2 or not all(parts):
        raise InputError(f"{repository} is no repository of GitHub: https://HOST/OWNER/NAME is")
    return "/".join(quote(part, safe="") for part in parts)


def _repo_of(end: Mapping[str, Any]) -> Any:
    return (end.get("repo") or {}).get("id")


def _person(user: Mapping[str, Any]) -> Person:
    return Person(login=user["login"], id=user["id"], is_bot=user.get("type") != "User")


def _issue(one: Mapping[str, Any]) -> Issue:
    return Issue(
        number=one["number"],
        url=one["html_url"],
        is_open=one["state"] == "open",
        labels=tuple(label if isinstance(label, str) else label["name"] for label in one["labels"]),
        updated_at=one["updated_at"],
    )


def _author(author: Mapping[str, Any]) -> Person:
    kind = author.get("__typename")
    return Person(login=author["login"], id=author.get("databaseId") or 0, is_bot=kind != "User")


def _wait_s(answer: httpx.Response) -> float | None:
    """How long GitHub wants to be left alone; None if it does not.

    https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
    """
    if answer.status_code not in (403, 429):
        return None
    after = answer.headers.get("retry-after", "")
    if after.isdigit():
        return float(after)
    if answer.headers.get("x-ratelimit-remaining") == "0":
        reset = answer.headers.get("x-ratelimit-reset", "")
        return max(1.0, float(reset) - time.time()) if reset.isdigit() else 60.0
    return 60.0 if answer.status_code == 429 or "secondary rate limit" in answer.text.lower() else None


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json() if answer.content else {}
    except ValueError:
        raise ForgeError(f"{answer.url.host} answered something that is no JSON") from None


def _message(answer: httpx.Response) -> str:
    """What it says, on one line, bounded."""
    try:
        said = answer.json()
        errors = said.get("errors") or ()
        more = [
            str(one.get("message") or one.get("code") or "") if isinstance(one, dict) else str(one) for one in errors
        ]
        text = ": ".join(part for part in (str(said.get("message", "")), "; ".join(filter(None, more))) if part)
    except (ValueError, AttributeError):
        text = answer.text
    return " ".join(text.split())[:300]


def _plain(path: str) -> str:
    return urlsplit(path).path


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_BODY else f"{text[:MAX_BODY]}\n\n… cut here; the desk has all of it"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_SENTENCE else f"{line[: MAX_SENTENCE - 1]}…"


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
