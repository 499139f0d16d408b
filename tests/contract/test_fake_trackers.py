"""The fake trackers behave as docs/fake-trackers.md says, and as their own descriptions say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import parse, validate

from blocks.trackers.linear import COMMENTS, HISTORY, ME, MEMBER, QUESTIONS, SAY, SAY_ANEW, TICKETS
from domain.adf import document_of
from kits.fake_trackers import FakeJira, FakeLinear
from kits.fake_trackers.description import SchemaWatch
from kits.fake_trackers.linear import schema


class Desk:
    """Calls by people of a project."""

    def __init__(self, fake: FakeJira) -> None:
        self.fake = fake
        self.tokens = {name: fake.token(name) for name in ("ann", "carl", "root")}

    def __call__(self, who: str, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        sign = (f"{who}@x.test", self.tokens.get(who, "none"))
        return httpx.request(method, f"{self.fake.url}/rest/api/3{path}", json=body, params=query, auth=sign)

    def made(self, **fields: Any) -> str:
        given = {"project": {"key": "SHOP"}, "summary": "a", **fields}
        return str(self("ann", "POST", "/issue", {"fields": given}).json()["id"])


@pytest.fixture
def jira(tmp_path: Path) -> Iterator[Desk]:
    with FakeJira(tmp_path) as fake:
        watch = SchemaWatch(fake)
        fake.project("SHOP")
        for name, role in (("ann", "edit"), ("carl", "browse"), ("root", "admin")):
            fake.role("SHOP", name, role)
        yield Desk(fake)
        assert [one for one in watch.problems if "→ 4" not in one] == []


def test_a_changelog_tells_labels_as_words_and_not_what_a_ticket_was_made_with(jira: Desk) -> None:
    number = jira.made(labels=["old"])
    jira("ann", "PUT", f"/issue/{number}", {"update": {"labels": [{"add": "new"}]}, "fields": {"summary": "b"}})
    found = jira("carl", "GET", f"/issue/{number}/changelog").json()
    (entry,) = found["values"]
    items = {one["fieldId"]: (one["fromString"], one["toString"]) for one in entry["items"]}
    assert items == {"labels": ("old", "new old"), "summary": ("a", "b")}
    assert (entry["author"]["accountId"], found["total"], found["isLast"]) == ("ann", 1, True)
    assert jira("ann", "PUT", f"/issue/{number}", {"fields": {"labels": ["a b"]}}).status_code == 400


def test_a_search_is_bounded_paged_by_a_token_and_finds_nothing_for_nobody(jira: Desk) -> None:
    for _ in range(3):
        jira.made(labels=["x"])
    query = 'project = "SHOP" AND updated >= 0 AND labels = "x" ORDER BY updated ASC'
    first = jira("carl", "GET", "/search/jql", jql=query, maxResults=2, fields="summary").json()
    assert (len(first["issues"]), first["isLast"]) == (2, False)
    rest = jira("carl", "GET", "/search/jql", jql=query, maxResults=2, nextPageToken=first["nextPageToken"]).json()
    assert (len(rest["issues"]), rest["isLast"]) == (1, True)
    assert jira("nobody", "GET", "/search/jql", jql=query).json()["issues"] == []
    assert jira("ann", "GET", "/search/jql", jql='labels = "x" ORDER BY updated ASC').status_code == 400
    soon = int(jira.fake.now().timestamp() * 1000) + 60_000
    later = query.replace(">= 0", f">= {soon}")
    assert jira("ann", "GET", "/search/jql", jql=later).json()["issues"] == []


def test_what_others_may_do_is_told_to_administrators_of_the_project_alone(jira: Desk) -> None:
    query = {"permissions": "EDIT_ISSUES", "projectKey": "SHOP"}
    for who, expected in (("ann", ["ann"]), ("carl", []), ("nobody", [])):
        found = jira("root", "GET", "/user/permission/search", **query, accountId=who).json()
        assert [one["accountId"] for one in found] == expected
    assert jira("ann", "GET", "/user/permission/search", **query, accountId="ann").status_code == 403
    jira.fake.person("ann", active=False)
    assert jira("root", "GET", "/user/permission/search", **query, accountId="ann").json() == []


def test_who_may_not_see_a_ticket_gets_404_and_a_token_that_ran_out_401(jira: Desk) -> None:
    number = jira.made()
    assert jira("nobody", "GET", f"/issue/{number}").status_code == 404
    assert jira("carl", "PUT", f"/issue/{number}", {"fields": {"summary": "b"}}).status_code == 403
    jira.fake.expire(jira.tokens["ann"])
    assert jira("ann", "GET", "/myself").status_code == 401


def test_a_text_is_a_document_and_has_an_end(jira: Desk) -> None:
    number = jira.made()
    assert jira("carl", "POST", f"/issue/{number}/comment", {"body": "plain"}).status_code == 400
    long = jira("carl", "POST", f"/issue/{number}/comment", {"body": document_of("x" * 40_000)})
    assert (long.status_code, long.json()["errors"]) == (400, {"comment": "CONTENT_LIMIT_EXCEEDED"})


def test_a_comment_says_when_it_was_edited_and_changes_its_ticket(jira: Desk) -> None:
    number = jira.made()
    before = jira("ann", "GET", f"/issue/{number}").json()["fields"]["updated"]
    said = jira("carl", "POST", f"/issue/{number}/comment", {"body": document_of("hello")}).json()
    assert said["created"] == said["updated"] > before
    where = f"/issue/{number}/comment/{said['id']}"
    assert jira("ann", "PUT", where, {"body": document_of("no")}).status_code == 400, "it is carl's"
    again = jira("carl", "PUT", where, {"body": document_of("bye")}).json()
    assert again["updated"] > again["created"] == said["created"]
    assert jira("ann", "GET", f"/issue/{number}/comment", orderBy="-created").json()["total"] == 1


def test_a_limit_says_when_to_come_back(jira: Desk) -> None:
    jira.fake.fault("secondary_limit", seconds=7)
    answer = jira("ann", "GET", "/myself")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert jira("ann", "GET", "/myself").status_code == 200


def test_what_was_done_is_there_after_a_kill(tmp_path: Path) -> None:
    with FakeJira(tmp_path / "x") as fake:
        fake.project("SHOP")
        fake.backlog("SHOP", "ann", 2)
    with FakeJira(tmp_path / "x") as again:
        assert len(again.store.find("issue")) == 2


# ── Linear ──


class Board:
    """Questions by members of a workspace."""

    def __init__(self, fake: FakeLinear) -> None:
        self.fake, self.tokens = fake, {name: fake.token(name) for name in ("ann", "gus")}

    def __call__(self, who: str, question: str, **values: Any) -> httpx.Response:
        headers = {"Authorization": self.tokens.get(who, "none")}
        asked = {"query": question, "variables": values}
        return httpx.post(f"{self.fake.url}/graphql", json=asked, headers=headers)


@pytest.fixture
def linear(tmp_path: Path) -> Iterator[Board]:
    with FakeLinear(tmp_path) as fake:
        fake.team("SHOP")
        for name in ("ann", "gus"):
            fake.person(name, guest=name == "gus")
            fake.member("SHOP", name)
        yield Board(fake)


def team(board: Board) -> dict[str, Any]:
    return {"team": {"id": {"eq": board.fake.store.one("team")["uuid"]}}}  # type: ignore[index]


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_asked_is_in_linears_own_schema(question: str) -> None:
    assert validate(schema(), parse(question)) == []


def test_a_question_that_the_schema_does_not_know_is_400(linear: Board) -> None:
    assert linear("ann", "query { viewer { shoeSize } }").status_code == 400
    assert linear("ann", ME).json()["data"]["viewer"]["id"] == linear.fake.store.one("person", key="ann")["uuid"]  # type: ignore[index]


def test_who_does_not_sign_in_gets_a_code_and_a_limit_has_one_too(linear: Board) -> None:
    answer = linear("nobody", ME)
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (401, "AUTHENTICATION_ERROR")
    linear.fake.fault("secondary_limit", seconds=9)
    answer = linear("ann", ME)
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (400, "RATELIMITED")
    assert int(answer.headers["x-ratelimit-requests-reset"]) > linear.fake.now().timestamp() * 1000


def test_a_history_has_what_one_person_does_in_a_row_in_one_entry(linear: Board) -> None:
    number = linear.fake.ticket("SHOP", "ann", "a", labels=["old"])
    linear.fake.change("SHOP", number, "ann", labels=["old", "new"])
    linear.fake.change("SHOP", number, "gus", title="b")
    linear.fake.change("SHOP", number, "ann", body="text")
    asked = {**team(linear), "number": {"eq": number}}
    (ticket,) = linear("ann", HISTORY, filter=asked, first=10).json()["data"]["issues"]["nodes"]
    by_gus, by_ann = ticket["history"]["nodes"]
    assert by_ann["addedLabels"] == [{"name": "new"}] and by_ann["updatedDescription"] is True
    assert by_ann["createdAt"] < by_gus["createdAt"] < by_ann["updatedAt"], "the label 'old' is in none"
    assert (by_gus["fromTitle"], by_gus["toTitle"]) == ("a", "b")


def test_lists_are_paged_by_a_cursor_the_newest_first(linear: Board) -> None:
    for n in range(3):
        linear.fake.ticket("SHOP", "ann", f"t{n}")
    first = linear("ann", TICKETS, filter=team(linear), first=2).json()["data"]["issues"]
    assert [one["title"] for one in first["nodes"]] == ["t2", "t1"] and first["pageInfo"]["hasNextPage"]
    after = first["pageInfo"]["endCursor"]
    rest = linear("ann", TICKETS, filter=team(linear), first=2, after=after).json()["data"]["issues"]
    assert [one["title"] for one in rest["nodes"]] == ["t0"] and not rest["pageInfo"]["hasNextPage"]


def test_a_member_may_be_a_guest_and_who_is_none_is_not_in_the_list(linear: Board) -> None:
    identity = linear.fake.store.one("team")["uuid"]  # type: ignore[index]
    gus = linear.fake.store.one("person", key="gus")["uuid"]  # type: ignore[index]
    (found,) = linear("ann", MEMBER, team=identity, user=gus).json()["data"]["team"]["members"]["nodes"]
    assert (found["guest"], found["app"], found["active"]) == (True, False, True)
    other = linear.fake.person("bob")
    assert linear("ann", MEMBER, team=identity, user=other).json()["data"]["team"]["members"]["nodes"] == []


def test_a_comment_is_edited_by_its_author_and_says_when(linear: Board) -> None:
    number = linear.fake.ticket("SHOP", "ann", "a")
    issue = linear.fake.issue("SHOP", number)["uuid"]
    assert linear("ann", SAY, issue=issue, body="hello").json()["data"]["commentCreate"]["success"] is True
    asked = {"issue": {"id": {"eq": issue}}, "user": {"isMe": {"eq": True}}}
    (said,) = linear("ann", COMMENTS, filter=asked, first=5).json()["data"]["comments"]["nodes"]
    assert (said["body"], said["editedAt"]) == ("hello", None)
    assert linear("gus", SAY_ANEW, id=said["id"], body="no").status_code == 400
    assert linear("ann", SAY_ANEW, id=said["id"], body="bye").status_code == 200
    (said,) = linear("ann", COMMENTS, filter=asked, first=5).json()["data"]["comments"]["nodes"]
    assert said["editedAt"] > said["createdAt"]
    assert linear("gus", COMMENTS, filter=asked, first=5).json()["data"]["comments"]["nodes"] == []
