"""Linear, by its GraphQL API: https://linear.app/developers/graphql

A change of a ticket is an entry of its history. Linear may put what somebody does in a row into one entry: so what asks
for a run is known by when its entry was made, and what takes that back, or changes the text, by when it changed last.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from pydantic import Field

from blocks.trackers.tracker import (
    FIRST_LINE,
    MOST_PAGES,
    TrackerAnswer,
    TrackerBlock,
    after_s,
    order,
    remembered,
    said_at,
    shown,
    understood,
)
from domain.errors import ForgeError, InputError, NotYet
from domain.issues import COMMAND, EVERYBODY, Issue, IssueComment, IssueEvent, IssueText
from domain.pull_request import Person

PER_PAGE = 50
NOTED_AFTER = timedelta(seconds=5)
"""So much later an edit surely is in the history, or is told by its document."""
KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*-[0-9]+")
PAGE = re.compile(r"https?://[^\s()<>\"']+")
OVER = ("completed", "canceled", "duplicate")

_USER = "id displayName app"
_TICKET = f"""
id number identifier url title trashed archivedAt createdAt updatedAt
state {{ type }} labels(first: 50) {{ nodes {{ name }} pageInfo {{ hasNextPage }} }}
assignee {{ id }} creator {{ {_USER} }} botActor {{ id }}
"""
ME = "query { viewer { id } }"
TEAM = "query($key: String!) { teams(first: 2, filter: {key: {eq: $key}}) { nodes { id key } } }"
MEMBER = f"""query($team: String!, $user: ID!) {{
  team(id: $team) {{ members(first: 2, filter: {{id: {{eq: $user}}}}) {{ nodes {{ {_USER} active guest }} }} }}
}}"""
TICKETS = f"""query($filter: IssueFilter!, $first: Int!, $after: String) {{
  issues(filter: $filter, first: $first, after: $after, orderBy: updatedAt, includeArchived: true) {{
    nodes {{ {_TICKET} }} pageInfo {{ hasNextPage endCursor }}
  }}
}}"""
TEXT = """query($filter: IssueFilter!) {
  issues(filter: $filter, first: 2, includeArchived: true) {
    nodes { title description updatedAt documentContent { createdAt updatedAt } }
  }
}"""
HISTORY = f"""query($filter: IssueFilter!, $first: Int!, $after: String) {{
  issues(filter: $filter, first: 2, includeArchived: true) {{
    nodes {{ {_TICKET} history(first: $first, after: $after) {{
      nodes {{
        id createdAt updatedAt actor {{ {_USER} }} botActor {{ id }}
        addedLabels {{ name }} removedLabels {{ name }} fromAssignee {{ id }} toAssignee {{ id }}
        fromTitle toTitle updatedDescription fromTeamId toTeamId
      }}
      pageInfo {{ hasNextPage endCursor }}
    }} }}
  }}
}}"""
COMMENTS = f"""query($filter: CommentFilter!, $first: Int!, $after: String) {{
  comments(filter: $filter, first: $first, after: $after) {{
    nodes {{ id body createdAt editedAt user {{ {_USER} }} botActor {{ id }} issue {{ number team {{ id }} }} }}
    pageInfo {{ hasNextPage endCursor }}
  }}
}}"""
SAY = """mutation($issue: String!, $body: String!) {
  commentCreate(input: {issueId: $issue, body: $body, doNotSubscribeToIssue: true}) { success }
}"""
SAY_ANEW = "mutation($id: String!, $body: String!) { commentUpdate(id: $id, input: {body: $body}) { success } }"
QUESTIONS = (ME, TEAM, MEMBER, TICKETS, TEXT, HISTORY, COMMENTS, SAY, SAY_ANEW)
"""All that is ever asked: tests hold each to Linear's own schema."""


