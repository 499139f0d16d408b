"""A Linear: the GraphQL that tickets need, run by Linear's own schema, so nothing is asked or answered beside it."""

import gzip
import uuid
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from graphql import GraphQLError, GraphQLSchema, build_schema, graphql_sync

from kits.fake_forge.store import Doc
from kits.fake_trackers.server import FakeTracker, TrackerRefusal, TrackerReply

_KEPT = {
    "Query": "viewer team teams issues comments",
    "Mutation": "commentCreate commentUpdate",
    "User": "id displayName app active guest",
    "Team": "id key members",
    "TeamConnection": "nodes pageInfo",
    "UserConnection": "nodes pageInfo",
    "Issue": (
        "id number identifier url title description trashed archivedAt createdAt updatedAt state labels assignee "
        "creator botActor documentContent history team"
    ),
    "IssueConnection": "nodes pageInfo",
    "WorkflowState": "type",
    "IssueLabel": "name",
    "IssueLabelConnection": "nodes pageInfo",
    "ActorBot": "id",
    "DocumentContent": "createdAt updatedAt",
    "IssueHistory": (
        "id createdAt updatedAt actor botActor addedLabels removedLabels fromAssignee toAssignee fromTitle toTitle "
        "updatedDescription fromTeamId toTeamId"
    ),
    "IssueHistoryConnection": "nodes pageInfo",
    "Comment": "id body createdAt editedAt user botActor issue",
    "CommentConnection": "nodes pageInfo",
    "CommentPayload": "success",
    "PageInfo": "hasNextPage endCursor",
}
LINEAR = {name: fields.split() for name, fields in _KEPT.items()}
"""Which fields of the schema are kept here: `extract.py`."""
MERGES_S = 60
"""So long what somebody does in a row may be one entry of the history: a guess, and the harder case."""


