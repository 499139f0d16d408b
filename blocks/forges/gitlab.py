"""GitLab: merge requests, approvals, statuses, merges and deployments by its REST API
(https://docs.gitlab.com/api/rest/).

What is another way than at GitHub: a draft is a title that begins with `Draft:`; an approval names no commit, so it
counts for the version of the merge request that was the newest at its moment; a change of mind is in the list of
reviewers; and whoever may do something is a member of a level.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import parse_qs, quote, urlsplit

import httpx
from pydantic import Field, SecretStr, model_validator

from blocks.forges import hosted
from blocks.forges.credential import RepositoryCredential
from blocks.forges.hosted import (
    ForgeComment,
    ForgeRefusal,
    HostedBlock,
    NotAtForge,
    Unsigned,
    at_lines,
    bounded,
    short,
    without_merge,
)
from domain.brief import Repository
from domain.diffs import files_of
from domain.errors import ForgeError, InputError
from domain.issues import COMMANDS, Issue, IssueComment, IssueEvent, IssueText
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
from domain.value import digest_of

API = "/api/v4"
DRAFT = "Draft: "
DEVELOPER = 30
"""From this level on, a member may push and merge: https://docs.gitlab.com/user/permissions/#roles"""
STATES = {"opened": PullState.OPEN, "locked": PullState.OPEN, "closed": PullState.CLOSED, "merged": PullState.MERGED}
"""`locked` is open, and being merged."""
NOT_YET = ("unchecked", "checking", "preparing", "approvals_syncing")
ELSEWHERE = ("mergeable", "conflict", "need_rebase", "not_open", "broken_status", "commits_status")
"""Nothing is in the way, or another step says what is."""
BY_RULES = {
    "not_approved": "approvals", "requested_changes": "changes that were requested",
    "discussions_not_resolved": "conversations", "ci_must_pass": "required pipelines",
    "ci_still_running": "required pipelines", "status_checks_must_pass": "required checks",
    "security_policy_violations": "policies", "policies_denied": "policies",
    "merge_request_blocked": "another merge request", "blocked_status": "another merge request",
    "locked_paths": "paths that somebody locked", "locked_lfs_files": "files that somebody locked",
    "jira_association_missing": "an issue that has to be named", "title_regex": "its title", "merge_time": "its time",
}  # fmt: skip
"""https://docs.gitlab.com/api/merge_requests/#merge-status"""
STATUS = {
    StatusState.PENDING: "pending",
    StatusState.SUCCESS: "success",
    StatusState.FAILURE: "failed",
    StatusState.ERROR: "failed",
}
REMEMBERED_S = 3600.0
"""How long it is remembered whether a user is a program: GitLab lets that be asked 300 times in 10 minutes
(https://docs.gitlab.com/administration/settings/rate_limit_on_users_api/), and it does not change."""
NOTED = timedelta(seconds=5)
"""So long after an edit its note is surely there."""
UNDER_WAY = ("created", "pending", "running")
RELEASE = {
    DeploymentState.IN_PROGRESS: "running",
    DeploymentState.SUCCESS: "success",
    DeploymentState.FAILURE: "failed",
}


class Version(NamedTuple):
    """What a merge request held from a moment on."""

    head: str
    since: datetime
    number: int


