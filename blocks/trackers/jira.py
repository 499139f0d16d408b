"""Jira Cloud, by its REST API v3: https://developer.atlassian.com/cloud/jira/platform/rest/v3/

A change of a ticket is an entry of its changelog, with who and when. What a ticket was made with is in no entry: it is
what its first entry found there, and its creator's.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from pydantic import Field, SecretStr

from blocks.trackers.tracker import (
    FIRST_LINE,
    MOST_PAGES,
    TrackerAnswer,
    TrackerBlock,
    order,
    remembered,
    shown,
    understood,
)
from domain.adf import document_of, is_unseen_in_part, markdown_of
from domain.errors import ForgeError, InputError, NotYet
from domain.issues import COMMAND, EVERYBODY, Issue, IssueComment, IssueEvent, IssueText
from domain.pull_request import Person

PER_PAGE = 100
NOTED_AFTER = timedelta(seconds=5)
"""So much later an edit surely is in the changelog: one is written beside the other."""
FIELDS = "summary,status,labels,assignee,updated,created,creator,project,security"
KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*-[0-9]+")
WORD = COMMAND.strip("/").split()[0]
"""What Jira's search by words finds comments by."""


class Jira(TrackerBlock):
    """A site of Jira Cloud."""

    _block_type_name = "Lockgate Jira"
    _block_type_slug = "lockgate-jira"
    _description = "Jira Cloud: tickets become runs. Its site, and the platform's own account there."

    url: str = Field(description="The site as people open it, such as https://acme.atlassian.net")
    email: str = Field("", description="Of the account that the token belongs to; empty: the token is a bearer's")
    token: SecretStr = Field(description="An API token of the platform's own account")
    api_url: str = Field(
        "", description="Empty: the site. For a token with scopes, https://api.atlassian.com/ex/jira/CLOUD_ID"
    )

    @property
    def _api(self) -> str:
        return (self.api_url or self.url).rstrip("/")

    @property
    def host(self) -> str:
        """The site's name."""
        return self.url.partition("://")[2].strip("/")

    def _headers(self) -> dict[str, str]:
        token = self.token.get_secret_value()
        if not self.email:
            return {"Authorization": f"Bearer {token}"}
        return {"Authorization": f"Basic {base64.b64encode(f'{self.email}:{token}'.encode()).decode()}"}

    # ── who and where ──

    def me(self, at: str) -> str:
        """The account id that the platform writes as. A token that ran out may be let in as nobody elsewhere."""
        with understood(self.host):
            return str(self._get("/myself").body["accountId"])

    def place_id(self, at: str) -> str:
        """The project's number. Raises InputError for one that customers look into."""
        found = self._project(at)
        if found["projectTypeKey"] == "service_desk":
            raise InputError(f"{at} of {self.host} is a service project: its customers would read our comments")
        return f"jira-{self.host}-{found['id']}"  # each site counts from the same number

    def moment(self, at: str) -> datetime:
        """What its clock says."""
        return _said(self._get(f"/project/{quote(_key(at), safe='')}"), self.host)

    def may_ask(self, at: str, person: Person, only: Sequence[str] = ()) -> bool:
        """Somebody who is named and has an account in force; or, where all may who edit issues, one of these."""
        if tuple(only) == (EVERYBODY,):
            query = {"permissions": "EDIT_ISSUES", "projectKey": _key(at), "accountId": str(person.id)}
            found = self._get("/user/permission/search", **query)
            users = found.body if found.status != 404 else []
        elif person.id in only:
            found = self._get("/user", accountId=str(person.id))
            users = [found.body] if found.status != 404 else []
        else:
            return False
        with understood(self.host):
            return any(one["accountId"] == person.id and one["active"] is True and _is_person(one) for one in users)

    # ── tickets ──

    def issues(self, at: str, label: str, since: datetime) -> tuple[Issue, ...]:
        """Open ones with this label that changed since then."""
        return self._open(at, f"labels = {_quoted(label)}", since)

    def assigned(self, at: str, login: str, since: datetime) -> tuple[Issue, ...]:
        """The same of those that are assigned to this account."""
        return self._open(at, f"assignee = {_quoted(login)}", since)

    def _open(self, at: str, terms: str, since: datetime) -> tuple[Issue, ...]:
        found = self._found(at, f"{terms} AND statusCategory != Done", since)
        return tuple(sorted(found, key=lambda one: (one.updated_at, one.number)))

    def _found(self, at: str, terms: str, since: datetime) -> list[Issue]:
        """All that changed since then, each once. The moment is in milliseconds: a date would be read in the time zone
        of our account (https://github.com/airbytehq/airbyte/pull/48395)."""
        self.me(at)
        project, _, part = at.partition("/")
        terms += f" AND component = {_quoted(part)}" if part else ""
        query = f"project = {_quoted(project)} AND updated >= {int(since.timestamp() * 1000)} AND {terms}"
        found: dict[int, Issue] = {}
        asked = {"jql": f"{query} ORDER BY updated ASC", "fields": FIELDS, "maxResults": PER_PAGE}
        token, seen = "", set[str]()
        for _ in range(MOST_PAGES):
            with understood(self.host):
                page = self._there(self._get("/search/jql", **asked, **({"nextPageToken": token} if token else {})))
                for one in page["issues"]:
                    found |= {int(one["id"]): self._issue(one)}
                token = page.get("nextPageToken") or ""
                is_last = page.get("isLast", not token)
            if is_last and not token:
                return list(found.values())
            if not token or token in seen:
                raise NotYet(f"{self.host}: a list of tickets breaks off in the middle")
            seen.add(token)
        raise NotYet(f"{self.host}: more than {MOST_PAGES * PER_PAGE:,} tickets changed at once")

    def issue(self, at: str, number: int, *, is_pull: bool = False) -> Issue | None:
        """As it stands now; None: it was deleted, or moved to another project."""
        found = self._get(f"/issue/{number}", fields=FIELDS)
        if found.status == 404:
            self.me(at)
            self._project(at)  # else it is we who may see nothing any more
            return None
        with understood(self.host):
            one = self._issue(found.body)
            ours = remembered((self._identity, at), lambda: self._project(at))
            return one if str(found.body["fields"]["project"]["id"]) == str(ours["id"]) else None

    def issue_text(self, at: str, number: int, *, is_pull: bool = False) -> IssueText:
        """Summary and description. That they were edited is in the changelog, a moment later."""
        found = self._get(f"/issue/{number}", fields=f"{FIELDS},description")
        now = _said(found, self.host)
        with understood(self.host):
            fields = self._there(found)["fields"]
            return IssueText(
                title=fields["summary"],
                body=markdown_of(fields.get("description")),
                is_confidential=fields.get("security") is not None,
                is_unseen_in_part=is_unseen_in_part(fields.get("description")),
                changed_at=fields["updated"],
                read_at=now,
                noted_until=now - NOTED_AFTER,
            )

    def issue_events(self, at: str, number: int, *, is_pull: bool = False) -> tuple[IssueEvent, ...]:
        """What its changelog says of labels, assignments and its text, and what it was made with."""
        found = self._get(f"/issue/{number}", fields=FIELDS)
        entries = list(self._paged(f"/issue/{number}/changelog", "values"))
        with understood(self.host):
            fields = self._there(found)["fields"]
            events = [event for entry in entries for event in _events(entry, has_part="/" in at)]
            made = self._made_with(fields, entries, _said(found, self.host))
            return tuple(sorted([*made, *events], key=lambda one: (one.id, one.kind)))

    def _made_with(
        self, fields: Mapping[str, Any], entries: Iterable[Mapping[str, Any]], now: datetime
    ) -> Iterator[IssueEvent]:
        """A label that nobody put on since was there from the start, and its creator's; an assignee the same."""
        assignee = fields.get("assignee")
        labels, who = set(fields.get("labels") or ()), assignee and assignee["accountId"]
        known = {"labels": False, "assignee": False}
        for entry in entries:
            for item in entry["items"]:
                name = _field(item)
                if name == "labels" and not known[name]:
                    labels = set((item.get("fromString") or "").split())
                elif name == "assignee" and not known[name]:
                    who = item.get("from")
                known |= {name: True}
        is_new = datetime.fromisoformat(fields["updated"]) > now - NOTED_AFTER
        if is_new and ((labels and not known["labels"]) or (who and not known["assignee"])):
            raise NotYet(f"{self.host}: a ticket has just changed, and its changelog may not say so yet")
        at = datetime.fromisoformat(fields["created"])
        for label in sorted(labels):
            yield IssueEvent(id=order(at, 0), kind="labeled", by=_person(fields.get("creator")), at=at, label=label)
        if who:
            yield IssueEvent(id=order(at, 0), kind="assigned", by=_person(fields.get("creator")), at=at, assignee=who)

    def issue_comments(self, at: str, since: datetime) -> tuple[IssueComment, ...]:
        """What was said since then where anybody ever named us: Jira lists comments by the ticket alone."""
        found: list[IssueComment] = []
        for ticket in self._found(at, f"comment ~ {_quoted(WORD)}", since):
            for one in self._paged(f"/issue/{ticket.number}/comment", "comments", orderBy="-created"):
                with understood(self.host):
                    comment = _comment(one, ticket.number)
                if comment.at < since:
                    break
                found.append(comment)
        return tuple(sorted(found, key=lambda one: (one.at, one.id)))

    # ── what is written once ──

    def comment(self, at: str, number: int, marker: str, body: str, *, is_issue: bool = False) -> None:
        """The one comment of ours says `body` now; others' are never touched."""
        me, document = self.me(at), document_of(shown(body))
        for one in self._paged(f"/issue/{number}/comment", "comments"):
            with understood(self.host):
                is_ours = (one.get("author") or {}).get("accountId") == me
                said = _text(one["body"]) if is_ours else ""
                where = f"/issue/{number}/comment/{int(one['id'])}"
            if is_ours and said.startswith(FIRST_LINE):
                if said != markdown_of(document):
                    self._write("PUT", where, {"body": document})
                return
        self._write("POST", f"/issue/{number}/comment", {"body": document})

    def _write(self, method: str, path: str, body: Any) -> None:
        if self._ask(method, f"/rest/api/3{path}", is_read=False, body=body).status == 404:
            raise ForgeError(f"{self.host} knows no {path}: it is gone, or our account may not write comments there")

    # ── one client ──

    def _get(self, path: str, **params: Any) -> TrackerAnswer:
        return self._ask("GET", f"/rest/api/3{path}", is_read=True, params=params or None)

    def _there(self, answer: TrackerAnswer) -> Any:
        if answer.status == 404:
            raise InputError(f"{self.host} knows it no more, or the token may not see it")
        return answer.body

    def _paged(self, path: str, name: str, **params: Any) -> Iterator[Mapping[str, Any]]:
        """Every entry of a list. One that breaks off is an error, never a shorter list."""
        start = 0
        for _ in range(MOST_PAGES):
            with understood(self.host):
                page = self._there(self._get(path, startAt=start, maxResults=PER_PAGE, **params))
                entries, total, begins = page[name], int(page["total"]), int(page.get("startAt", start))
                if begins != start or not isinstance(entries, list):
                    raise NotYet(f"{self.host}: a list breaks off in the middle")
            yield from entries
            start += len(entries)
            if start >= total:
                return
            if not entries:
                raise NotYet(f"{self.host}: a list breaks off in the middle")
        raise NotYet(f"{self.host}: a list with more than {MOST_PAGES * PER_PAGE:,} entries")

    def _project(self, at: str) -> Mapping[str, Any]:
        with understood(self.host):
            found = self._there(self._get(f"/project/{quote(_key(at), safe='')}"))
            return {"id": found["id"], "projectTypeKey": found["projectTypeKey"]}

    def _issue(self, one: Mapping[str, Any]) -> Issue:
        fields, key = one["fields"], one["key"]
        if not KEY.fullmatch(key):
            raise ValueError("a key that is none")
        return Issue(
            number=int(one["id"]),
            url=f"{self.url.rstrip('/')}/browse/{key}",
            name=key,
            is_open=fields["status"]["statusCategory"]["key"] != "done",
            labels=tuple(fields.get("labels") or ()),
            updated_at=fields["updated"],
            by=_person(fields.get("creator")),
            is_confidential=fields.get("security") is not None,
        )


