"""GitHub, github.com and Enterprise Server: pull requests, reviews, statuses, merges and deployments by its REST API.

Two things have no REST: a draft that becomes ready, and whether a thread is resolved; they are asked by GraphQL.
"""

import base64
import gzip
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import quote, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pydantic import Field, SecretStr, model_validator

from blocks.forges import hosted
from blocks.forges.hosted import (
    ForgeComment,
    ForgeRefusal,
    HostedBlock,
    Moved,
    NotAtForge,
    at_lines,
    bounded,
    changed,
    json_of,
    lines_mark,
    short,
    without_merge,
)
from domain.brief import Repository
from domain.diffs import files_of
from domain.errors import ForgeError, InputError
from domain.issues import Issue, IssueComment, IssueEvent, IssueText
from domain.pull_request import (
    DeploymentState,
    LineRemark,
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
IF_GRANTED = {"checks": "write", "security_events": "write"}
"""The same, if the App has it."""
BY_US = "by Lockgate"
"""What our deployments say of themselves: those of others are left alone."""
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
OLDEST_FIRST = "sort=updated&direction=asc"

_TEXT = """
query($owner: String!, $name: String!, $number: Int!) {
  repository(owner: $owner, name: $name) { WHAT(number: $number) { title body lastEditedAt } } }"""
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


class GitHub(HostedBlock):
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

    code_scanning: bool = Field(
        False,
        description="Findings go to the repository's code scanning, too, as SARIF: it has to be switched on there, and "
        "the token may write security events",
    )

    @model_validator(mode="after")
    def _signs(self) -> Self:
        is_app = bool(self.app_id and self.private_key)
        if is_app == bool(self.token) or bool(self.app_id) != bool(self.private_key):
            raise ValueError("give a token, or app_id and private_key of a GitHub App")
        return self

    # ── who and where ──

    def me(self, repository: str) -> str:
        """The login that the platform writes as."""
        if self.private_key:
            return f"{self._as_app('GET', '/app')['slug']}[bot]"
        return super().me(repository)

    # ── pull requests ──

    def propose(self, repository: str, branch: str, base: str, title: str, body: str, *, draft: bool) -> PullRequest:
        """The one pull request from `branch`, made or brought up to date. One that is over is given as it is."""
        where, body = _path(repository), bounded(body)
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
                if not draft or not isinstance(err, ForgeRefusal) or "draft" not in err.said.lower():
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
            by=_person(one["user"]) if one.get("user") else None,
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
        """A fork's branch is not looked for: it may be nobody's to see."""
        if _repo_of(pull["head"]) != _repo_of(pull["base"]):
            return False
        branch = quote(pull["head"]["ref"], safe="/")
        try:
            self._get(repository, f"/repos/{_path(repository)}/git/ref/heads/{branch}")
        except NotAtForge:
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
            except ForgeRefusal:
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
        for status in changed(statuses, said):
            if only_those_there and status.context not in said:
                continue
            body = {
                "state": status.state.value, "context": status.context, "description": short(status.sentence),
            }  # fmt: skip
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
        output = {"title": short(status.sentence), "summary": bounded(status.text or status.sentence)}
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

    def _comments(self, repository: str, at: str) -> Iterator[ForgeComment]:
        for one in self._all(repository, f"{at}/comments"):
            yield ForgeComment(one["id"], str((one["user"] or {}).get("login", "")), str(one["body"] or ""))

    # ── what people say ──

    def scan_results(self, repository: str, commit: str, ref: str, sarif: bytes) -> str | None:
        """Code scanning takes them, where it is switched on and we may. What is uploaded again for a commit and tool
        takes the place of what was there.

        https://docs.github.com/en/rest/code-scanning/code-scanning#upload-an-analysis-as-sarif-data
        """
        if not self.code_scanning:
            return None
        body = {"commit_sha": commit, "ref": ref, "sarif": base64.b64encode(gzip.compress(sarif, mtime=0)).decode()}
        try:
            self._send(repository, "POST", f"/repos/{_path(repository)}/code-scanning/sarifs", body)
        except (NotAtForge, ForgeRefusal) as err:
            return str(err)
        return None

    def remark(self, repository: str, number: int, head: str, remarks: Sequence[LineRemark]) -> None:
        """One review that comments and decides nothing. It is found again by its hidden mark: one is made a head.

        https://docs.github.com/en/rest/pulls/reviews#create-a-review-for-a-pull-request
        """
        where, mark = f"/repos/{_path(repository)}/pulls/{number}", lines_mark(head)
        if not remarks or self.has_said(repository, self.reviews(repository, number), mark):
            return
        lines = self._lines(repository, where)
        if self._get(repository, where)["head"]["sha"] != head:  # asked last: those may be the lines of another head
            return
        shown, summary = at_lines(remarks, lambda one: one.line in lines.get(one.path, ()))
        if not shown:
            return
        notes = [{"path": one.path, "line": one.line, "side": "RIGHT", "body": bounded(one.text)} for one in shown]
        body = bounded(f"{mark}\n{summary}")
        asked = {"commit_id": head, "event": "COMMENT", "body": body, "comments": notes}
        self._send(repository, "POST", f"{where}/reviews", asked)

    def _lines(self, repository: str, where: str) -> dict[str, set[int]]:
        """The lines of each changed file at which something can be said. Of a large file none is given."""
        found: dict[str, set[int]] = {}
        for one in self._all(repository, f"{where}/files"):
            files, _ = files_of(f"diff --git a/x b/x\n{one.get('patch') or ''}")
            found[one["filename"]] = {line.new for file in files for line in file.lines if line.new is not None}
        return found

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
        except NotAtForge:
            return False  # no such user, or nothing is said of them
        user = said.get("user") or {}
        return user.get("id") == person.id and (said.get("role_name") in WRITERS or said.get("permission") in WRITERS)

    # ── issues ──

    def issues(self, repository: str, label: str, since: datetime) -> tuple[Issue, ...]:
        """Open issues and pull requests with this label that changed since then."""
        return self._open(repository, f"labels={quote(label, safe='')}", since)

    def assigned(self, repository: str, login: str, since: datetime) -> tuple[Issue, ...]:
        """The same of those that are assigned to this user. Nothing is ever assigned to an App."""
        return () if self.private_key else self._open(repository, f"assignee={quote(login, safe='')}", since)

    def _open(self, repository: str, query: str, since: datetime) -> tuple[Issue, ...]:
        ordered = f"{query}&state=open&{OLDEST_FIRST}"
        return tuple(_issue(one) for one in self._since(repository, f"{self._at(repository)}/issues", ordered, since))

    def issue(self, repository: str, number: int, *, is_pull: bool = False) -> Issue | None:
        """As it stands now, a pull request as well; None: it was deleted or moved elsewhere."""
        try:
            one = self._get(repository, f"/repos/{_path(repository)}/issues/{number}")
        except Moved:
            self._get(repository, f"/repos/{_path(repository)}")  # it is not the whole repository that was
            return None
        except ForgeRefusal as err:
            if err.code == 410:
                return None
            raise
        return _issue(one)

    def issue_text(self, repository: str, number: int, *, is_pull: bool = False) -> IssueText:
        """Title and body now, and when the body was edited last, which REST does not tell."""
        owner, _, name = _path(repository).partition("/")
        given = {"owner": owner, "name": name, "number": number}
        what = "pullRequest" if is_pull else "issue"
        one = self._graph(repository, _TEXT.replace("WHAT", what), given)["repository"][what]
        return IssueText(title=one["title"], body=one["body"] or "", edited_at=one["lastEditedAt"])

    def issue_events(self, repository: str, number: int, *, is_pull: bool = False) -> tuple[IssueEvent, ...]:
        """What happened to it, the oldest first. It does not tell that the body was edited."""
        found = self._all(repository, f"/repos/{_path(repository)}/issues/{number}/events")
        return tuple(
            IssueEvent(
                id=one["id"],
                kind=one["event"],
                by=_person(who) if (who := one.get("assigner") or one.get("actor")) else None,
                at=one["created_at"],
                label=(one.get("label") or {}).get("name", ""),
                assignee=(one.get("assignee") or {}).get("login", ""),
                is_by_app=bool(one.get("performed_via_github_app")),
            )
            for one in sorted(found, key=lambda one: int(one["id"]))
        )

    def issue_comments(self, repository: str, since: datetime) -> tuple[IssueComment, ...]:
        """Comments that were written or edited since then, at issues and pull requests."""
        found = self._since(repository, f"{self._at(repository)}/issues/comments", OLDEST_FIRST, since)
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

    # ── merge and release ──

    def merge(
        self, repository: str, pull: PullRequest, head: str, title: str, message: str, *, one: bool = False
    ) -> MergeAnswer:
        """One commit on the base branch: squash, or rebase where only that is allowed; `one`: squash alone, as the head
        may be several commits. GitHub checks the head itself, and its own rules; a refusal is told in its words."""
        now = self.pull_request(repository, pull.number)
        if answer := without_merge(now, pull, head):
            return answer
        asked: dict[str, Any] = {"sha": head, "merge_method": self._method(repository)}
        if one and asked["merge_method"] != "squash":
            why = "the repository allows no squash merge, and several commits cannot be taken back as one: allow it"
            return MergeAnswer(None, why)
        if asked["merge_method"] == "squash":
            asked |= {"commit_title": title, "commit_message": message}
        where = f"/repos/{_path(repository)}/pulls/{pull.number}/merge"
        try:
            return MergeAnswer(str(self._send(repository, "PUT", where, asked)["sha"]))
        except ForgeError as err:
            after = self.pull_request(repository, pull.number)  # refused, or cut off after it was done
            if after.state is PullState.MERGED:
                return MergeAnswer(after.merged_commit)
            if isinstance(err, ForgeRefusal):
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
        told = {"state": state.value, "description": short(sentence), "environment_url": url, "auto_inactive": True}
        self._send(repository, "POST", at, told)

    def why_blocked(self, repository: str, number: int, looks: int = 1) -> str | None:
        """Why it would not be merged now; None if it would, or where another step says so: one that is behind or
        conflicts is made anew on top of the newest commit. `looks`: how often, a second apart, while it is computed.

        https://docs.github.com/en/graphql/reference/enums#mergestatestatus
        """
        for turn in range(looks):
            if turn:
                hosted.sleep(1)  # our question began the computing
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

    # ── one client ──

    @property
    def _api(self) -> str:
        if self.api_url:
            return self.api_url.rstrip("/")
        site = urlsplit(self.url)
        return "https://api.github.com" if site.netloc == "github.com" else f"{site.scheme}://{site.netloc}/api/v3"

    def _at(self, repository: str) -> str:
        return f"/repos/{_path(repository)}"

    def _headers(self, token: str) -> dict[str, str]:
        more = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": VERSION}
        return super()._headers(token) | more

    def _graph(self, repository: str, query: str, variables: Mapping[str, Any]) -> Any:
        base = self._api.removesuffix("/api/v3")
        address = f"{base}/api/graphql" if base != self._api else f"{base}/graphql"
        given = {"query": query, "variables": variables}
        answer = json_of(self._signed_call(repository, "POST", address, given))
        if answer.get("errors") or not answer.get("data"):
            said = "; ".join(str(one.get("message", "")) for one in answer.get("errors") or ()) or "no data"
            raise ForgeError(f"{self.host}: {said}")
        return answer["data"]

    # ── who signs ──

    @property
    def _identity(self) -> str:
        return self.app_id or super()._identity

    def _token(self, repository: str) -> str:
        if self.token:
            return self.token.get_secret_value()
        key = self._place(repository)
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
            return _tokens.get(self._place(repository), NONE).may_check

    def forget_token(self, repository: str, token: str | None = None) -> bool:
        """The token of an installation was not taken: the next call asks for a new one. Whether there can be one.

        `token`: that which was not taken; another thread may have a new one already.
        """
        if self.token:
            return False
        key = self._place(repository)
        with _tokens_lock:
            if token is None or _tokens.get(key, NONE).value == token:
                _tokens.pop(key, None)
        return True

    def _place(self, repository: str) -> "TokenPlace":
        return self._api, self.app_id, _path(repository), self.code_scanning

    def _installation_token(self, path: str) -> "InstallationToken":
        """For this repository alone, with what we need and no more."""
        installed = self._as_app("GET", f"/repos/{path}/installation")
        more = {name: level for name, level in IF_GRANTED.items() if installed["permissions"].get(name) == level}
        if not self.code_scanning:
            more.pop("security_events", None)
        asked = {"repositories": [path.partition("/")[2]], "permissions": PERMISSIONS | more}
        made = self._as_app("POST", f"/app/installations/{installed['id']}/access_tokens", asked)
        return InstallationToken(str(made["token"]), time.time() + 3600, "checks" in more)

    def _as_app(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return json_of(self._call(method, path, self._signed(), body))

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


class InstallationToken(NamedTuple):
    """What an App works with in one repository."""

    value: str
    until: float
    """Unix seconds."""
    may_check: bool


NONE = InstallationToken("", 0.0, False)
TokenPlace = tuple[str, str, str, bool]
"""API, App, repository, and whether it asks for code scanning, too."""
_tokens: dict[TokenPlace, InstallationToken] = {}
_tokens_lock = threading.RLock()


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
        by=_person(one["user"]) if one.get("user") else None,
        is_pull="pull_request" in one,
        is_merged=bool((one.get("pull_request") or {}).get("merged_at")),
    )


def _author(author: Mapping[str, Any]) -> Person:
    kind = author.get("__typename")
    return Person(login=author["login"], id=author.get("databaseId") or 0, is_bot=kind != "User")


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