class GitLab(HostedBlock):
    """GitLab, for the repositories below `url`: by a token of the platform's own user."""

    _block_type_name: ClassVar[str] = "Lockgate GitLab"
    _block_type_slug: ClassVar[str] = "lockgate-gitlab"
    _description: ClassVar[str] = "Merge requests, approvals, statuses, merges and deployments at GitLab."

    url: Repository = Field(
        "https://gitlab.com", description="What its repositories begin with, such as https://gitlab.com/acme"
    )
    api_url: str = Field("", description="Empty: HOST/api/v4; another one where GitLab is below a path")
    token: SecretStr | None = Field(None, description="A token with the scopes api and write_repository, as Developer")

    @model_validator(mode="after")
    def _signs(self) -> Self:
        if not self.token:
            raise ValueError("give a token of the platform's own user")
        return self

    def credential(self, repository: str) -> RepositoryCredential:
        return RepositoryCredential(url=repository, username="oauth2", token=SecretStr(self._token(repository)))

    def me(self, repository: str) -> str:
        return str(self._get(repository, "/user")["username"])

    # ── merge requests ──

    def propose(self, repository: str, branch: str, base: str, title: str, body: str, *, draft: bool) -> PullRequest:
        """The one merge request from `branch`, made or brought up to date. One that is over is given as it is."""
        where, body, title = f"{self._at(repository)}/merge_requests", bounded(body), ready(title)
        known = self._from(repository, branch)
        if known is None:
            asked = {
                "source_branch": branch, "target_branch": base, "title": f"{DRAFT}{title}" if draft else title,
                "description": body, "squash": True, "remove_source_branch": False,
            }  # fmt: skip
            try:
                known = self._send(repository, "POST", where, asked)
            except ForgeError:
                known = self._from(repository, branch)  # cut off after it was done, or 409: it is there already
                if known is None:
                    raise
        wanted = f"{DRAFT}{title}" if known["draft"] else title
        if known["state"] == "opened" and (known["title"], known["description"]) != (wanted, body):
            self._send(repository, "PUT", f"{where}/{known['iid']}", {"title": wanted, "description": body})
        return self.pull_request(repository, known["iid"])

    def _from(self, repository: str, branch: str) -> Any:
        query = f"state=all&source_branch={quote(branch, safe='')}"
        found = self._all(repository, f"{self._at(repository)}/merge_requests?{query}")
        ours = [one for one in found if one["source_project_id"] == one["target_project_id"]]
        return max(ours, key=lambda one: (one["state"] == "opened", one["iid"]), default=None)

    def pull_request(self, repository: str, number: int) -> PullRequest:
        """As it stands now."""
        one = self._pull(repository, number)
        state = STATES[one["state"]]
        ended = one.get("merge_user") if state is PullState.MERGED else one.get("closed_by")
        return PullRequest(
            number=one["iid"],
            url=one["web_url"],
            branch=one["source_branch"],
            base=one["target_branch"],
            head=one["sha"] or "",
            state=state,
            is_draft=bool(one["draft"]),
            by=Person(login=one["author"]["username"], id=one["author"]["id"]) if one.get("author") else None,
            merged_commit=_commit(one) if state is PullState.MERGED else None,
            ended_by=self._person(repository, ended) if ended and state is not PullState.OPEN else None,
            is_branch_gone=state is PullState.CLOSED and self._is_gone(repository, one["source_branch"]),
        )

    def _is_gone(self, repository: str, branch: str) -> bool:
        try:
            self._branch(repository, branch)
        except NotAtForge:
            return True
        return False

    def _branch(self, repository: str, branch: str) -> Any:
        return self._get(repository, f"{self._at(repository)}/repository/branches/{quote(branch, safe='')}")

    def mark_ready(self, repository: str, pull: PullRequest) -> None:
        """It is no draft any more. Safe to repeat."""
        if not pull.is_draft:
            return
        one, where = self._pull(repository, pull.number), f"{self._at(repository)}/merge_requests/{pull.number}"
        if one["draft"]:
            self._send(repository, "PUT", where, {"title": ready(one["title"])})

    def ask_reviewers(self, repository: str, number: int, logins: Sequence[str]) -> tuple[str, ...]:
        """Ask these people beside those who are asked already; those whom GitLab does not let review are returned."""
        if not logins:
            return ()
        one, where = self._pull(repository, number), f"{self._at(repository)}/merge_requests/{number}"
        wanted = {int(user["id"]): str(user["username"]) for user in one["reviewers"]}
        before, refused = dict(wanted), []
        for login in logins:
            found = self._get(repository, f"/users?username={quote(login, safe='')}")
            if len(found) == 1 and found[0]["username"].casefold() == login.casefold():
                wanted[int(found[0]["id"])] = login
            else:
                refused.append(login)
        if wanted != before:
            after = self._send(repository, "PUT", where, {"reviewer_ids": sorted(wanted)})
            there = {int(user["id"]) for user in after["reviewers"]}
            refused += [login for number, login in wanted.items() if number not in there]
        return tuple(refused)

    def report(self, repository: str, commit: str, statuses: Sequence[Status]) -> None:
        """Commit statuses. One that is pending becomes running where its sentence is another one; one that is running
        stays as it is until it is over, since GitLab refuses to begin it once more."""
        said = self._said(repository, commit)
        for status in statuses:
            state, sentence = STATUS[status.state], short(status.sentence)
            known = said.get(status.context, ("", ""))
            if known[1] == sentence and (known[0] == state or (state == "pending" and known[0] in UNDER_WAY)):
                continue
            if state == "pending" and known[0] in UNDER_WAY:
                if known[0] == "running":
                    continue
                state = "running"
            told = {"name": status.context, "state": state, "description": sentence}
            self._send(repository, "POST", f"{self._at(repository)}/statuses/{commit}", told)

    def _said(self, repository: str, commit: str) -> dict[str, tuple[str, str]]:
        told = self._all(repository, f"{self._at(repository)}/repository/commits/{commit}/statuses?all=true")
        said: dict[str, tuple[str, str]] = {}
        for one in sorted(told, key=lambda one: int(one["id"])):
            said[one["name"]] = (one["status"], one["description"] or "")
        return said

    def _talk(self, repository: str, number: int, *, is_issue: bool) -> str:
        return f"{self._at(repository)}/{'issues' if is_issue else 'merge_requests'}/{number}"

    def _comments(self, repository: str, at: str) -> Iterator[ForgeComment]:
        for one in self._notes(repository, at):
            if not one["system"]:
                yield ForgeComment(one["id"], str((one["author"] or {}).get("username", "")), str(one["body"] or ""))

    def _notes(self, repository: str, at: str) -> list[Any]:
        return self._all(repository, f"{at}/notes?sort=asc&order_by=created_at")

    def _write_comment(self, repository: str, at: str, known: int | None, text: str) -> None:
        if known is None:
            self._send(repository, "POST", f"{at}/notes", {"body": text})
        else:
            self._send(repository, "PUT", f"{at}/notes/{known}", {"body": text})

    def remark(self, repository: str, number: int, head: str, remarks: Sequence[LineRemark]) -> None:
        """A conversation at each line, for no review here holds several. Each is found again by its hidden mark.

        https://docs.gitlab.com/api/discussions/#create-a-new-thread-in-the-merge-request-diff
        """
        where = f"{self._at(repository)}/merge_requests/{number}"
        lines = self._lines(repository, where) if remarks else {}
        if not lines:
            return
        refs = self._pull(repository, number).get("diff_refs") or {}
        if refs.get("head_sha") != head:  # asked last: those may be the lines of another head
            return
        shown, _ = at_lines(remarks, lambda one: one.line in lines.get(one.path, ()))
        me = self.me(repository).casefold()
        ours = {one.text.partition("\n")[0] for one in self._comments(repository, where) if one.login.casefold() == me}
        for one in shown:
            mark = f"<!-- lockgate:line/{head}/{digest_of(one.path)[:16]}:{one.line} -->"
            if mark not in ours:
                at = {**refs, **lines[one.path][one.line], "new_path": one.path, "new_line": one.line}
                asked = {"body": bounded(f"{mark}\n{one.text}"), "position": {**at, "position_type": "text"}}
                self._send(repository, "POST", f"{where}/discussions", asked)

    def _lines(self, repository: str, where: str) -> dict[str, dict[int, dict[str, Any]]]:
        """Path → line of the head at which something can be said → where it was. Of a large file none is given."""
        found: dict[str, dict[int, dict[str, Any]]] = {}
        for one in self._all(repository, f"{where}/diffs"):
            files, _ = files_of(f"diff --git a/x b/x\n{one.get('diff') or ''}")
            found[one["new_path"]] = {
                line.new: {"old_path": one["old_path"], **({"old_line": line.old} if line.old is not None else {})}
                for file in files
                for line in file.lines
                if line.new is not None
            }
        return found

    # ── what people say ──

    def reviews(self, repository: str, number: int) -> tuple[PullReview, ...]:
        """Approvals that stand, and changes that are requested, the oldest first. Neither names a commit: each is of
        the version that was the newest when it was given. A moment that GitLab does not tell is of no commit."""
        where = f"{self._at(repository)}/merge_requests/{number}"
        given = [
            (one["user"], ReviewState.APPROVED, one.get("approved_at"))
            for one in self._get(repository, f"{where}/approvals")["approved_by"]
        ]
        wishes = [
            one["user"] for one in self._get(repository, f"{where}/reviewers") if one["state"] == "requested_changes"
        ]
        notes = self._notes(repository, where) if wishes else []
        given += [(user, ReviewState.CHANGES_REQUESTED, _when_requested(notes, user["id"])) for user in wishes]
        versions = self._versions(repository, number) if given else []
        dated = sorted(given, key=lambda one: str(one[2] or ""))
        return tuple(
            PullReview(
                id=_number(moment),
                by=self._person(repository, user),
                state=state,
                commit=_head_at(versions, moment),
                text=_last_words(notes, user["id"]) if state is ReviewState.CHANGES_REQUESTED else "",
            )
            for user, state, moment in dated
        )

    def _versions(self, repository: str, number: int) -> list[Version]:
        found = self._all(repository, f"{self._at(repository)}/merge_requests/{number}/versions")
        made = [Version(one["head_commit_sha"], datetime.fromisoformat(one["created_at"]), one["id"]) for one in found]
        return sorted(made, key=lambda one: (one.since, one.number))

    def threads(self, repository: str, number: int) -> tuple[Thread, ...]:
        """Discussions that can be resolved, at lines or not. What was said in one that is resolved is not read."""
        found = self._all(repository, f"{self._at(repository)}/merge_requests/{number}/discussions")
        return tuple(
            self._thread(repository, one["notes"])
            for one in found
            if any(note.get("resolvable") for note in one["notes"])
        )

    def _thread(self, repository: str, notes: Sequence[Mapping[str, Any]]) -> Thread:
        place = notes[0].get("position") or {}
        is_resolved = all(note["resolved"] for note in notes if note.get("resolvable"))
        remarks = [
            Remark(by=self._person(repository, note["author"]), text=note["body"] or "")
            for note in notes
            if note["author"] and not note["system"] and not is_resolved
        ]
        return Thread(
            path=place.get("new_path") or place.get("old_path") or "the merge request",
            line=place.get("new_line"),
            is_resolved=is_resolved,
            remarks=tuple(remarks),
        )

    def may_write(self, repository: str, person: Person) -> bool:
        """Whether this user, known by id, is a Developer or more there now, also by a group."""
        try:
            member = self._get(repository, f"{self._at(repository)}/members/all/{person.id}")
        except NotAtForge:
            return False
        return (
            member.get("id") == person.id
            and member.get("username") == person.login
            and member.get("state") == "active"
            and int(member.get("access_level") or 0) >= DEVELOPER
        )

    def _person(self, repository: str, user: Mapping[str, Any]) -> Person:
        """GitLab says of a user alone whether it is a program. Where it does not, it is taken for one."""
        try:
            is_bot = self._is_program(repository, user["id"])
        except NotAtForge:
            is_bot = True
        return Person(login=user["username"], id=user["id"], is_bot=is_bot)

    def _is_program(self, repository: str, user: int) -> bool:
        key, now = (self._api, self._identity, user), monotonic()
        known = _programs.get(key)
        if known is None or now - known[1] > REMEMBERED_S:
            if len(_programs) > 2000:
                _programs.clear()
            known = _programs[key] = (self._get(repository, f"/users/{user}").get("bot") is not False, now)
        return known[0]

    def ref_of(self, number: int) -> str:
        return f"refs/merge-requests/{number}/head"

    # ── issues ──

    def name_of(self, number: int, *, is_pull: bool) -> str:
        """Issues and merge requests are counted apart: #5 and !5 are two."""
        return f"!{number}" if is_pull else str(number)

    def issues(self, repository: str, label: str, since: datetime) -> tuple[Issue, ...]:
        """Open issues and merge requests with this label that changed since then."""
        return self._open(repository, f"labels={quote(label, safe='')}", since)

    def assigned(self, repository: str, login: str, since: datetime) -> tuple[Issue, ...]:
        """The same of those that are assigned to this user."""
        return self._open(repository, f"assignee_username={quote(login, safe='')}", since)

    def _open(self, repository: str, query: str, since: datetime) -> tuple[Issue, ...]:
        ordered = f"{query}&state=opened&scope=all&order_by=updated_at&sort=asc"
        return tuple(
            _issue(one, is_pull=what == "merge_requests")
            for what in ("issues", "merge_requests")
            for one in self._since(repository, f"{self._at(repository)}/{what}", ordered, since, "updated_after")
        )

    def issue(self, repository: str, number: int, *, is_pull: bool = False) -> Issue | None:
        """As it stands now; None: it was deleted."""
        try:
            one = self._get(repository, self._talk(repository, number, is_issue=not is_pull))
        except NotAtForge:
            self._shown(repository)  # it is not the whole project that is gone
            return None
        return _issue(one, is_pull=is_pull)

    def issue_text(self, repository: str, number: int, *, is_pull: bool = False) -> IssueText:
        """Title and description now. A note tells that they were edited, and is written right after that."""
        answer = self._signed_call(repository, "GET", self._talk(repository, number, is_issue=not is_pull))
        one, now = hosted.json_of(answer), parsedate_to_datetime(answer.headers.get("date", ""))
        return IssueText(
            title=one["title"],
            body=one["description"] or "",
            is_confidential=_is_confidential(one, is_pull=is_pull),
            changed_at=one["updated_at"],
            read_at=now,
            noted_until=now - NOTED,
        )

    def issue_events(self, repository: str, number: int, *, is_pull: bool = False) -> tuple[IssueEvent, ...]:
        """What happened to it, the oldest first: its labels by events of their own; assignments, and that title or
        description were edited, by notes that GitLab writes itself. Numbers of both are counted apart, so what is first
        is told by the moment; in the same one, an edit is the later."""
        at = self._talk(repository, number, is_issue=not is_pull)
        words = {"add": "labeled", "remove": "unlabeled"}
        found = [
            self._event(repository, one, words[one["action"]], int(one["id"]) % 999, label=one["label"]["name"])
            for one in self._all(repository, f"{at}/resource_label_events")
            if one.get("label") and one["action"] in words
        ]
        for note in self._notes(repository, at):
            for kind, login in _noted(note):
                found.append(self._event(repository, {**note, "user": note["author"]}, kind, 999, assignee=login))
        return tuple(sorted(found, key=lambda one: one.id))

    def _event(self, repository: str, one: Mapping[str, Any], kind: str, rest: int, **more: str) -> IssueEvent:
        by = self._person(repository, one["user"]) if one.get("user") else None
        return IssueEvent(id=_number(one["created_at"]) * 1000 + rest, kind=kind, by=by, at=one["created_at"], **more)

    def issue_comments(self, repository: str, since: datetime) -> tuple[IssueComment, ...]:
        """Commands that were written since then, by the project's own list of what happened: no other list has notes of
        all issues. Each is read once more where it stands, since that list does not say whether it was edited."""
        found: dict[int, IssueComment] = {}
        for one in self._said_since(repository, since):
            note = one["note"]
            number, is_pull = note.get("noteable_iid"), note.get("noteable_type") == "MergeRequest"
            if number is None or note["noteable_type"] not in ("Issue", "MergeRequest"):
                continue
            if note["id"] in found or not str(note["body"] or "").strip().casefold().startswith(COMMANDS):
                continue
            at = self._talk(repository, number, is_issue=not is_pull)
            try:
                now = self._get(repository, f"{at}/notes/{note['id']}")
            except NotAtForge:
                continue
            if now["system"] or not now["author"]:
                continue
            found[now["id"]] = IssueComment(
                id=now["id"],
                number=number,
                by=self._person(repository, now["author"]),
                text=now["body"] or "",
                at=now["created_at"],
                updated_at=now["updated_at"],
                is_pull=is_pull,
            )
        return tuple(found[number] for number in sorted(found))

    def _said_since(self, repository: str, since: datetime) -> Iterator[Any]:
        """The newest first, so that what is said meanwhile moves the others to later pages, and none is missed. It is
        asked by the day, which ends when it does in GitLab's own time zone: so by one day more."""
        day = (since.astimezone(UTC) - timedelta(days=2)).date()
        where = f"{self._at(repository)}/events?target_type=note&action=commented&after={day}&sort=desc"
        address: str | None = f"{where}&per_page={hosted.PER_PAGE}"
        while address is not None:
            page = self._page(repository, address)
            for one in page.body:
                if datetime.fromisoformat(one["created_at"]) < since:
                    return
                if one.get("note"):
                    yield one
            address = page.following

    # ── merge and release ──

    def merge(
        self, repository: str, pull: PullRequest, head: str, title: str, message: str, *, one: bool = False
    ) -> MergeAnswer:
        """Squashed, by the project's own way to merge. GitLab checks the head itself (`sha`), and its own rules; a
        refusal is told in its words. Whether it is `one` commit makes no difference: it always is."""
        now = self.pull_request(repository, pull.number)
        if answer := without_merge(now, pull, head, "merge request"):
            return answer
        if self._shown(repository).get("squash_option") == "never":
            return MergeAnswer(None, f"{repository} does not let merge requests be squashed: allow it in its settings")
        asked = {"sha": head, "squash": True, "should_remove_source_branch": False}
        words = f"{title}\n\n{message}".strip()
        asked |= {"squash_commit_message": words, "merge_commit_message": words}
        refused: ForgeError | Unsigned | None = None
        try:
            self._send(repository, "PUT", f"{self._at(repository)}/merge_requests/{pull.number}/merge", asked)
        except (ForgeError, Unsigned) as err:  # 401 is its word for one who may not merge to this branch, too
            refused = err
        after = self.pull_request(repository, pull.number)  # or it was done and cut off
        if after.state is PullState.MERGED:
            return MergeAnswer(after.merged_commit)
        if isinstance(refused, Unsigned):
            return MergeAnswer(None, f"{self.host} does not let the platform's user merge to {pull.base}")
        if isinstance(refused, ForgeRefusal):
            is_moved = after.head != head or after.is_draft
            return MergeAnswer(None, refused.said, is_moved=is_moved, may_pass=refused.code in (405, 409, 422))
        if after.state is PullState.CLOSED:
            return MergeAnswer(None, "the merge request was closed")
        if refused:
            raise refused
        return MergeAnswer(None, f"{self.host} has not merged it yet", may_pass=True)

    def announce(
        self, repository: str, commit: str, environment: str, state: DeploymentState, url: str, sentence: str
    ) -> None:
        """The newest deployment of `commit` there. One that is over is begun anew; one that was taken back is told by a
        commit status beside it, since a deployment that succeeded stays so."""
        if state is DeploymentState.INACTIVE:
            gone = Status(context=f"lockgate/release/{environment}", state=StatusState.FAILURE, sentence=sentence)
            return self.report(repository, commit, (gone,))
        where, word = f"{self._at(repository)}/deployments", RELEASE[state]
        listed = self._all(repository, f"{where}?environment={quote(environment, safe='')}&order_by=id&sort=desc")
        newest = next((one for one in listed if one["sha"] == commit), None)
        is_taken_back = f"lockgate/release/{environment}" in self._said(repository, commit)
        is_over = newest is not None and (newest["status"] in ("failed", "canceled") or is_taken_back)
        if newest is None or (is_over and state is DeploymentState.IN_PROGRESS):
            ref = str(self._shown(repository)["default_branch"])
            asked = {"environment": environment, "sha": commit, "ref": ref, "tag": False, "status": word}
            self._send(repository, "POST", where, asked)
        elif newest["status"] == "running" and word != "running":
            self._send(repository, "PUT", f"{where}/{newest['id']}", {"status": word})
        return None

    def why_blocked(self, repository: str, number: int, looks: int = 1) -> str | None:
        """Why it would not be merged now; None if it would, or where another step says so."""
        for turn in range(looks):
            if turn:
                hosted.sleep(1)  # our question began the computing
            one = self._pull(repository, number)
            state = str(one.get("detailed_merge_status") or "unchecked")
            if state not in NOT_YET or one["state"] != "opened":
                break
        if one["state"] != "opened":
            return None
        if one["draft"] or state == "draft_status":
            return "somebody made it a draft again: mark it as ready for review"
        if state in NOT_YET:
            return "the forge has not said yet whether it can be merged"
        if state in BY_RULES:
            return f"the rules of its branch are not fulfilled yet: {BY_RULES[state]}"
        if state in ELSEWHERE:
            return None
        return f"the forge calls its state {one_line(state)}, which nobody here knows"

    # ── its API ──

    @property
    def _api(self) -> str:
        site = urlsplit(self.url)
        return self.api_url.rstrip("/") or f"{site.scheme}://{site.netloc}{API}"

    def _following(self, answer: httpx.Response) -> str | None:
        """The next page's number alone is taken from its address: that has the name and scheme that GitLab gives
        itself, which may be others. A page may be short, and not the last: it leaves out what we may not see."""
        address = answer.links.get("next", {}).get("url", "")
        number = parse_qs(urlsplit(address).query).get("page", [""])[0]
        if not number.isdecimal():
            return None
        asked = answer.request.url.copy_set_param("page", number).raw_path.decode()
        return asked.removeprefix(urlsplit(self._api).path)

    def _shown(self, repository: str) -> Any:
        """A project that was renamed answers under its old path: it is asked whether it still has this one."""
        one = super()._shown(repository)
        if one["path_with_namespace"].casefold() != self._path(repository).casefold():
            raise hosted.Moved(
                f"{repository} is {one['path_with_namespace']} now: it was renamed or moved; name its new address, and "
                "send the brief anew"
            )
        return one

    def _pull(self, repository: str, number: int) -> Any:
        return self._get(repository, f"{self._at(repository)}/merge_requests/{number}")

    def _at(self, repository: str) -> str:
        return f"/projects/{quote(self._path(repository), safe='')}"

    def _path(self, repository: str) -> str:
        """group/subgroup/name; GitLab itself may be below a path of its host."""
        root = urlsplit(self._api.removesuffix(API)).path.strip("/")
        path = urlsplit(repository).path.strip("/").removesuffix(".git")
        path = path.removeprefix(root).strip("/") if root else path
        if path.count("/") < 1 or not all(path.split("/")):
            raise InputError(f"{repository} is no repository of GitLab: https://HOST/GROUP/NAME is")
        return path