class FakeLinear(FakeTracker):
    """A Linear on 127.0.0.1. People act by its methods; the platform by GraphQL."""

    def person(self, name: str, *, app: bool = False, guest: bool = False, active: bool = True) -> str:
        """A member of the workspace; returns the id."""
        found = self.store.one("person", key=name) or self.store.add("person", key=name, uuid=self._uuid(name))
        self.store.save({**found, "app": app, "guest": guest, "active": active})
        return str(found["uuid"])

    def team(self, key: str) -> str:
        return str(self.store.add("team", key=key, uuid=self._uuid(f"team {key}"), last=0)["uuid"])

    def member(self, team: str, name: str) -> None:
        self.store.add("member", key=name, team=team)

    def ticket(self, team: str, by: str, title: str, body: str = "", **more: Any) -> int:
        """`more`: labels, assignee, bot. Returns its number."""
        with self.store.transaction():
            return int(self._new(team, by, title, body, self.stamp(), **more)["number"])

    def _new(self, team: str, by: str, title: str, body: str, now: str, **more: Any) -> Doc:
        found = self.store.one("team", key=team) or {}
        found = self.store.save({**found, "last": found["last"] + 1})
        return self.store.add(
            "issue",
            number=found["last"],
            uuid=str(uuid.uuid4()),
            team=team,
            title=title,
            body=body,
            labels=list(more.get("labels", ())),
            assignee=more.get("assignee"),
            bot=more.get("bot", False),
            is_backlog=more.get("is_backlog", False),
            state="unstarted",
            creator=by,
            created=now,
            updated=now,
            written=now,
            trashed=False,
        )

    def backlog(self, team: str, by: str, count: int) -> None:
        """So many tickets by somebody."""
        now = self.stamp()
        with self.store.transaction():
            for n in range(count):
                self._new(team, by, f"Ticket {n}", "", now, is_backlog=True)

    def without_backlog(self) -> None:
        """It is gone again."""
        with self.store.transaction():
            for one in self.store.find("issue", is_backlog=True):
                self.store.remove(one)

    def change(self, team: str, number: int, by: str, /, *, bot: bool = False, **new: Any) -> None:
        """`new`: title, body, labels, assignee, state, trashed, team. What one person does in a row is one entry."""
        with self.store.transaction():
            issue, now = self.issue(team, number), self.stamp()
            entry: Doc = {"by": by, "bot": bot}
            if "labels" in new:
                entry["added"] = sorted(set(new["labels"]) - set(issue["labels"]))
                entry["removed"] = sorted(set(issue["labels"]) - set(new["labels"]))
            if new.get("assignee", issue["assignee"]) != issue["assignee"]:
                entry |= {"from": issue["assignee"], "to": new["assignee"]}
            if new.get("title", issue["title"]) != issue["title"]:
                entry |= {"from_title": issue["title"], "to_title": new["title"]}
            if new.get("team", issue["team"]) != issue["team"]:
                entry |= {"from_team": issue["team"], "to_team": new["team"]}
            if new.get("body", issue["body"]) != issue["body"]:
                entry["described"] = True
                new["written"] = now
            entries = [one for one in self.store.find("entry", issue=issue["uuid"]) if one["by"] == by]
            last = entries[-1] if entries else None
            if last and not last.keys() & (entry.keys() - {"by", "bot"}) and self._is_new(last):
                self.store.save({**last, **entry, "updated": now})
            else:
                self.store.add("entry", issue=issue["uuid"], uuid=str(uuid.uuid4()), created=now, updated=now, **entry)
            self.store.save({**issue, **new, "updated": now})

    def _is_new(self, entry: Doc) -> bool:
        age = self.now().timestamp() - _seconds(entry["created"])
        return age < MERGES_S

    def say(self, team: str, number: int, by: str, body: str, *, bot: bool = False) -> str:
        issue, now = self.issue(team, number), self.stamp()
        self.store.save({**issue, "updated": now})
        return str(self._said(issue, by, body, now, bot=bot)["uuid"])

    def _said(self, issue: Doc, by: str, body: str, now: str, *, bot: bool = False) -> Doc:
        new = {"uuid": str(uuid.uuid4()), "by": by, "bot": bot, "body": body, "created": now, "edited": None}
        return self.store.add("comment", issue=issue["uuid"], **new)

    def say_anew(self, comment: str, body: str) -> None:
        found = self.store.one("comment", uuid=comment) or {}
        self.store.save({**found, "body": body, "edited": self.stamp()})

    def issue(self, team: str, number: int) -> Doc:
        found = self.store.one("issue", team=team, number=number)
        if found is None:
            raise LookupError(f"there is no {team}-{number}")
        return found

    # what is asked

    def answer(self, who: Doc | None, method: str, path: str, query: dict[str, str], body: Any) -> TrackerReply:
        if (method, path) != ("POST", "/graphql"):
            raise TrackerRefusal(TrackerReply(404, {"errors": [{"message": "Not found"}]}))
        if who is None:
            code = {"code": "AUTHENTICATION_ERROR", "type": "authentication error"}
            message = "Authentication required, not authenticated"
            raise TrackerRefusal(TrackerReply(401, {"errors": [{"message": message, "extensions": code}]}))
        root = _Root(self, who)
        done = graphql_sync(schema(), body["query"], root, variable_values=body.get("variables"))
        if done.errors:
            shown = [{"message": one.message, "extensions": {"code": "INPUT_ERROR"}} for one in done.errors]
            return TrackerReply(400, {"errors": shown, "data": done.data})
        return TrackerReply(200, {"data": done.data})

    def met_by(self, path: str, body: Any) -> str:
        """There is one path for all: a fault is for a question."""
        return str((body or {}).get("query"))

    def limited(self, seconds: float) -> TrackerReply:
        until = str(int((self.now().timestamp() + seconds) * 1000))
        code = {"code": "RATELIMITED", "type": "ratelimited"}
        body = {"errors": [{"message": "Rate limit exceeded", "extensions": code}]}
        return TrackerReply(400, body, (("X-RateLimit-Requests-Remaining", "0"), ("X-RateLimit-Requests-Reset", until)))

    def stamp(self) -> str:
        found = self.now()
        return f"{found:%Y-%m-%dT%H:%M:%S}.{found.microsecond // 1000:03d}Z"

    @staticmethod
    def _uuid(name: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"fake-linear:{name}"))


