"""A Jira Cloud: the REST API v3 that tickets need. Who may do what is a role in a project: browse, edit or admin."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from kits.fake_forge.store import Doc
from kits.fake_trackers.server import FakeTracker, Operation, TrackerRefusal, TrackerReply

API = "/rest/api/3"
STATES = {"11": ("To Do", "new"), "21": ("In Progress", "indeterminate"), "31": ("Done", "done")}
ROLES = ("browse", "edit", "admin")
LONGEST = 32_767
_TERMS = {
    r'project = "([^"]+)"': "project",
    r"updated >= (\d+)": "since",
    r'labels = "([^"]+)"': "label",
    r'assignee = "([^"]+)"': "assignee",
    r'component = "([^"]+)"': "component",
    r'comment ~ "([^"]+)"': "word",
    r"statusCategory != Done": "open",
}
Call = Callable[["FakeJira", "_Ask"], TrackerReply]
_CALLS: list[tuple[str, str, Call]] = []


class _Ask:
    """One request: who asks, the parts of its path, its query and its body."""

    def __init__(self, who: Doc | None, parts: dict[str, str], query: dict[str, str], body: Any) -> None:
        self.who, self.parts, self.query, self.body = who, parts, query, body or {}

    @property
    def person(self) -> Doc:
        if self.who is None:
            raise no(401, "Client must be authenticated to access this resource.")
        return self.who


def no(status: int, *messages: str, **errors: str) -> TrackerRefusal:
    """A refusal as Jira words it."""
    return TrackerRefusal(TrackerReply(status, {"errorMessages": list(messages), "errors": errors}))


def call(method: str, template: str) -> Callable[[Call], Call]:
    def noted(function: Call) -> Call:
        _CALLS.append((method, f"{API}{template}", function))
        return function

    return noted


class FakeJira(FakeTracker):
    """A Jira Cloud on 127.0.0.1."""

    def person(self, name: str, *, kind: str = "atlassian", active: bool = True) -> str:
        """Somebody with an account, by its id. `kind`: atlassian, app or customer."""
        found = self.store.one("person", key=name) or self.store.add("person", key=name)
        shown = name.split(":")[-1].title()
        self.store.save({**found, "accountId": name, "displayName": shown, "accountType": kind, "active": active})
        return name

    def project(self, key: str, *, kind: str = "software", components: tuple[str, ...] = ()) -> str:
        """A project. `kind`: software, business or service_desk."""
        self.store.add("project", key=key, name=key.title(), projectTypeKey=kind, components=list(components), last=0)
        return key

    def role(self, project: str, name: str, role: str | None) -> None:
        """What somebody may do there: browse (and comment), edit, admin; None takes it back."""
        self.person(name) if self.store.one("person", key=name) is None else None
        old = self.store.one("role", key=name, project=project)
        if old:
            self.store.remove(old)
        if role:
            self.store.add("role", key=name, project=project, role=role)

    def backlog(self, project: str, name: str, count: int) -> None:
        """So many tickets by somebody."""
        now = self.stamp()
        with self.store.transaction():
            for n in range(count):
                made = self._new(self._project(project), name, {"summary": f"Ticket {n}"}, now)
                self.store.save({**made, "is_backlog": True})

    def without_backlog(self) -> None:
        """It is gone again."""
        with self.store.transaction():
            for one in self.store.find("issue", is_backlog=True):
                self.store.remove(one)

    # what is asked

    def answer(self, who: Doc | None, method: str, path: str, query: dict[str, str], body: Any) -> TrackerReply:
        for verb, template, function in _CALLS:
            found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template), path)
            if found and verb == method:
                return function(self, _Ask(who, found.groupdict(), query, body))
        raise no(404, "null for uri: " + path)

    def template(self, method: str, path: str) -> str | None:
        return next(
            (one for verb, one, _ in _CALLS if verb == method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", one), path)),
            None,
        )

    def limited(self, seconds: float) -> TrackerReply:
        return TrackerReply(429, {"errorMessages": ["Rate limit exceeded."]}, (("Retry-After", f"{seconds:.0f}"),))

    # what it knows

    def stamp(self, at: datetime | None = None) -> str:
        found = at or self.now()
        return f"{found:%Y-%m-%dT%H:%M:%S}.{found.microsecond // 1000:03d}+0000"

    def may(self, who: Doc | None, project: Doc, role: str) -> bool:
        found = self.store.one("role", key=who["key"], project=project["key"]) if who else None
        return found is not None and ROLES.index(found["role"]) >= ROLES.index(role)

    def _project(self, key: str) -> Doc:
        found = self.store.one("project", key=key)
        if found is None:
            raise no(404, f"No project could be found with key '{key}'.")
        return found

    def _issue(self, ask: _Ask, role: str = "browse") -> tuple[Doc, Doc]:
        """(ticket, project), where the person may see it; 403 where they may not do what they want."""
        name = ask.parts["issueIdOrKey"]
        found = self.store.get("issue", int(name)) if name.isdigit() else self.store.one("issue", key=name)
        project = self.store.get("project", found["project"]) if found else None
        if found is None or project is None or not self.may(ask.who, project, "browse"):
            raise no(404, "Issue does not exist or you do not have permission to see it.")
        if not self.may(ask.who, project, role):
            raise no(403, "You do not have permission to edit issues in this project.")
        return found, project

    def _new(self, project: Doc, by: str, fields: Doc, at: str = "") -> Doc:
        now = at or self.stamp()
        project = self.store.save({**project, "last": project["last"] + 1})
        return self.store.add(
            "issue",
            key=f"{project['key']}-{project['last']}",
            project=project["id"],
            summary=fields.get("summary", ""),
            description=fields.get("description"),
            labels=sorted(fields.get("labels", [])),
            assignee=(fields.get("assignee") or {}).get("accountId"),
            components=[one["name"] for one in fields.get("components", [])],
            security=fields.get("security"),
            status="11",
            creator=by,
            created=now,
            updated=now,
        )

    def change(self, issue: Doc, by: str, new: Doc) -> None:
        """What is new, and an entry of the changelog that says so."""
        items = []
        for name, after in new.items():
            before = issue[name]
            if before != after:
                items.append(self._item(name, before, after))
        if items:
            now = self.stamp()
            self.store.add("entry", number=issue["id"], created=now, by=by, items=items)
            self.store.save({**issue, **new, "updated": now})

    def _item(self, name: str, before: Any, after: Any) -> Doc:
        shown: dict[str, Callable[[Any], tuple[Any, Any]]] = {
            "labels": lambda value: (None, " ".join(value)),
            "assignee": lambda value: (value, self._user(value)["displayName"] if value else None),
            "status": lambda value: (value, STATES[value][0]),
            "description": lambda value: (None, "the text" if value else None),
            "components": lambda value: (None, ", ".join(value)),
            "project": lambda value: (str(value), str(value)),
            "security": lambda value: ((value or {}).get("id"), (value or {}).get("name")),
        }
        one, two = (shown[name](value) if name in shown else (None, value) for value in (before, after))
        field = {"components": "Component", "key": "Key"}.get(name, name)
        item = {"field": field, "fieldtype": "jira", "fieldId": name}
        return item | {"from": one[0], "fromString": one[1], "to": two[0], "toString": two[1]}

    def _user(self, name: str) -> Doc:
        found = self.store.one("person", key=name) or {"displayName": "Former user", "accountType": "unknown"}
        return {
            "self": f"{self.url}{API}/user?accountId={name}",
            "accountId": name,
            "accountType": found["accountType"],
            "active": found.get("active", False),
            "displayName": found["displayName"],
            "timeZone": "Europe/Berlin",
        }

    def shown(self, issue: Doc, fields: str) -> Doc:
        project = self.store.get("project", issue["project"]) or {}
        name, category = STATES[issue["status"]]
        every = {
            "summary": issue["summary"],
            "description": issue["description"],
            "labels": issue["labels"],
            "assignee": self._user(issue["assignee"]) if issue["assignee"] else None,
            "creator": self._user(issue["creator"]),
            "components": [{"name": one} for one in issue["components"]],
            "security": issue["security"],
            "status": {"id": issue["status"], "name": name, "statusCategory": {"key": category, "name": name}},
            "project": {"id": str(project["id"]), "key": project["key"]},
            "created": issue["created"],
            "updated": issue["updated"],
        }
        wanted = fields.split(",") if fields else every
        found = {name: value for name, value in every.items() if name in wanted or "*all" in wanted}
        here = {"id": str(issue["id"]), "key": issue["key"], "self": f"{self.url}{API}/issue/{issue['id']}"}
        return {**here, "expand": "names,schema", "fields": found}

    def comment_shown(self, one: Doc) -> Doc:
        return {
            "id": str(one["id"]),
            "self": f"{self.url}{API}/issue/{one['number']}/comment/{one['id']}",
            "author": self._user(one["by"]),
            "updateAuthor": self._user(one["by"]),
            "body": one["body"],
            "created": one["created"],
            "updated": one["updated"],
            "jsdPublic": True,
        }


def _page(items: list[Any], query: dict[str, str], name: str, most: int) -> Doc:
    start, count = int(query.get("startAt", 0)), min(int(query.get("maxResults", most)), most)
    found = items[start : start + count]
    return {"startAt": start, "maxResults": count, "total": len(items), name: found}


def _words(value: Any) -> Iterator[str]:
    """Of a document: what a search finds it by."""
    if isinstance(value, dict):
        yield from re.findall(r"\w+", str(value.get("text", "")).lower())
        yield from _words(value.get("content"))
    elif isinstance(value, list):
        for one in value:
            yield from _words(one)


def _document(value: Any, name: str) -> Any:
    if not isinstance(value, dict) or value.get("type") != "doc" or value.get("version") != 1:
        raise no(400, **{name: "Operation value must be an Atlassian Document (see the Atlassian Document Format)"})
    if sum(len(word) for word in _words(value)) > LONGEST:
        raise no(400, **{name: "CONTENT_LIMIT_EXCEEDED"})
    return value


@call("GET", "/myself")
def myself(jira: FakeJira, ask: _Ask) -> TrackerReply:
    return TrackerReply(200, jira._user(ask.person["key"]))


@call("GET", "/project/{projectIdOrKey}")
def project(jira: FakeJira, ask: _Ask) -> TrackerReply:
    found = jira._project(ask.parts["projectIdOrKey"])
    if not jira.may(ask.who, found, "browse"):
        raise no(404, f"No project could be found with key '{found['key']}'.")
    here = {"id": str(found["id"]), "key": found["key"], "name": found["name"]}
    return TrackerReply(200, {**here, "projectTypeKey": found["projectTypeKey"], "self": f"{jira.url}{API}/project/1"})


@call("GET", "/user")
def user(jira: FakeJira, ask: _Ask) -> TrackerReply:
    _ = ask.person
    if jira.store.one("person", key=ask.query["accountId"]) is None:
        raise no(404, "Specified user does not exist or you do not have required permissions")
    return TrackerReply(200, jira._user(ask.query["accountId"]))


@call("GET", "/user/permission/search")
def permitted(jira: FakeJira, ask: _Ask) -> TrackerReply:
    found = jira._project(ask.query["projectKey"])
    if not jira.may(ask.person, found, "admin"):
        raise no(403, "The user does not have the necessary permission to access this resource.")
    if ask.query["permissions"] != "EDIT_ISSUES":
        raise no(400, "Unknown permission")
    who = jira.store.one("person", key=ask.query.get("accountId", ""))
    return TrackerReply(200, [jira._user(who["key"])] if who and who["active"] and jira.may(who, found, "edit") else [])


@call("GET", "/search/jql")
def search(jira: FakeJira, ask: _Ask) -> TrackerReply:
    terms, _, order = ask.query["jql"].partition(" ORDER BY ")
    asked: dict[str, str] = {}
    for term in terms.split(" AND "):
        name = next((name for pattern, name in _TERMS.items() if re.fullmatch(pattern, term)), None)
        if name is None or order != "updated ASC":
            raise no(400, f"Error in the JQL Query: {term}")
        value = next(re.fullmatch(pattern, term) for pattern in _TERMS if re.fullmatch(pattern, term))
        asked[name] = value[1] if value and value.groups() else ""
    if not {"project", "since"} & asked.keys():
        raise no(400, "Unbounded JQL queries are not allowed here. Please add a search restriction to your query.")
    where = jira.store.one("project", key=asked["project"])
    if where is None or not jira.may(ask.who, where, "browse"):
        return TrackerReply(200, {"issues": [], "isLast": True})  # also to nobody: an anonymous search finds nothing
    late = jira.stamp(jira.now() - timedelta(seconds=jira.late_s))
    found = [one for one in jira.store.find("issue", project=where["id"]) if _is_found(jira, one, asked, late)]
    found.sort(key=lambda one: (one["updated"], one["id"]))
    start, count = int(ask.query.get("nextPageToken", 0)), min(int(ask.query.get("maxResults", 50)), 100)
    shown = [jira.shown(one, ask.query.get("fields", "id")) for one in found[start : start + count]]
    is_last = start + count >= len(found)
    return TrackerReply(
        200, {"issues": shown, "isLast": is_last, **({} if is_last else {"nextPageToken": str(start + count)})}
    )


def _is_found(jira: FakeJira, issue: Doc, asked: dict[str, str], late: str) -> bool:
    if issue["updated"] > late:
        return False
    since = jira.stamp(datetime.fromtimestamp(int(asked.get("since", 0)) / 1000, jira.now().tzinfo))
    checks: dict[str, Callable[[str], bool]] = {
        "since": lambda _: issue["updated"] >= since,
        "label": lambda value: value in issue["labels"],
        "assignee": lambda value: value == issue["assignee"],
        "component": lambda value: value in issue["components"],
        "open": lambda _: STATES[issue["status"]][1] != "done",
        "word": lambda value: any(
            value in _words(one["body"]) for one in jira.store.find("comment", number=issue["id"])
        ),
    }
    return all(checks[name](value) for name, value in asked.items() if name != "project")


@call("POST", "/issue")
def create(jira: FakeJira, ask: _Ask) -> TrackerReply:
    fields = ask.body["fields"]
    where = jira._project(fields["project"]["key"])
    if not jira.may(ask.person, where, "edit"):
        raise no(400, project="You do not have permission to create issues in this project.")
    if fields.get("description") is not None:
        _document(fields["description"], "description")
    made = jira._new(where, ask.person["key"], fields)
    return TrackerReply(201, {"id": str(made["id"]), "key": made["key"], "self": f"{jira.url}{API}/issue/{made['id']}"})


@call("GET", "/issue/{issueIdOrKey}")
def issue(jira: FakeJira, ask: _Ask) -> TrackerReply:
    return TrackerReply(200, jira.shown(jira._issue(ask)[0], ask.query.get("fields", "")))


@call("PUT", "/issue/{issueIdOrKey}")
def edit(jira: FakeJira, ask: _Ask) -> TrackerReply:
    found, _ = jira._issue(ask, "edit")
    new = dict(ask.body.get("fields", {}))
    if new.get("description") is not None:
        _document(new["description"], "description")
    if "assignee" in new:
        new["assignee"] = (new["assignee"] or {}).get("accountId")
    if "components" in new:
        new["components"] = [one["name"] for one in new["components"]]
    labels: set[str] = set(new.get("labels") or (found["labels"] if "labels" not in new else ()))
    for one in ask.body.get("update", {}).get("labels", []):
        labels = labels | {one["add"]} if "add" in one else labels - {one["remove"]}
    if any(" " in label for label in labels):
        raise no(400, labels="The label contains spaces which is invalid.")
    jira.change(found, ask.person["key"], {**new, "labels": sorted(labels)})
    return TrackerReply(204, None)


@call("DELETE", "/issue/{issueIdOrKey}")
def delete(jira: FakeJira, ask: _Ask) -> TrackerReply:
    jira.store.remove(jira._issue(ask, "admin")[0])
    return TrackerReply(204, None)


@call("POST", "/issue/{issueIdOrKey}/transitions")
def transition(jira: FakeJira, ask: _Ask) -> TrackerReply:
    found, _ = jira._issue(ask, "edit")
    jira.change(found, ask.person["key"], {"status": ask.body["transition"]["id"]})
    return TrackerReply(204, None)


@call("GET", "/issue/{issueIdOrKey}/changelog")
def changelog(jira: FakeJira, ask: _Ask) -> TrackerReply:
    found, _ = jira._issue(ask)
    late = jira.stamp(jira.now() - timedelta(seconds=jira.late_s))
    entries = [
        {
            "id": str(one["id"]),
            "author": jira._user(one["by"]),
            "created": one["created"],
            "items": one["items"],
        }
        for one in jira.store.find("entry", number=found["id"])
        if one["created"] <= late
    ]
    page = _page(entries, ask.query, "values", 100)
    is_last = page["startAt"] + len(page["values"]) >= page["total"]
    return TrackerReply(200, {**page, "isLast": is_last, "self": f"{jira.url}{API}/issue/{found['id']}/changelog"})


@call("GET", "/issue/{issueIdOrKey}/comment")
def comments(jira: FakeJira, ask: _Ask) -> TrackerReply:
    found, _ = jira._issue(ask)
    shown = [jira.comment_shown(one) for one in jira.store.find("comment", number=found["id"])]
    if ask.query.get("orderBy") == "-created":
        shown.reverse()
    return TrackerReply(200, _page(shown, ask.query, "comments", 100))


@call("POST", "/issue/{issueIdOrKey}/comment")
def say(jira: FakeJira, ask: _Ask) -> TrackerReply:
    found, _ = jira._issue(ask)
    now = jira.stamp()
    body = _document(ask.body["body"], "comment")
    made = jira.store.add("comment", number=found["id"], by=ask.person["key"], body=body, created=now, updated=now)
    jira.store.save({**found, "updated": now})
    return TrackerReply(201, jira.comment_shown(made))


@call("PUT", "/issue/{issueIdOrKey}/comment/{id}")
def say_anew(jira: FakeJira, ask: _Ask) -> TrackerReply:
    found, where = jira._issue(ask)
    one = jira.store.get("comment", int(ask.parts["id"]))
    if one is None or one["number"] != found["id"]:
        raise no(404, "Can not find a comment for the id: " + ask.parts["id"])
    if one["by"] != ask.person["key"] and not jira.may(ask.who, where, "admin"):
        raise no(400, "You do not have the permission to edit this comment.")
    now = jira.stamp()
    jira.store.save({**one, "body": _document(ask.body["body"], "comment"), "updated": now})
    jira.store.save({**found, "updated": now})
    return TrackerReply(200, jira.comment_shown(jira.store.get("comment", one["id"]) or {}))


OPERATIONS = [Operation(method, template) for method, template, _ in _CALLS]
"""As the description names them."""
