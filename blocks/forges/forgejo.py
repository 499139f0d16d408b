"""Forgejo and Gitea: pull requests, reviews, statuses and merges by their REST API (https://codeberg.org/api/swagger).

What is another way than at GitHub: a draft is a title that begins with `WIP:`; conversations are comments of reviews,
by line; a list ends with an empty page; nobody but an administrator of a repository is told what others may do in it;
and there are no deployments, so a release is told by a commit status.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Self
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, model_validator

from blocks.forges import hosted
from blocks.forges.hosted import (
    ForgeComment,
    ForgeRefusal,
    HostedBlock,
    NotAtForge,
    at_lines,
    bounded,
    changed,
    lines_mark,
    short,
    without_merge,
)
from domain.brief import Repository
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

API = "/api/v1"
WIP = "WIP: "
_WIP = re.compile(r"\s*(?:WIP:|\[WIP\])\s*", re.IGNORECASE)
"""What makes a draft of a title, unless its administrators chose other words.

https://forgejo.org/docs/latest/user/pull-requests-and-git-flow/#draft-pull-requests
"""
STATES = {
    "APPROVED": ReviewState.APPROVED,
    "REQUEST_CHANGES": ReviewState.CHANGES_REQUESTED,
    "COMMENT": ReviewState.COMMENTED,
    "PENDING": ReviewState.PENDING,
    "REQUEST_REVIEW": ReviewState.COMMENTED,
}
WRITERS = ("write", "admin", "owner")
RELEASE_STATES = {
    DeploymentState.IN_PROGRESS: StatusState.PENDING,
    DeploymentState.SUCCESS: StatusState.SUCCESS,
    DeploymentState.FAILURE: StatusState.FAILURE,
    DeploymentState.INACTIVE: StatusState.ERROR,
}


class Forgejo(HostedBlock):
    """Forgejo or Gitea, for the repositories below `url`: by a token of the platform's own user."""

    _block_type_name: ClassVar[str] = "Lockgate Forgejo"
    _block_type_slug: ClassVar[str] = "lockgate-forgejo"
    _description: ClassVar[str] = "Pull requests, reviews, statuses and merges at Forgejo or Gitea."
    _size: ClassVar[str] = "limit"

    url: Repository = Field(description="What its repositories begin with, such as https://codeberg.org/acme")
    api_url: str = Field("", description="Empty: HOST/api/v1; another one where Forgejo is below a path")
    token: SecretStr | None = Field(
        None, description="A token with write:repository, write:issue and read:user, of an administrator of it"
    )
    bots: tuple[str, ...] = Field(
        (), description="Logins whose reviews never count: Forgejo does not say which users are programs"
    )

    @model_validator(mode="after")
    def _signs(self) -> Self:
        if not self.token:
            raise ValueError("give a token of the platform's own user")
        return self

    # ── pull requests ──

    def propose(self, repository: str, branch: str, base: str, title: str, body: str, *, draft: bool) -> PullRequest:
        """The one pull request from `branch`, made or brought up to date. One that is over is given as it is."""
        where, body, title = self._at(repository), bounded(body), ready(title)
        known = self._from(repository, branch)
        if known is None:
            self._refuse_blind(repository)
            asked = {"title": f"{WIP}{title}" if draft else title, "head": branch, "base": base, "body": body}
            try:
                known = self._send(repository, "POST", f"{where}/pulls", asked)
            except ForgeError:
                known = self._from(repository, branch)  # cut off after it was done, or 409: it is there already
                if known is None:
                    raise
        wanted = f"{WIP}{title}" if _is_draft(known) else title
        if known["state"] == "open" and (known["title"], known["body"]) != (wanted, body):
            self._send(repository, "PATCH", f"{where}/pulls/{known['number']}", {"title": wanted, "body": body})
        return self.pull_request(repository, known["number"])

    def _refuse_blind(self, repository: str) -> None:
        """Whoever may not ask what others may do there could count no approval: said before anything is opened."""
        if not (self._shown(repository).get("permissions") or {}).get("admin"):
            raise InputError(
                f"the token's user is no administrator of {repository}: {self.host} tells nobody else who may write "
                "there, and no approval could count. Make it one"
            )

    def _from(self, repository: str, branch: str) -> Any:
        """Ours from this branch, in whatever state. The list is filtered by who opened it, and by no branch."""
        query = f"state=all&poster={quote(self.me(repository), safe='')}"
        found = [one for one in self._all(repository, f"{self._at(repository)}/pulls?{query}") if _is_from(one, branch)]
        return max(found, key=lambda one: (one["state"] == "open", one["number"]), default=None)

    def pull_request(self, repository: str, number: int) -> PullRequest:
        """As it stands now."""
        one = self._pull(repository, number)
        state = PullState.MERGED if one["merged"] else PullState(one["state"])
        return PullRequest(
            number=one["number"],
            url=one["html_url"],
            branch=one["head"]["label"],
            base=one["base"]["ref"],
            head=one["head"]["sha"],
            state=state,
            is_draft=_is_draft(one),
            merged_commit=one["merge_commit_sha"] if one["merged"] else None,
            by=self._person(one["user"]) if one.get("user") else None,
            ended_by=self._ended_by(repository, one),
            is_branch_gone=state is PullState.CLOSED and one["head"]["ref"] != one["head"]["label"],
        )

    def _ended_by(self, repository: str, pull: Mapping[str, Any]) -> Person | None:
        """Who merged it; who closed it is in its timeline alone."""
        if pull["merged"]:
            return self._person(pull["merged_by"]) if pull.get("merged_by") else None
        if pull["state"] != "closed":
            return None
        told = self._all(repository, f"{self._at(repository)}/issues/{pull['number']}/timeline")
        closings = [one for one in told if one and one.get("type") == "close" and one.get("user")]
        return self._person(max(closings, key=lambda one: int(one["id"]))["user"]) if closings else None

    def mark_ready(self, repository: str, pull: PullRequest) -> None:
        """It is no draft any more. Safe to repeat."""
        if not pull.is_draft:
            return
        one = self._pull(repository, pull.number)
        if _is_draft(one):
            where = f"{self._at(repository)}/pulls/{pull.number}"
            if _is_draft(self._send(repository, "PATCH", where, {"title": ready(one["title"])})):
                raise ForgeError(f"{pull.url} stays a draft: its title begins with a word of this forge's own for one")

    def ask_reviewers(self, repository: str, number: int, logins: Sequence[str]) -> tuple[str, ...]:
        """Ask these people, each by a call of its own; those whom the forge does not let review are returned."""
        if not logins:
            return ()
        there = self._pull(repository, number).get("requested_reviewers") or ()
        asked, refused = {one["login"].casefold() for one in there if one}, []
        for login in logins:
            if login.casefold() in asked:
                continue
            where = f"{self._at(repository)}/pulls/{number}/requested_reviewers"
            try:
                self._send(repository, "POST", where, {"reviewers": [login]})
            except (ForgeRefusal, NotAtForge):
                refused.append(login)  # no such user, may not read, or the author
        return tuple(refused)

    def report(self, repository: str, commit: str, statuses: Sequence[Status]) -> None:
        """Commit statuses. The newest of each is looked at first: it has the highest number."""
        where, said = f"{self._at(repository)}/statuses/{commit}", dict[str, tuple[str, str]]()
        for one in sorted(self._all(repository, where), key=lambda one: int(one["id"])):
            said[one["context"]] = (one["status"], one["description"] or "")
        for status in changed(statuses, said):
            told = {"context": status.context, "state": status.state.value, "description": short(status.sentence)}
            self._send(repository, "POST", where, told)

    def _comments(self, repository: str, at: str) -> Iterator[ForgeComment]:
        for one in self._get(repository, f"{at}/comments"):  # all, without pages
            yield ForgeComment(one["id"], str((one.get("user") or {}).get("login", "")), str(one["body"] or ""))

    # ── what people say ──

    def remark(self, repository: str, number: int, head: str, remarks: Sequence[LineRemark]) -> None:
        """One review that comments and decides nothing, at lines of files that the change touches.

        https://codeberg.org/api/swagger#/repository/repoCreatePullReview
        """
        where, mark = f"{self._at(repository)}/pulls/{number}", lines_mark(head)
        if not remarks or self.has_said(repository, self.reviews(repository, number), mark):
            return
        changed = {one["filename"] for one in self._all(repository, f"{where}/files") if one["status"] != "deleted"}
        if self._pull(repository, number)["head"]["sha"] != head:  # asked last: those may be of another head
            return
        shown, summary = at_lines(remarks, lambda one: one.path in changed)
        if not shown:
            return
        notes = [{"path": one.path, "new_position": one.line, "body": bounded(one.text)} for one in shown]
        body = bounded(f"{mark}\n{summary}")
        asked = {"commit_id": head, "event": "COMMENT", "body": body, "comments": notes}
        self._send(repository, "POST", f"{where}/reviews", asked)

    def reviews(self, repository: str, number: int) -> tuple[PullReview, ...]:
        """All of them, the oldest first; those of users who are gone and of teams are left out."""
        return tuple(
            PullReview(
                id=one["id"],
                by=self._person(one["user"]),
                state=_state(one),
                commit=one.get("commit_id") or "",
                text=one.get("body") or "",
            )
            for one in self._given(repository, number)
        )

    def _given(self, repository: str, number: int) -> list[Any]:
        found = self._all(repository, f"{self._at(repository)}/pulls/{number}/reviews")
        return [one for one in sorted(found, key=lambda one: int(one["id"])) if one.get("user")]

    def threads(self, repository: str, number: int) -> tuple[Thread, ...]:
        """Comments of one review at one line are a conversation; it is resolved if its first comment is. A second
        review's at the same line is one of its own: whoever resolves the first has not answered it."""
        found: dict[tuple[int, str, int, int], list[Any]] = {}
        for review in self._given(repository, number):
            if not review.get("comments_count"):
                continue
            where = f"{self._at(repository)}/pulls/{number}/reviews/{review['id']}/comments"
            for one in self._get(repository, where):  # all, without pages
                place = (review["id"], one["path"], one.get("position") or 0, one.get("original_position") or 0)
                found.setdefault(place, []).append(one)
        return tuple(self._thread(path, line, said) for (_, path, line, _), said in found.items())

    def _thread(self, path: str, line: int, said: Iterable[Any]) -> Thread:
        first, *more = sorted(said, key=lambda one: int(one["id"]))
        remarks = [
            Remark(by=self._person(one["user"]), text=one["body"] or "") for one in (first, *more) if one.get("user")
        ]
        return Thread(path=path, line=line or None, is_resolved=bool(first.get("resolver")), remarks=tuple(remarks))

    def may_write(self, repository: str, person: Person) -> bool:
        """Whether this user may write there now. False also where the login is another user's by now."""
        where = f"{self._at(repository)}/collaborators/{quote(person.login, safe='')}/permission"
        try:
            said = self._get(repository, where)
        except NotAtForge:
            return False  # no such user
        except ForgeRefusal as err:
            raise InputError(
                f"{err}: {self.host} tells it to administrators of {repository} alone; make the token's user one"
            ) from None
        return (said.get("user") or {}).get("id") == person.id and said.get("permission") in WRITERS

    def _person(self, user: Mapping[str, Any]) -> Person:
        """Its own users (a ghost, its actions) have ids below 1."""
        login, number = str(user["login"]), int(user["id"])
        is_bot = number < 1 or login.casefold() in {name.casefold() for name in self.bots}
        return Person(login=login, id=number, is_bot=is_bot)

    # ── issues ──

    def issues(self, repository: str, label: str, since: datetime) -> tuple[Issue, ...]:
        """Open issues and pull requests with this label that changed since then. A label that the repository has not is
        no filter there, so each is looked at."""
        found = self._open(repository, f"labels={quote(label, safe='')}", since)
        return tuple(one for one in found if label.casefold() in {name.casefold() for name in one.labels})

    def assigned(self, repository: str, login: str, since: datetime) -> tuple[Issue, ...]:
        """The same of those that are assigned to this user."""
        return self._open(repository, f"assigned_by={quote(login, safe='')}", since)

    def _open(self, repository: str, query: str, since: datetime) -> tuple[Issue, ...]:
        """Gitea knows no `sort` there, and ignores it."""
        ordered = f"{query}&state=open&sort=leastupdate"
        found = self._since(repository, f"{self._at(repository)}/issues", ordered, since)
        return tuple(self._issue(one) for one in found)

    def issue(self, repository: str, number: int, *, is_pull: bool = False) -> Issue | None:
        """As it stands now, a pull request as well; None: it was deleted."""
        try:
            return self._issue(self._get(repository, f"{self._at(repository)}/issues/{number}"))
        except NotAtForge:
            self._shown(repository)  # it is not the whole repository that is gone
            return None

    def _issue(self, one: Mapping[str, Any]) -> Issue:
        pull = one.get("pull_request")
        return Issue(
            number=one["number"],
            url=one["html_url"],
            is_open=one["state"] == "open",
            labels=tuple(label["name"] for label in one.get("labels") or ()),
            updated_at=one["updated_at"],
            by=self._person(one["user"]) if one.get("user") else None,
            is_pull=pull is not None,
            is_merged=bool((pull or {}).get("merged")),
        )

    def issue_text(self, repository: str, number: int, *, is_pull: bool = False) -> IssueText:
        """Title and body now. When the body was edited is told nowhere; when the issue changed last, is."""
        one = self._get(repository, f"{self._at(repository)}/issues/{number}")
        return IssueText(
            title=one["title"], body=one.get("body") or "", is_edit_told=False, changed_at=one["updated_at"]
        )

    def issue_events(self, repository: str, number: int, *, is_pull: bool = False) -> tuple[IssueEvent, ...]:
        """What happened to it, the oldest first, by its timeline. It does not tell that the body was edited.

        A page of it may be empty, and not the last: what we may not see is left out after it was cut. So what the issue
        is like afterwards completes it: a label that is not on, or somebody who is not assigned, was taken away.
        """
        told = self._all(repository, f"{self._at(repository)}/issues/{number}/timeline")
        events = self._told(told)
        return (*events, *_untold(events, self._get(repository, f"{self._at(repository)}/issues/{number}")))

    def _told(self, told: Iterable[Any]) -> tuple[IssueEvent, ...]:
        return tuple(
            IssueEvent(
                id=one["id"],
                kind=_kind(one),
                by=self._person(one["user"]) if one.get("user") else None,
                at=one["created_at"],
                label=(one.get("label") or {}).get("name", ""),
                assignee=(one.get("assignee") or {}).get("login", ""),
            )
            for one in sorted(filter(None, told), key=lambda one: int(one["id"]))
        )

    def issue_comments(self, repository: str, since: datetime) -> tuple[IssueComment, ...]:
        """Comments that were written or edited since then, at issues and pull requests."""
        found = self._since(repository, f"{self._at(repository)}/issues/comments", "", since)
        return tuple(
            IssueComment(
                id=one["id"],
                number=int((one.get("issue_url") or one["pull_request_url"]).rpartition("/")[2]),
                by=self._person(one["user"]) if one.get("user") else None,
                text=one.get("body") or "",
                at=one["created_at"],
                updated_at=one["updated_at"],
            )
            for one in found
        )

    # ── merge and release ──

    def merge(
        self, repository: str, pull: PullRequest, head: str, title: str, message: str, *, one: bool = False
    ) -> MergeAnswer:
        """One commit on the base branch: squash, or rebase where only that is allowed; `one`: squash alone, as the head
        may be several commits. The forge checks the head itself (`head_commit_id`), and its own rules, which are never
        forced; a refusal is told in its words."""
        now = self.pull_request(repository, pull.number)
        if answer := without_merge(now, pull, head):
            return answer
        asked: dict[str, Any] = {"Do": self._method(repository), "head_commit_id": head, "force_merge": False}
        if one and asked["Do"] != "squash":
            why = "the repository allows no squash merge, and several commits cannot be taken back as one: allow it"
            return MergeAnswer(None, why)
        if asked["Do"] == "squash":
            asked |= {"MergeTitleField": title, "MergeMessageField": message}
        refused: ForgeError | InputError | None = None
        try:
            self._send(repository, "POST", f"{self._at(repository)}/pulls/{pull.number}/merge", asked)
        except (ForgeError, NotAtForge) as err:  # 404 says that it was closed meanwhile
            refused = err
        after = self.pull_request(repository, pull.number)  # its answer names no commit; or it was done and cut off
        if after.state is PullState.MERGED:
            return MergeAnswer(after.merged_commit)
        if isinstance(refused, ForgeRefusal):
            is_moved = after.head != head or after.is_draft
            return MergeAnswer(None, refused.said, is_moved=is_moved, may_pass=refused.code in (405, 409))
        if after.state is PullState.CLOSED:
            return MergeAnswer(None, "the pull request was closed")
        raise refused or ForgeError(f"{self.host} said that it merged {pull.url}, and it is still open")

    def _method(self, repository: str) -> str:
        """A merge commit has two parents, and could not be taken back by one revert."""
        allowed = self._shown(repository)
        for name, setting in (("squash", "allow_squash_merge"), ("rebase", "allow_rebase")):
            if allowed.get(setting):
                return name
        raise InputError(f"{repository} allows neither squash nor rebase merges: allow one in its settings")

    def announce(
        self, repository: str, commit: str, environment: str, state: DeploymentState, url: str, sentence: str
    ) -> None:
        """As a commit status of what was merged: there are no deployments."""
        words = sentence if state is not DeploymentState.INACTIVE else f"taken back: {sentence}"
        told = Status(context=f"lockgate/release/{environment}", state=RELEASE_STATES[state], sentence=words)
        self.report(repository, commit, (told,))

    def why_blocked(self, repository: str, number: int, looks: int = 1) -> str | None:
        """Why it would not be merged now; None if it would, or where another step says so. What a writer is not told of
        the branch's rules, the merge itself says."""
        for turn in range(looks):
            if turn:
                hosted.sleep(1)  # our question began the computing
            one = self._pull(repository, number)
            if one["mergeable"] or one["state"] != "open" or _is_draft(one):
                break
        if one["state"] != "open":
            return None
        if _is_draft(one):
            return "somebody made it a draft again: mark it as ready for review"
        if one["base"]["sha"] != one["merge_base"]:
            return None  # its base moved: it is made anew on top of that
        if not one["mergeable"]:
            return "the forge has not said yet whether it can be merged"
        return self._why_by_rule(repository, one)

    def _why_by_rule(self, repository: str, pull: Mapping[str, Any]) -> str | None:
        """What the branch's rule still asks, as far as it is shown."""
        rule = self._branch(repository, pull["base"]["ref"])
        if not rule.get("protected"):
            return None
        if not rule.get("user_can_merge"):
            return f"the rules of {pull['base']['ref']} do not let the platform's user merge: name it in them"
        head = pull["head"]["sha"]
        given = {one["user"]["id"]: one for one in self._given(repository, pull["number"]) if one["state"] in DECIDES}
        count = sum(_approves(one) for one in given.values())
        wanted = int(rule.get("required_approvals") or 0)
        if count < wanted:
            return f"the rules of its branch are not fulfilled yet: reviews, {count} of {wanted} approvals that count"
        if rule.get("enable_status_check"):
            return self._why_by_checks(repository, head, rule.get("status_check_contexts") or ())
        return None

    def _why_by_checks(self, repository: str, head: str, patterns: Sequence[str]) -> str | None:
        """A required status may be named by a pattern, which one status at least has to fit."""
        said: dict[str, str] = {}
        told = self._all(repository, f"{self._at(repository)}/statuses/{head}")
        for one in sorted(told, key=lambda one: int(one["id"])):
            said[one["context"]] = one["status"]
        for pattern in patterns or ("*",):
            states = [state for name, state in said.items() if fnmatchcase(name, pattern)]
            if (not states and patterns) or any(state not in ("success", "skipped") for state in states):
                return f"the rules of its branch are not fulfilled yet: required checks, {pattern}"
        return None

    # ── its API ──

    @property
    def _api(self) -> str:
        site = urlsplit(self.url)
        return self.api_url.rstrip("/") or f"{site.scheme}://{site.netloc}{API}"

    def _headers(self, token: str) -> dict[str, str]:
        return {"Authorization": f"token {token}"}

    def _goes_on(self, items: Sequence[Any]) -> bool:
        """A page may be shorter than was asked for, as its administrators say: the list ends with an empty one."""
        return bool(items)

    def _following(self, answer: Any) -> None:
        """Addresses of next pages have the name that the forge gives itself, which may be another one."""

    def _pull(self, repository: str, number: int) -> Any:
        return self._get(repository, f"{self._at(repository)}/pulls/{number}")

    def _at(self, repository: str) -> str:
        """/repos/owner/name; Forgejo itself may be below a path of its host."""
        root = urlsplit(self._api.removesuffix(API)).path.strip("/")
        path = urlsplit(repository).path.strip("/").removesuffix(".git")
        parts = (path.removeprefix(root).strip("/") if root else path).split("/")
        if len(parts) != 2 or not all(parts):
            raise InputError(f"{repository} is no repository of Forgejo: https://HOST/OWNER/NAME is")
        return "/repos/" + "/".join(quote(part, safe="") for part in parts)