class _Root:
    """What queries begin at."""

    def __init__(self, fake: FakeLinear, who: Doc) -> None:
        self.fake, self.who = fake, who
        self.viewer = self._user(who["key"])

    def teams(self, info: Any, filter: Doc, first: int = 50, after: str | None = None) -> Doc:
        sees = {one["team"] for one in self.fake.store.find("member", key=self.who["key"])}
        shown = [self._team(one["key"]) for one in self.fake.store.find("team") if one["key"] in sees]
        return _page([one for one in shown if _fits(filter, one)], first, after)

    def team(self, info: Any, id: str) -> Doc:
        found = self.fake.store.one("team", uuid=id)
        if found is None:
            raise GraphQLError("Entity not found: Team")
        return self._team(found["key"])

    def issues(self, info: Any, filter: Doc, first: int = 50, after: str | None = None, **_: Any) -> Doc:
        late = _seconds(self.fake.stamp()) - self.fake.late_s
        team = filter["team"]["id"]["eq"]
        where = self.fake.store.one("team", uuid=team)
        rows = self.fake.store.find("issue", team=where["key"]) if where else []
        if "number" in filter:
            rows = [one for one in rows if one["number"] == filter["number"]["eq"]]
        rows = [one for one in rows if "updatedAt" not in filter or _seconds(one["updated"]) <= late]
        shown = [found for one in rows if _fits(filter, found := self._issue(one))]
        shown.sort(key=lambda one: one["updatedAt"], reverse=True)
        return _page(shown, first, after)

    def comments(self, info: Any, filter: Doc, first: int = 50, after: str | None = None) -> Doc:
        shown = [self._comment(one) for one in self.fake.store.find("comment")]
        return _page([one for one in reversed(shown) if _fits(filter, one)], first, after)

    def commentCreate(self, info: Any, input: Doc) -> Doc:
        issue = self.fake.store.one("issue", uuid=input["issueId"])
        if issue is None:
            raise GraphQLError("Entity not found: Issue")
        now = self.fake.stamp()
        self.fake.store.save({**issue, "updated": now})
        self.fake._said(issue, self.who["key"], input["body"], now)
        return {"success": True}

    def commentUpdate(self, info: Any, id: str, input: Doc) -> Doc:
        found = self.fake.store.one("comment", uuid=id)
        if found is None or found["by"] != self.who["key"]:
            raise GraphQLError("Entity not found: Comment")
        self.fake.say_anew(id, input["body"])
        return {"success": True}

    def _user(self, name: str | None) -> Doc | None:
        found = self.fake.store.one("person", key=name) if name else None
        if found is None:
            return None
        kinds = {one: found[one] for one in ("app", "guest", "active")}
        is_me = found["key"] == self.who["key"]
        return {"id": found["uuid"], "displayName": str(name).title(), "isMe": is_me, **kinds}

    def _team(self, key: str) -> Doc:
        found = self.fake.store.one("team", key=key) or {}

        def members(info: Any, filter: Doc, first: int = 50, **_: Any) -> Doc:
            users = [self._user(one["key"]) for one in self.fake.store.find("member", team=key)]
            return _page([one for one in users if one and one["active"] and _fits(filter, one)], first, None)

        return {"id": found["uuid"], "key": key, "members": members}

    def _issue(self, one: Doc) -> Doc:
        team, late = self._team(one["team"]), _seconds(self.fake.stamp()) - self.fake.late_s

        def history(info: Any, first: int = 50, after: str | None = None, **_: Any) -> Doc:
            every = self.fake.store.find("entry", issue=one["uuid"])
            entries = [each for each in every if _seconds(each["updated"]) <= late]
            return _page([self._entry(each) for each in reversed(entries)], first, after)

        return {
            "id": one["uuid"],
            "number": one["number"],
            "identifier": f"{one['team']}-{one['number']}",
            "url": f"{self.fake.url}/acme/issue/{one['team']}-{one['number']}/a-title",
            "title": one["title"],
            "description": one["body"] or None,
            "trashed": one["trashed"] or None,
            "archivedAt": None,
            "createdAt": one["created"],
            "updatedAt": one["updated"],
            "state": {"type": one["state"]},
            "labels": _Labels(one["labels"]),
            "assignee": self._user(one["assignee"]),
            "creator": None if one["bot"] else self._user(one["creator"]),
            "botActor": {"id": "bot"} if one["bot"] else None,
            "documentContent": {"createdAt": one["created"], "updatedAt": one["written"]},
            "team": team,
            "history": history,
        }

    def _entry(self, one: Doc) -> Doc:
        return {
            "id": one["uuid"],
            "createdAt": one["created"],
            "updatedAt": one["updated"],
            "actor": None if one["bot"] else self._user(one["by"]),
            "botActor": {"id": "bot"} if one["bot"] else None,
            "addedLabels": [{"name": name} for name in one.get("added", ())] or None,
            "removedLabels": [{"name": name} for name in one.get("removed", ())] or None,
            "fromAssignee": self._user(one.get("from")),
            "toAssignee": self._user(one.get("to")),
            "fromTitle": one.get("from_title"),
            "toTitle": one.get("to_title"),
            "updatedDescription": one.get("described"),
            **{f"{side}TeamId": self._team_id(one.get(f"{side}_team")) for side in ("from", "to")},
        }

    def _team_id(self, key: str | None) -> str | None:
        return str((self.fake.store.one("team", key=key) or {})["uuid"]) if key else None

    def _comment(self, one: Doc) -> Doc:
        issue = self.fake.store.one("issue", uuid=one["issue"])
        return {
            "id": one["uuid"],
            "body": one["body"],
            "createdAt": one["created"],
            "editedAt": one["edited"],
            "user": None if one["bot"] else self._user(one["by"]),
            "botActor": {"id": "bot"} if one["bot"] else None,
            "issue": self._issue(issue) if issue else None,
        }