class Linear(TrackerBlock):
    """A workspace of Linear."""

    _block_type_name = "Lockgate Linear"
    _block_type_slug = "lockgate-linear"
    _description = "Linear: tickets become runs. The platform's own member there."

    url: str = Field("https://api.linear.app", description="Where its API is")
    is_oauth: bool = Field(False, description="The token is one of OAuth, and no personal API key")

    @property
    def _api(self) -> str:
        return self.url.rstrip("/")

    def _headers(self) -> dict[str, str]:
        token = self.token.get_secret_value()
        return {"Authorization": f"Bearer {token}" if self.is_oauth else token}

    def _limit_s(self, status: int, headers: httpx.Headers, body: Any) -> float | None:
        """https://linear.app/developers/rate-limiting: 400, with a code in the body, and a moment in milliseconds."""
        if "RATELIMITED" not in _codes(body):
            return super()._limit_s(status, headers, body)
        now = said_at(headers)
        resets = [headers.get(f"x-{one}-reset", "") for one in ("ratelimit-requests", "ratelimit-complexity")]
        times = [int(one) / 1000 - now.timestamp() for one in resets if one.isdigit() and now]
        return max([1.0, *times]) if times else after_s(headers.get("retry-after", ""))

    def _accepted(self, status: int, headers: httpx.Headers, body: Any, what: str) -> TrackerAnswer:
        if "AUTHENTICATION_ERROR" in _codes(body):
            status = 401
        elif status < 300 and _codes(body):
            status = 400
        return super()._accepted(status, headers, body, what)

    # ── who and where ──

    def me(self, at: str) -> str:
        """The id of the member that the platform writes as."""
        return remembered((self._identity, ME), self._me)

    def _me(self) -> str:
        with understood(self.host):
            return str(self._asked(ME)["viewer"]["id"])

    def place_id(self, at: str) -> str:
        """The team's id."""
        return f"linear-{self._team(at)}"

    def moment(self, at: str) -> datetime:
        """What its clock says."""
        return self._now(self._ask("POST", "/graphql", is_read=True, body={"query": ME}))

    def may_ask(self, at: str, person: Person, only: Sequence[str] = ()) -> bool:
        """A member of the team, active, no guest and no app; and one of those who are named, unless all are."""
        if person.id not in only and tuple(only) != (EVERYBODY,):
            return False
        found = self._asked(MEMBER, team=self._team(at), user=str(person.id))
        with understood(self.host):
            return any(
                (one["id"], one["active"], one["guest"], one["app"]) == (person.id, True, False, False)
                for one in found["team"]["members"]["nodes"]
            )

    # ── tickets ──

    def issues(self, at: str, label: str, since: datetime) -> tuple[Issue, ...]:
        """Open ones with this label that changed since then."""
        return self._open(at, [{"labels": {"some": {"name": {"eqIgnoreCase": label}}}}], since)

    def assigned(self, at: str, login: str, since: datetime) -> tuple[Issue, ...]:
        """The same of those that are assigned to this member."""
        return self._open(at, [{"assignee": {"id": {"eq": login}}}], since)

    def _open(self, at: str, terms: list[Any], since: datetime) -> tuple[Issue, ...]:
        part = at.partition("/")[2]
        terms = [*terms, *([_has(part)] if part else [])]
        asked = {"team": {"id": {"eq": self._team(at)}}, "updatedAt": {"gte": since.isoformat()}, "and": terms}
        found: dict[int, Issue] = {}
        for one in self._all(TICKETS, "issues", asked):
            with understood(self.host):
                issue = self._issue(one)
            if issue.is_open:
                found[issue.number] = issue
        return tuple(sorted(found.values(), key=lambda one: (one.updated_at, one.number)))

    def issue(self, at: str, number: int, *, is_pull: bool = False) -> Issue | None:
        """As it stands now; None: it was deleted, or moved to another team."""
        found = self._one(TICKETS, at, number, first=2)
        with understood(self.host):
            return self._issue(found) if found else None

    def issue_text(self, at: str, number: int, *, is_pull: bool = False) -> IssueText:
        """Title and description, which several may write at once: its document says when it changed last."""
        answer = self._ask("POST", "/graphql", is_read=True, body=_body(TEXT, filter=self._this(at, number)))
        now = self._now(answer)
        with understood(self.host):
            (found,) = answer.body["data"]["issues"]["nodes"]
            document = found["documentContent"]
            is_edited = document and document["updatedAt"] != document["createdAt"]
            return IssueText(
                title=found["title"],
                body=found["description"] or "",
                edited_at=document["updatedAt"] if is_edited else None,
                changed_at=found["updatedAt"],
                read_at=now,
                noted_until=now - NOTED_AFTER,
            )

    def issue_events(self, at: str, number: int, *, is_pull: bool = False) -> tuple[IssueEvent, ...]:
        """What its history says of labels, assignments and its text, and what it was made with."""
        entries: list[Mapping[str, Any]] = []
        after: str | None = None
        for _ in range(MOST_PAGES):
            body = _body(HISTORY, filter=self._this(at, number), first=PER_PAGE, after=after)
            answer = self._ask("POST", "/graphql", is_read=True, body=body)
            with understood(self.host):
                (found,) = answer.body["data"]["issues"]["nodes"]
                page = found["history"]
                entries += page["nodes"]
                goes_on, following = page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"]
            if not goes_on:
                with understood(self.host):
                    part = at.partition("/")[2]
                    events = [event for entry in entries for event in _events(entry, part)]
                    made = _made_with(found, entries, self._now(answer), self.host)
                    return tuple(sorted([*made, *events], key=lambda one: (one.id, one.kind)))
            if not following or following == after:
                raise NotYet(f"{self.host}: a history breaks off in the middle")
            after = following
        raise NotYet(f"{self.host}: a history with more than {MOST_PAGES * PER_PAGE:,} entries")

    def issue_comments(self, at: str, since: datetime) -> tuple[IssueComment, ...]:
        """Comments of the team's tickets since then that name us."""
        team, part = self._team(at), at.partition("/")[2]
        ticket = {"team": {"id": {"eq": team}}, **({"and": [_has(part)]} if part else {})}
        asked = {
            "issue": ticket,
            "createdAt": {"gte": since.isoformat()},
            "body": {"containsIgnoreCase": COMMAND},
        }
        found = []
        for one in self._all(COMMENTS, "comments", asked):
            with understood(self.host):
                found.append(_comment(one))
        return tuple(sorted(found, key=lambda one: (one.at, one.id)))

    # ── what is written once ──

    def comment(self, at: str, number: int, marker: str, body: str, *, is_issue: bool = False) -> None:
        """The one comment of ours says `body` now; others' are never touched."""
        text = _plain(shown(body))
        ticket = self._one(TICKETS, at, number, first=2)
        if ticket is None:
            return
        asked = {"issue": {"id": {"eq": ticket["id"]}}, "user": {"isMe": {"eq": True}}}
        for one in self._all(COMMENTS, "comments", asked):
            with understood(self.host):
                known, said = str(one["id"]), str(one["body"])
            if said.startswith(FIRST_LINE):
                if said != text:
                    self._write(SAY_ANEW, id=known, body=text)
                return
        self._write(SAY, issue=str(ticket["id"]), body=text)

    def _write(self, question: str, **values: Any) -> None:
        answer = self._ask("POST", "/graphql", is_read=False, body=_body(question, **values))
        with understood(self.host):
            (done,) = answer.body["data"].values()
            if done["success"] is not True:
                raise ForgeError(f"{self.host} did not take our comment")

    # ── one client ──

    def _asked(self, question: str, **values: Any) -> Any:
        answer = self._ask("POST", "/graphql", is_read=True, body=_body(question, **values))
        with understood(self.host):
            return answer.body["data"]

    def _all(self, question: str, name: str, wanted: Any) -> Iterator[Mapping[str, Any]]:
        """Every entry of a list. One that breaks off is an error, never a shorter list."""
        after: str | None = None
        for _ in range(MOST_PAGES):
            found = self._asked(question, filter=wanted, first=PER_PAGE, after=after)
            with understood(self.host):
                entries, page = list(found[name]["nodes"]), found[name]["pageInfo"]
                goes_on, following = page["hasNextPage"], page["endCursor"]
            yield from entries
            if not goes_on:
                return
            if not following or following == after or not entries:
                raise NotYet(f"{self.host}: a list breaks off in the middle")
            after = following
        raise NotYet(f"{self.host}: a list with more than {MOST_PAGES * PER_PAGE:,} entries")

    def _team(self, at: str) -> str:
        key = at.partition("/")[0]
        return remembered((self._identity, TEAM, key), lambda: self._found(key))

    def _found(self, key: str) -> str:
        found = self._asked(TEAM, key=key)
        with understood(self.host):
            teams = [str(one["id"]) for one in found["teams"]["nodes"]]
        if len(teams) != 1:
            raise InputError(f"{self.host} knows no team {key}, or the token may not see it")
        return teams[0]

    def _this(self, at: str, number: int) -> Any:
        return {"team": {"id": {"eq": self._team(at)}}, "number": {"eq": number}}

    def _one(self, question: str, at: str, number: int, **more: Any) -> Mapping[str, Any] | None:
        found = self._asked(question, filter=self._this(at, number), **more)
        with understood(self.host):
            tickets = [one for one in found["issues"]["nodes"] if not one["trashed"]]
            return tickets[0] if tickets else None

    def _now(self, answer: TrackerAnswer) -> datetime:
        if answer.at is None:
            raise ForgeError(f"{self.host} does not say what time it is")
        return answer.at

    def _issue(self, one: Mapping[str, Any]) -> Issue:
        if not KEY.fullmatch(one["identifier"]) or not PAGE.fullmatch(one["url"]):
            raise ValueError("a name or address that is none")
        return Issue(
            number=int(one["number"]),
            url=one["url"],
            name=one["identifier"],
            is_open=one["state"]["type"] not in OVER and not one["archivedAt"] and not one["trashed"],
            labels=tuple(label["name"] for label in one["labels"]["nodes"]),
            updated_at=one["updatedAt"],
            by=_person(one["creator"]),
        )