def _key(at: str) -> str:
    return at.partition("/")[0]


def _quoted(text: str) -> str:
    """A word of JQL: https://support.atlassian.com/jira-service-management-cloud/docs/jql-reserved-characters-and-words/"""
    if any(ord(char) < 32 for char in text):
        raise InputError("a name holds a character that no name has")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _said(answer: TrackerAnswer, host: str) -> datetime:
    if answer.at is None:
        raise ForgeError(f"{host} does not say what time it is")
    return answer.at


def _is_person(user: Mapping[str, Any]) -> bool:
    """Not an app, and no customer of a service project. What is not said is no."""
    return user.get("accountType") == "atlassian"


def _person(user: Mapping[str, Any] | None) -> Person | None:
    if not user or not user.get("accountId"):
        return None
    who = str(user["accountId"])
    return Person(login=who, id=who, is_bot=not _is_person(user), name=str(user.get("displayName") or ""))


def _comment(one: Mapping[str, Any], number: int) -> IssueComment:
    return IssueComment(
        id=int(one["id"]),
        number=number,
        by=_person(one.get("author")),
        text=_text(one["body"]),
        at=one["created"],
        updated_at=one["updated"],
    )


def _text(document: Any) -> str:
    """What is no document says nothing, and keeps no other comment from being read."""
    try:
        return markdown_of(document)
    except (ValueError, RecursionError):
        return ""