def _issue(one: Mapping[str, Any], *, is_pull: bool) -> Issue:
    by = one.get("author")
    return Issue(
        number=one["iid"],
        url=one["web_url"],
        is_open=one["state"] in ("opened", "locked"),
        labels=tuple(one.get("labels") or ()),
        updated_at=one["updated_at"],
        by=Person(login=by["username"], id=by["id"]) if by else None,
        is_pull=is_pull,
        is_merged=one["state"] == "merged",
        is_confidential=_is_confidential(one, is_pull=is_pull),
    )


def _is_confidential(one: Mapping[str, Any], *, is_pull: bool) -> bool:
    """An issue of which nothing is said is. Merge requests never are."""
    return not is_pull and one.get("confidential") is not False


def _noted(note: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a note that GitLab wrote itself says happened, and to whom. Ticking a box changes the description, too.

    https://docs.gitlab.com/user/project/system_notes/
    """
    text = str(note["body"] or "") if note["system"] else ""
    if text.startswith("changed title"):
        yield "renamed", ""
    elif text.startswith(("changed the description", "marked the task", "marked the checklist item")):
        yield "edited", ""
    elif text.startswith(("assigned to", "unassigned")):
        added, _, removed = text.partition("unassigned")
        yield from (("assigned", login) for login in _USER.findall(added))
        yield from (("unassigned", login) for login in _USER.findall(removed))


_USER = re.compile(r"@([A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_-])?)")


_programs: dict[tuple[str, str, int], tuple[bool, float]] = {}
"""Whether a user is a program, and when GitLab said so."""


def ready(title: str) -> str:
    """A title without the words that make a draft of it: https://docs.gitlab.com/user/project/merge_requests/drafts/"""
    while (found := title.lstrip()) and found.casefold().startswith(("draft:", "[draft]", "(draft)")):
        title = found[found.index(":") + 1 if found[0] not in "[(" else 7 :].lstrip()
    return title or "Change"


def _commit(pull: Mapping[str, Any]) -> str | None:
    """What it became on its target: a merge commit, the squashed one, or its own where it was fast-forwarded."""
    return pull.get("merge_commit_sha") or pull.get("squash_commit_sha") or pull.get("sha")


def _head_at(versions: Sequence[Version], moment: str | None) -> str:
    """The head of the newest version before this moment; empty: nobody knows. In the same instant it is unknown."""
    if not moment:
        return ""
    at = datetime.fromisoformat(moment)
    before = [one for one in versions if one.since < at]
    return before[-1].head if before and not any(one.since == at for one in versions) else ""


def _number(moment: str | None) -> int:
    """Milliseconds: what was given later has a higher one."""
    return int(datetime.fromisoformat(moment).timestamp() * 1000) if moment else 0


def _when_requested(notes: Sequence[Mapping[str, Any]], user: int) -> str | None:
    """When somebody requested changes last."""
    asked = [
        one["created_at"] for one in notes if one["system"] and one["body"] == "requested changes" and _by(one) == user
    ]
    return max(asked, default=None)


def _last_words(notes: Sequence[Mapping[str, Any]], user: int) -> str:
    """What somebody wrote last that stands at no line."""
    said = [one["body"] for one in notes if not one["system"] and not one.get("position") and _by(one) == user]
    return str(said[-1] or "") if said else ""


def _by(note: Mapping[str, Any]) -> int:
    return int((note.get("author") or {}).get("id") or 0)