def _body(question: str, **values: Any) -> Any:
    return {"query": question, "variables": values}


def _has(label: str) -> Any:
    return {"labels": {"some": {"name": {"eqIgnoreCase": label}}}}


def _codes(body: Any) -> set[str]:
    """Of the errors in an answer; empty: there are none."""
    errors = body.get("errors") if isinstance(body, Mapping) else None
    found = [one.get("extensions") for one in errors if isinstance(one, Mapping)] if isinstance(errors, list) else []
    return {str(one.get("code", "")) if isinstance(one, Mapping) else "" for one in found}


def _person(user: Mapping[str, Any] | None) -> Person | None:
    """What is not said to be no app is one."""
    if not user:
        return None
    return Person(login=user["id"], id=user["id"], is_bot=user["app"] is not False, name=user["displayName"])


def _number(at: datetime, identity: str, more: int = 0) -> int:
    return order(at, 1 + UUID(identity).int % 499_999 + more)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _comment(one: Mapping[str, Any]) -> IssueComment:
    at = _moment(one["createdAt"])
    return IssueComment(
        id=_number(at, one["id"]),
        number=int(one["issue"]["number"]),
        by=_person(one["user"]),
        text=one["body"],
        at=at,
        updated_at=one["editedAt"] or at,
        is_by_app=one["botActor"] is not None,
    )


