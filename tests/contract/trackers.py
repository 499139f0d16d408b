"""Trackers on loopback, each with a project and people who work there by its own API. `ann` and `bob` are named in the
intake; `carl` may read and comment, `eve` may edit as they do and is not named."""

import json
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from pydantic import SecretStr

from blocks.trackers.jira import Jira
from blocks.trackers.linear import Linear
from domain.adf import document_of, markdown_of
from kits.fake_trackers import FakeJira, FakeLinear
from kits.fake_trackers.description import SchemaWatch

PEOPLE = ("ann", "bob", "carl", "eve", "robot")


class TrackerWorld(ABC):
    """`host` is the platform's, as `robot`; every other verb is a person's."""

    KIND: ClassVar[str]
    fake: Any
    host: Any

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}

    def token_of(self, who: str) -> str:
        return self._tokens.setdefault(who, self.fake.token(who))

    def later(self, seconds: float) -> None:
        """Time goes by at the tracker."""
        self.fake.skew_s += seconds

    @abstractmethod
    def open_ticket(self, by: str, title: str, body: str, **more: Any) -> int: ...

    @abstractmethod
    def edit(self, number: int, by: str, **fields: Any) -> None: ...

    @abstractmethod
    def label(self, number: int, by: str, *names: str, off: bool = False) -> None: ...

    @abstractmethod
    def assign(self, number: int, by: str, who: str | None) -> None: ...

    @abstractmethod
    def close(self, number: int, by: str, *, again: bool = False) -> None: ...

    @abstractmethod
    def say(self, number: int, by: str, text: str) -> Any: ...

    @abstractmethod
    def say_anew(self, number: int, by: str, said: Any, text: str) -> None: ...

    def id_of(self, who: str) -> str:
        return who

    def problems(self) -> list[str]:
        """What it answered that its description does not know."""
        return []

    EDITOR: ClassVar[str]
    """Who may edit others' comments."""
    NO_PEOPLE: ClassVar[tuple[str, ...]]
    """Kinds of accounts that are no people of the team."""

    @abstractmethod
    def no_person(self, kind: str) -> str: ...

    @abstractmethod
    def switch_off(self, who: str, *, off: bool) -> None: ...

    @abstractmethod
    def made_with(self, how: str) -> dict[str, Any]:
        """What a ticket that is opened needs to have the label, or us as its assignee, from the start."""

    @abstractmethod
    def of_ticket(self, number: int, after: int) -> list[str]:
        """What was asked of it since so many calls."""

    @abstractmethod
    def fault_at_comment(self, kind: str) -> None: ...

    def history_late(self, seconds: float) -> None:
        """What was done is told so much later."""
        self.fake.late_s = seconds

    @abstractmethod
    def active_parts(self, number: int) -> list[str]:
        """What in our comment does anything when a page shows it."""

    @abstractmethod
    def delete(self, number: int) -> None: ...

    @abstractmethod
    def move(self, number: int, *, back: bool = False) -> None:
        """To another project, or from there."""

    @abstractmethod
    def put_into(self, part: str, number: int, by: str) -> None: ...

    @abstractmethod
    def short_pages(self, monkeypatch: pytest.MonkeyPatch) -> None: ...

    @abstractmethod
    def breaks_the_list(self, monkeypatch: pytest.MonkeyPatch) -> None: ...

    @abstractmethod
    def faults(self) -> list[dict[str, Any]]: ...

    @abstractmethod
    def host_at(self, url: str) -> Any: ...

    @abstractmethod
    def parts(self) -> tuple[str, str]: ...

    @abstractmethod
    def in_parts(self, *names: str) -> dict[str, Any]: ...

    @abstractmethod
    def said(self, number: int) -> list[tuple[str, str]]:
        """(who, text) of each comment."""