def _field(item: Mapping[str, Any]) -> str:
    return str(item.get("fieldId") or item.get("field"))


def _events(entry: Mapping[str, Any], *, has_part: bool) -> Iterator[IssueEvent]:
    """Of one entry. An edit comes behind what somebody else did in the same moment: it counts as a later one."""
    items = {_field(item): item for item in entry["items"]}
    at, by = datetime.fromisoformat(entry["created"]), _person(entry.get("author"))
    asks = bool(items.keys() & {"labels", "assignee"})
    rest = 1 + int(entry["id"]) % 499_999
    number = order(at, rest if asks else rest + 500_000)
    for name, item in items.items():
        before, after = (set(str(item.get(one) or "").split()) for one in ("fromString", "toString"))
        if name == "labels":
            for kind, which in (("labeled", after - before), ("unlabeled", before - after)):
                for label in sorted(which):
                    yield IssueEvent(id=number, kind=kind, by=by, at=at, label=label)
        elif name == "assignee":
            for kind, who in (("unassigned", item.get("from")), ("assigned", item.get("to"))):
                if who:
                    yield IssueEvent(id=number, kind=kind, by=by, at=at, assignee=str(who))
        elif name in ("summary", "description"):
            kind = "renamed" if name == "summary" else "edited"
            yield IssueEvent(id=number, kind=kind, by=by, at=at)
        elif name.casefold() in ("project", "key"):
            yield IssueEvent(id=number, kind="moved", by=by, at=at)
        elif name == "components" and has_part:
            yield IssueEvent(id=number, kind="sorted", by=by, at=at)