def _kind(event: Mapping[str, Any]) -> str:
    """Its word for what happened, as all of Lockgate calls it. A label that was put on has the body 1
    (https://codeberg.org/forgejo/forgejo, models/issues/issue_label.go)."""
    if event["type"] == "label":
        return "labeled" if event["body"] == "1" else "unlabeled"
    if event["type"] == "assignees":
        return "unassigned" if event["removed_assignee"] else "assigned"
    return {"change_title": "renamed"}.get(event["type"], str(event["type"]))


def _untold(events: Sequence[IssueEvent], now: Mapping[str, Any]) -> Iterator[IssueEvent]:
    """What was taken away of what the events put on."""
    there = {one["name"].casefold() for one in now.get("labels") or ()}
    people = {one["login"].casefold() for one in now.get("assignees") or ()}
    labels = {one.label.casefold(): one for one in events if one.kind in ("labeled", "unlabeled")}
    assignees = {one.assignee.casefold(): one for one in events if one.kind in ("assigned", "unassigned")}
    last = max((one.id for one in events), default=0) + 1
    for name, one in labels.items():
        if one.kind == "labeled" and name not in there:
            yield IssueEvent(id=last, kind="unlabeled", by=None, at=now["updated_at"], label=one.label)
    for name, one in assignees.items():
        if one.kind == "assigned" and name not in people:
            yield IssueEvent(id=last, kind="unassigned", by=None, at=now["updated_at"], assignee=one.assignee)


DECIDES = ("APPROVED", "REQUEST_CHANGES")


def ready(title: str) -> str:
    """A title without the words that make a draft of it."""
    while found := _WIP.match(title):
        title = title[found.end() :]
    return title or "Change"


def _is_draft(pull: Mapping[str, Any]) -> bool:
    if "draft" not in pull:
        raise InputError("this forge does not say whether a pull request is a draft: it is too old, take a newer one")
    return bool(pull["draft"])


def _is_from(pull: Mapping[str, Any], branch: str) -> bool:
    """From this branch of the repository itself. `ref` is another one once the branch is gone."""
    return bool(pull["head"]["label"] == branch and pull["head"]["repo_id"] == pull["base"]["repo_id"])


def _state(review: Mapping[str, Any]) -> ReviewState:
    if review.get("dismissed"):
        return ReviewState.DISMISSED
    state = STATES.get(str(review["state"]))
    if state is None:
        raise ForgeError(f"a review is in the state {review['state']!r}, which nobody here knows")
    return state


def _approves(review: Mapping[str, Any]) -> bool:
    """As the forge counts it for a rule of a branch."""
    return review["state"] == "APPROVED" and bool(review.get("official")) and not review.get("dismissed")