class AtJira(TrackerWorld):
    KIND = "jira"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.fake = FakeJira(folder / "jira").__enter__()
        self.watch = SchemaWatch(self.fake)
        self.fake.project("SHOP", components=("backend", "web"))
        for who in PEOPLE:
            self.fake.person(who)
        for who, role in (("ann", "edit"), ("bob", "edit"), ("carl", "browse"), ("eve", "edit"), ("robot", "admin")):
            self.fake.role("SHOP", who, role)
        self.host = Jira(url=self.fake.url, email="robot@acme.test", token=SecretStr(self.token_of("robot")))

    def as_(self, who: str, method: str, path: str, body: Any = None) -> Any:
        sign = (f"{who}@acme.test", self.token_of(who))
        answer = httpx.request(method, f"{self.fake.url}/rest/api/3{path}", json=body, auth=sign, timeout=30)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def open_ticket(self, by: str, title: str, body: str, **more: Any) -> int:
        fields = {"project": {"key": "SHOP"}, "summary": title, "description": written(body), **more}
        return int(self.as_(by, "POST", "/issue", {"fields": fields})["id"])

    def edit(self, number: int, by: str, **fields: Any) -> None:
        names = {"title": "summary", "body": "description"}
        new = {names.get(name, name): written(one) if name == "body" else one for name, one in fields.items()}
        self.as_(by, "PUT", f"/issue/{number}", {"fields": new})

    def label(self, number: int, by: str, *names: str, off: bool = False) -> None:
        changes = [{"remove" if off else "add": name} for name in names or ("lockgate",)]
        self.as_(by, "PUT", f"/issue/{number}", {"update": {"labels": changes}})

    def assign(self, number: int, by: str, who: str | None) -> None:
        self.as_(by, "PUT", f"/issue/{number}", {"fields": {"assignee": {"accountId": who} if who else None}})

    def close(self, number: int, by: str, *, again: bool = False) -> None:
        self.as_(by, "POST", f"/issue/{number}/transitions", {"transition": {"id": "11" if again else "31"}})

    def say(self, number: int, by: str, text: str) -> Any:
        return self.as_(by, "POST", f"/issue/{number}/comment", {"body": written(text)})["id"]

    def say_anew(self, number: int, by: str, said: Any, text: str) -> None:
        self.as_(by, "PUT", f"/issue/{number}/comment/{said}", {"body": written(text)})

    def said(self, number: int) -> list[tuple[str, str]]:
        found = self.as_("robot", "GET", f"/issue/{number}/comment")["comments"]
        return [(one["author"]["accountId"], markdown_of(one["body"])) for one in found]

    EDITOR = "robot"
    NO_PEOPLE = ("app", "customer")

    def problems(self) -> list[str]:
        """The person's own calls are held to it, too; a refusal may be of any shape."""
        return [one for one in self.watch.problems if "→ 4" not in one]

    def no_person(self, kind: str) -> str:
        self.fake.person(kind, kind=kind)
        self.fake.role("SHOP", kind, "edit")
        return kind

    def switch_off(self, who: str, *, off: bool) -> None:
        self.fake.person(who, active=not off)

    def made_with(self, how: str) -> dict[str, Any]:
        return {"labels": ["lockgate", "x"]} if how == "labels" else {"assignee": {"accountId": "robot"}}

    def of_ticket(self, number: int, after: int) -> list[str]:
        return [path for _, path, _ in self.fake.calls[after:] if f"/issue/{number}" in path]

    def fault_at_comment(self, kind: str) -> None:
        self.fake.fault(kind, method="POST", path="/comment$")

    def active_parts(self, number: int) -> list[str]:
        found = self.as_("robot", "GET", f"/issue/{number}/comment")["comments"]
        kinds = re.findall(r'"type": "(\w+)"', json.dumps([one["body"] for one in found]))
        harmless = {"doc", "paragraph", "text", "code", "codeBlock", "strong", "expand", "bulletList", "listItem"}
        return [kind for kind in kinds if kind not in harmless]

    def delete(self, number: int) -> None:
        self.as_("robot", "DELETE", f"/issue/{number}")

    def move(self, number: int, *, back: bool = False) -> None:
        if self.fake.store.one("project", key="OTHER") is None:
            self.fake.project("OTHER")
            self.fake.role("OTHER", "robot", "admin")
        key = "SHOP" if back else "OTHER"
        where = self.fake.store.one("project", key=key)["id"]
        issue = self.fake.store.get("issue", number)
        self.fake.change(issue, "eve", {"project": where, "key": f"{key}-{number}"})

    def put_into(self, part: str, number: int, by: str) -> None:
        self.as_(by, "PUT", f"/issue/{number}", {"fields": {"components": [{"name": part}]}})

    def short_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("blocks.trackers.jira.PER_PAGE", 2)

    def breaks_the_list(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second page is the first one again, and so on."""
        ask = Jira._get

        def breaks(self: Any, path: str, **params: Any) -> Any:
            answer = ask(self, path, **{name: one for name, one in params.items() if name != "nextPageToken"})
            if path == "/search/jql" and not answer.body["isLast"]:
                answer.body["nextPageToken"] = "2"
            return answer

        monkeypatch.setattr(Jira, "_get", breaks)

    def faults(self) -> list[dict[str, Any]]:
        paths = ("/search/jql", "/changelog$", "/user$", "/myself$", r"/issue/\d+$", "/comment$", "/project/")
        kinds = [{"kind": "status", "path": path, "times": 0} for path in paths]
        return [*kinds, {"kind": "half_answer", "path": "/changelog$", "times": 0}]

    def host_at(self, url: str) -> Jira:
        return Jira(url=url, token=SecretStr("secret"))

    def parts(self) -> tuple[str, str]:
        return "backend", "web"

    def in_parts(self, *names: str) -> dict[str, Any]:
        return {"components": [{"name": name} for name in names]}


def written(text: str) -> Any:
    """As Jira's editor makes it of what a person types: headings are headings."""
    document = document_of(text)
    for node in document["content"]:
        first = (node.get("content") or [{}])[0].get("text", "")
        if node["type"] == "paragraph" and first.startswith("### "):
            node |= {"type": "heading", "attrs": {"level": 3}}
            node["content"] = [{"type": "text", "text": first.removeprefix("### ")}]
    return document


class AtLinear(TrackerWorld):
    KIND = "linear"
    EDITOR = "ann"
    NO_PEOPLE = ("app", "guest", "outside", "off")

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.fake = FakeLinear(folder / "linear").__enter__()
        self.fake.team("SHOP")
        self.fake.team("OTHER")
        for who in PEOPLE:
            self.fake.person(who, guest=who == "carl", app=who == "robot")
            self.fake.member("SHOP", who)
        self.host = Linear(url=self.fake.url, token=SecretStr(self.token_of("robot")))

    def id_of(self, who: str) -> str:
        return str(self.fake.store.one("person", key=who)["uuid"])

    def open_ticket(self, by: str, title: str, body: str, **more: Any) -> int:
        return int(self.fake.ticket("SHOP", by, title, body, **more))

    def edit(self, number: int, by: str, **fields: Any) -> None:
        self.fake.change("SHOP", number, by, **fields)

    def label(self, number: int, by: str, *names: str, off: bool = False) -> None:
        now = set(self.fake.issue("SHOP", number)["labels"])
        new = now - set(names or ("lockgate",)) if off else now | set(names or ("lockgate",))
        self.fake.change("SHOP", number, by, labels=sorted(new))

    def assign(self, number: int, by: str, who: str | None) -> None:
        self.fake.change("SHOP", number, by, assignee=who)

    def close(self, number: int, by: str, *, again: bool = False) -> None:
        self.fake.change("SHOP", number, by, state="unstarted" if again else "canceled")

    def say(self, number: int, by: str, text: str) -> Any:
        return self.fake.say("SHOP", number, by, text)

    def say_anew(self, number: int, by: str, said: Any, text: str) -> None:
        self.fake.say_anew(said, text)

    def said(self, number: int) -> list[tuple[str, str]]:
        issue = self.fake.issue("SHOP", number)["uuid"]
        return [(one["by"], one["body"]) for one in self.fake.store.find("comment", issue=issue)]

    def no_person(self, kind: str) -> str:
        self.fake.person(kind, app=kind == "app", guest=kind == "guest", active=kind != "off")
        if kind != "outside":
            self.fake.member("SHOP", kind)
        return kind

    def switch_off(self, who: str, *, off: bool) -> None:
        self.fake.person(who, active=not off)

    def made_with(self, how: str) -> dict[str, Any]:
        return {"labels": ["lockgate", "x"]} if how == "labels" else {"assignee": "robot"}

    def fault_at_comment(self, kind: str) -> None:
        self.fake.fault(kind, path="commentCreate")

    def of_ticket(self, number: int, after: int) -> list[str]:
        return [one for one in self.fake.asked[after:] if f'"eq": {number}}}' in one]

    def active_parts(self, number: int) -> list[str]:
        ours = next(text for who, text in self.said(number) if who == "robot")
        bare = re.sub(r"^(`{3,}).*?^\1$", "", ours, flags=re.DOTALL | re.MULTILINE)
        bare = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", bare)
        return [one for one in ("@", "](", "<", "closes", "evil.test") if one in bare]

    def delete(self, number: int) -> None:
        self.fake.change("SHOP", number, "ann", trashed=True)

    def move(self, number: int, *, back: bool = False) -> None:
        here, there = ("OTHER", "SHOP") if back else ("SHOP", "OTHER")
        self.fake.change(here, number, "eve", team=there)

    def put_into(self, part: str, number: int, by: str) -> None:
        self.label(number, by, part.lower())

    def short_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("blocks.trackers.linear.PER_PAGE", 2)

    def breaks_the_list(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second page is the first one again, and so on."""
        asked = Linear._asked

        def breaks(host: Any, question: str, **values: Any) -> Any:
            return asked(host, question, **{**values, **({"after": None} if "after" in values else {})})

        monkeypatch.setattr(Linear, "_asked", breaks)

    def faults(self) -> list[dict[str, Any]]:
        return [{"kind": "status", "times": 0}, {"kind": "half_answer", "times": 0}, {"kind": "cut_before", "times": 0}]

    def host_at(self, url: str) -> Linear:
        return Linear(url=url, token=SecretStr("secret"))

    def parts(self) -> tuple[str, str]:
        return "Backend", "web"

    def in_parts(self, *names: str) -> dict[str, Any]:
        return {"labels": [name.lower() for name in names]}


WORLDS: dict[str, Any] = {"jira": AtJira, "linear": AtLinear}