class _Labels(list[Any]):
    """A connection, to what is answered; a list of labels, to a filter."""

    def __init__(self, names: list[str]) -> None:
        super().__init__({"name": name} for name in names)
        self.nodes = self[:50]
        self.pageInfo = {"hasNextPage": len(self) > 50, "endCursor": None}


def _page(items: list[Any], first: int, after: str | None) -> Doc:
    start = int(after or 0)
    ends = min(start + first, len(items))
    is_more = ends < len(items)
    return {"nodes": items[start:ends], "pageInfo": {"hasNextPage": is_more, "endCursor": str(ends) if items else None}}


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _fits(asked: Doc, one: Any) -> bool:
    """A filter of Linear's on one thing."""
    return all(_fits_one(name, value, one) for name, value in asked.items())


def _fits_one(name: str, value: Any, one: Any) -> bool:
    match name:
        case "and":
            return all(_fits(each, one) for each in value)
        case "some":
            return any(_fits(value, each) for each in one)
        case "eq":
            return bool(one == value)
        case "eqIgnoreCase":
            return str(one).casefold() == str(value).casefold()
        case "containsIgnoreCase":
            return str(value).casefold() in str(one).casefold()
        case "gte":
            return _seconds(one) >= _seconds(value)
    if name not in one if isinstance(one, dict) else True:
        raise GraphQLError(f"this filter is not built here: {name}")
    inner = one[name]
    return inner is not None and _fits(value, inner)


@cache
def schema() -> GraphQLSchema:
    """Linear's own, as far as it is needed."""
    packed = Path(__file__).parent / "described" / "linear.graphql.gz"
    return build_schema(gzip.decompress(packed.read_bytes()).decode(), assume_valid_sdl=True)