def _events(entry: Mapping[str, Any], part: str) -> Iterator[IssueEvent]:
    """Of one entry. Who did several things in a row is the same person: their own edit asks for nothing anew."""
    made, last = _moment(entry["createdAt"]), _moment(entry["updatedAt"])
    by, is_by_app = _person(entry["actor"]), entry["botActor"] is not None
    asks, undoes = _number(made, entry["id"]), _number(last, entry["id"])
    edits = undoes if entry["addedLabels"] or entry["toAssignee"] else _number(last, entry["id"], 500_000)

    def event(number: int, kind: str, at: datetime, **more: str) -> IssueEvent:
        return IssueEvent(id=number, kind=kind, by=by, at=at, is_by_app=is_by_app, **more)

    for label in entry["addedLabels"] or ():
        yield event(asks, "labeled", last, label=label["name"])
    for label in entry["removedLabels"] or ():
        yield event(undoes, "unlabeled", last, label=label["name"])
    if entry["toAssignee"]:
        yield event(asks, "assigned", last, assignee=entry["toAssignee"]["id"])
    if entry["fromAssignee"]:
        yield event(undoes, "unassigned", last, assignee=entry["fromAssignee"]["id"])
    if entry["fromTitle"] is not None or entry["toTitle"] is not None:
        yield event(edits, "renamed", last)
    if entry["updatedDescription"]:
        yield event(edits, "edited", last)
    if entry["fromTeamId"] or entry["toTeamId"]:
        yield event(edits, "moved", last)
    if part and part.casefold() in {label["name"].casefold() for label in entry["addedLabels"] or ()}:
        yield event(edits, "sorted", last)


def _made_with(
    ticket: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], now: datetime, host: str
) -> Iterator[IssueEvent]:
    """A label that nobody put on since was there from the start, and its creator's; an assignee the same."""
    added = {label["name"] for entry in entries for label in entry["addedLabels"] or ()}
    taken = {label["name"] for entry in entries for label in entry["removedLabels"] or ()}
    labels = ({label["name"] for label in ticket["labels"]["nodes"]} | taken) - added
    if ticket["labels"]["pageInfo"]["hasNextPage"]:
        labels = (
            set()
        )  # not all are known: who wants a run puts the label on, and other tickets do not wait for this one
    moves = [entry for entry in entries if entry["fromAssignee"] or entry["toAssignee"]]
    first = min(moves, key=lambda one: one["createdAt"])["fromAssignee"] if moves else ticket["assignee"]
    if _moment(ticket["updatedAt"]) > now - NOTED_AFTER and (labels or (first and not moves)):
        raise NotYet(f"{host}: a ticket has just changed, and its history may not say so yet")
    at, by, is_by_app = _moment(ticket["createdAt"]), _person(ticket["creator"]), ticket["botActor"] is not None
    number = order(at, 0)
    for label in sorted(labels):
        yield IssueEvent(id=number, kind="labeled", by=by, at=at, label=label, is_by_app=is_by_app)
    if first:
        yield IssueEvent(id=number, kind="assigned", by=by, at=at, assignee=first["id"], is_by_app=is_by_app)


def _plain(text: str) -> str:
    """Without HTML, which Linear would show: our own text alone holds any outside of code blocks."""
    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        opens = re.fullmatch(r"(`{3,})\S*", line)
        if fence:
            fence = "" if line == fence else fence
        elif opens:
            fence = opens[1]
        elif folded := re.fullmatch(r"<details><summary>(.*)</summary>", line):
            line = f"**{folded[1]}**"
        elif line == "</details>":
            continue
        lines.append(line)
    return re.sub(r"\n{3,}$", "\n", "\n".join(lines)).rstrip()
