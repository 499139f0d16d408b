"""The front door: each role on each route that Prefect's server has, default deny, and what is tried against it."""

import asyncio
import contextlib
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from blocks import kept
from blocks.ledger.ledger import Ledger
from blocks.ledger.reading import Reader
from domain.access import START as START_NOTE
from domain.access import Role, answer_digest, start_digest
from station import api, cancelling, credentials, holding
from station.door import connections, table
from tests.contract.door import (
    DEPLOYMENTS,
    ID,
    MARK,
    QUESTIONS,
    RUNNING,
    RUNS,
    SECRET,
    STARTED,
    FakeDoor,
    basic,
    served,
)

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
TASK, ROLLBACK = DEPLOYMENTS["agent-task/agent-task"], DEPLOYMENTS["rollback/rollback"]
START, BACK = f"/api/deployments/{TASK}/create_flow_run", f"/api/deployments/{ROLLBACK}/create_flow_run"
BRIEF = {"parameters": {"brief": {"title": "Add a double"}}}
RESUME = {kind: f"/api/flow_runs/{id_}/resume" for kind, (id_, _) in QUESTIONS.items()}
YES = {"decision": "approve", "mark": MARK, "comment": ""}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> FakeDoor:
    return FakeDoor(tmp_path_factory.mktemp("door"))


@pytest.fixture(autouse=True)
def _fresh(door: FakeDoor) -> None:
    door.asked.clear()
    door.now += 1000


@pytest.fixture(scope="module")
def routes() -> dict[tuple[str, str], Any]:
    """(method, template) → operation, from the server itself."""
    from prefect.server.api import server

    from station import in_short

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(server, "API_ROUTERS", server.API_ROUTERS)
        in_short.add()
        paths = server.create_app(ephemeral=False, ignore_cache=True).openapi()["paths"]
    return {(method.upper(), path): told for path, ways in paths.items() for method, told in ways.items()}


def filled(template: str) -> str:
    """A path for a template: ids are ids, names are names."""
    uuid = re.sub(r"\{(id|(?!resource_)\w+_id)\}", ID, template)
    return "/api" + re.sub(r"\{\w+\}", "some-name", uuid)


def fits(template: str, path: str) -> bool:
    """Whether a path is one of a template: `/flow_runs/{id}/input/filter` is one of an input that is called so."""
    uuid = re.sub(r"\{(id|(?!resource_)\w+_id)\}", ID, template)
    return re.fullmatch("/api" + re.sub(r"\{\w+\}", "[^/]+", uuid), path) is not None


def test_the_table_holds_nothing_that_the_server_does_not_have_and_all_that_it_has_but_a_few(
    routes: dict[tuple[str, str], Any],
) -> None:
    known = {(rule.method, rule.template) for rule in table.rules()}
    assert len(known) == len(table.rules()), "a route stands twice"
    assert known - set(routes) == set()
    opened = {tuple(each.split()) for each in table.OPEN}
    assert set(routes) - known == opened, "a new route of the server is nobody's until somebody decides whose it is"
    for rule in table.rules():
        takes = {
            each["name"] for each in routes[rule.method, rule.template].get("parameters", []) if each["in"] == "query"
        }
        assert rule.query <= takes, rule
        assert "include_secrets" not in rule.query or rule.roles == table.ADMINISTER


def test_each_role_may_do_on_each_route_what_the_table_says_and_nothing_else(
    tmp_path: Path, routes: dict[tuple[str, str], Any]
) -> None:
    """Written down once more by what matters, not read from the table: reading is for all, changing for one."""
    door = FakeDoor(tmp_path)
    door.remember()
    harmless = re.compile(r"/(filter|count|paginate|history|lateness|counts|count-\S+|next-runs|concurrency_status)$")
    private = re.compile(
        r"^/(block_|variables|automations|collections|concurrency_limits|v2|admin/s|task_workers|saved_searches/\{)"
    )
    templates = {path for _, path in routes}
    for template in sorted(templates):
        for method in METHODS:
            exists = any(way == method and fits(path, filled(template)) for way, path in routes)
            asks = method == "GET" or (method == "POST" and bool(harmless.search(template))) or "count-by" in template
            special = (method, template) in {
                ("POST", "/deployments/{id}/create_flow_run"), ("POST", "/flow_runs/{id}/resume"),
                ("POST", "/ui/schemas/validate"), ("POST", "/flow_runs/{id}/set_state"),
            }  # fmt: skip
            if special or f"{method} {template}" in table.OPEN:
                continue
            asks_people = re.match(r"/flow_runs/\{id\}/input", template)  # shown to who judges, and of one's own runs
            for role in Role:
                if asks_people and role in (Role.SUBMIT, Role.RELEASE):
                    continue
                door.asked.clear()
                status = door.ask(method, filled(template), role, None if method == "GET" else {}).status
                allowed = exists and (role is Role.ADMINISTER or (asks and not private.match(template)))
                told = f"{role} {method} {template}: {status}"
                if allowed and method == "DELETE":
                    allowed = status != 400  # a body where there is none
                assert (status == 200) == allowed, told
                assert bool(door.asked) == allowed, told
                assert status in (200, 400, 403, 404), told
            assert door.ask(method, filled(template)).status == 401


def test_who_may_start_what(door: FakeDoor) -> None:
    may = {
        "agent-task/agent-task": {Role.SUBMIT, Role.ADMINISTER},
        "intake/intake": {Role.SUBMIT, Role.ADMINISTER},
        "rollback/rollback": {Role.RELEASE, Role.ADMINISTER},
        "housekeeping/housekeeping": {Role.ADMINISTER},
    }
    for name, id_ in DEPLOYMENTS.items():
        for role in Role:
            door.asked.clear()
            done = door.ask("POST", f"/api/deployments/{id_}/create_flow_run", role, {"parameters": {}})
            assert (done.status in (200, 201)) == (role in may[name]), f"{role} {name}: {done}"
            assert len(door.changes()) == (role in may[name]), f"{role} {name}"


def test_a_run_is_started_by_a_body_that_the_door_made(door: FakeDoor) -> None:
    given = {
        **BRIEF, "idempotency_key": "k", "tags": ["lockgate"], "job_variables": {}, "labels": None, "name": "n",
        "state": {"type": "SCHEDULED", "message": "hm", "state_details": {"scheduled_time": "2030-01-01T00:00:00Z"}},
    }  # fmt: skip
    assert door.ask("POST", START, Role.SUBMIT, given).status == 201
    (sent,) = door.changes()
    assert json.loads(sent.content) == {
        **BRIEF, "name": "n", "idempotency_key": "submit-er/k", "labels": {"lockgate.started-by": "submit-er"},
        "enforce_parameter_schema": True,
        "state": {"type": "SCHEDULED", "message": "started by submit-er, who is signed in",
                  "state_details": {"scheduled_time": "2030-01-01T00:00:00Z"}},
    }  # fmt: skip
    assert sent.headers["authorization"] == basic("admin:of-all")[1]


def test_who_may_answer_what_and_the_name_is_the_tokens(door: FakeDoor) -> None:
    forms: dict[str, tuple[Role, str, dict[str, str]]] = {
        "review": (Role.REVIEW, "reviewer", YES),
        "questions": (Role.ANSWER, "answered_by", {"answers": "the first"}),
        "ready": (Role.RELEASE, "mended_by", {}),
        "window": (Role.RELEASE, "opened_by", {"why": "it burns"}),
        "forge": (Role.RELEASE, "looked_by", {}),
        "away": (Role.RELEASE, "looked_by", {}),
        "push": (Role.ANSWER, "looked_by", {"stop": "it is done otherwise"}),
    }
    for kind, (wanted, name_field, content) in forms.items():
        for role in Role:
            door.asked.clear()
            done = door.ask("POST", RESUME[kind], role, {"run_input": content})
            assert (done.status == 200) == (role in (wanted, Role.ADMINISTER)), f"{role} {kind}: {done}"
            answers = [json.loads(each.content)["run_input"] for each in door.changes()]
            assert answers == ([{**content, name_field: f"{role}-er"}] if done.status == 200 else [])
            for answer in answers:
                run_id, question = QUESTIONS[kind]
                assert door.tokens.signed(run_id, question, answer_digest(answer)) == (f"{role}-er", "token")
    assert door.ask("POST", RESUME["another"], Role.REVIEW, {"run_input": YES}).status == 403
    not_waiting = door.ask("POST", f"/api/flow_runs/{RUNNING}/resume", Role.REVIEW, {"run_input": YES})
    assert (not_waiting.status, not_waiting.told["status"]) == (200, "ABORT")


def entries(door: FakeDoor, kind: str) -> list[Any]:
    return [entry.body for entry in Reader(door.tokens.url).entries(kinds=(kind,))]


def test_who_starts_a_rollback_is_named_by_the_token_and_that_is_noted(door: FakeDoor) -> None:
    claimed = door.ask("POST", BACK, Role.RELEASE, {"parameters": {"environment": "shop", "by": "ann"}})
    assert (claimed.status, "signed in as release-er" in claimed.told["detail"]) == (403, True)
    assert door.ask("POST", BACK, Role.RELEASE, {"parameters": {"environment": "shop", "by": None}}).status == 201
    (sent,) = door.changes()
    assert json.loads(sent.content)["parameters"] == {"environment": "shop", "by": "release-er"}
    noted = ("release-er", "token")
    for said, signed in (({"environment": "shop"}, noted), ({"environment": "shop", "revision": "abc"}, None)):
        assert door.tokens.signed(STARTED, START_NOTE, start_digest("rollback", "release-er", said)) == signed
    assert door.tokens.signed(STARTED, START_NOTE, start_digest("rollback", "ann", {"environment": "shop"})) is None


def test_who_may_cancel_what_and_that_it_is_on_record_by_whom(tmp_path: Path) -> None:
    door = FakeDoor(tmp_path)
    may = {
        Role.SUBMIT: {"submit-er"},
        Role.RELEASE: {"submit-er", "release-er", "nobody"},
        Role.ADMINISTER: {"submit-er", "release-er", "nobody", "platform"},
    }
    body = {"state": {"type": "CANCELLING", "name": "Cancelling", "message": "not needed"}, "force": True}
    for role in Role:
        for name, run in RUNS.items():
            door.asked.clear()
            done = door.ask("POST", f"/api/flow_runs/{run}/set_state", role, body)
            allowed = name in may.get(role, ())
            ends = name == "over" and role in (Role.RELEASE, Role.ADMINISTER)
            assert done.status == (200 if allowed or ends else 403), f"{role} {name}: {done}"
            assert [json.loads(each.content) for each in door.changes()] == allowed * [
                {"state": {"type": "CANCELLING", "name": "Cancelling",
                           "message": f"cancelled by {role}-er, who is signed in: not needed"}, "force": False}
            ]  # fmt: skip
        other = door.ask(
            "POST", f"/api/flow_runs/{RUNS['submit-er']}/set_state", role, {"state": {"type": "COMPLETED"}}
        )
        assert other.status == (200 if role is Role.ADMINISTER else 403)
    assert entries(door, "cancelled")[0] == {
        "by": "submit-er", "why": "not needed", "signed_in": True, "way": "token"
    }  # fmt: skip
    assert len(entries(door, "cancelled")) == sum(map(len, may.values()))


def test_a_run_that_releases_is_not_stopped_half_way(tmp_path: Path) -> None:
    door = FakeDoor(tmp_path)
    Ledger(url=SecretStr(door.tokens.url)).lease("environment/shop", RUNS["nobody"], 60)
    for role in (Role.RELEASE, Role.ADMINISTER):
        body = {"state": {"type": "CANCELLED"}}
        done = door.ask("POST", f"/api/flow_runs/{RUNS['nobody']}/set_state", role, body)
        assert (done.status, "roll shop back" in done.told["detail"]) == (409, True)
    assert door.changes() == [] and entries(door, "cancelled") == []
    first, name = Ledger(url=SecretStr(door.tokens.url)), f"merge/{RUNS['submit-er']}"
    first.lease(name, RUNS["submit-er"], 60)
    done = door.ask("POST", f"/api/flow_runs/{RUNS['submit-er']}/set_state", Role.SUBMIT, body)
    assert (done.status, "merges right now" in done.told["detail"]) == (409, True)
    first.release(name, RUNS["submit-er"])
    second = Ledger(url=SecretStr(f"sqlite:///{tmp_path}/second.db"))
    second.lease("environment/there", RUNS["submit-er"], 60)
    door.ledgers["second"] = second.url.get_secret_value()
    done = door.ask("POST", f"/api/flow_runs/{RUNS['submit-er']}/set_state", Role.SUBMIT, body)
    assert (done.status, "roll there back" in done.told["detail"]) == (409, True), "in whatever ledger it has it"
    assert door.changes() == []


def test_a_run_that_begins_to_release_while_it_is_cancelled_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = FakeDoor(tmp_path)
    ledger, noted = Ledger(url=SecretStr(door.tokens.url)), cancelling.record

    def record(url: str, run_id: str, *what: Any) -> Any:
        ledger.lease("environment/shop", run_id, 60)
        return noted(url, run_id, *what)

    monkeypatch.setattr(cancelling, "record", record)
    place = f"/api/flow_runs/{RUNS['nobody']}/set_state"
    assert door.ask("POST", place, Role.RELEASE, {"state": {"type": "CANCELLED"}}).status == 409
    assert door.changes() == []


def test_the_workshop_of_a_run_without_a_brief_is_the_one_that_it_names() -> None:
    for parameters, name in (
        ({"environment": "x", "workshop_name": "second"}, "second"), ({"environment": "x"}, "default"),
        ({"brief": {"workshop": "third"}}, "third"), ({"brief": 1, "workshop_name": None}, "default"),
    ):  # fmt: skip
        assert api.workshop_of({"parameters": parameters}) == name


def test_who_may_hold_and_open_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    monkeypatch.setattr("station.api.workshops", list)
    monkeypatch.setattr("station.api.answers", lambda within_s: True)
    credentials.encryption_key()
    door = FakeDoor(tmp_path)
    shop = {"targets": {"shop": "process-target/shop"}, "ledger": {"url": door.tokens.url}}
    kept.keep({"lockgate-workshop/default": shop, "lockgate-workshop/team": shop})
    place = "/door/environments/shop"
    for role in Role:
        held = door.ask("POST", f"{place}/hold", role, {"reason": f"it burns, says {role}"}).status
        seen = door.ask("GET", place, role).told["held"]
        opened = door.ask("POST", f"{place}/open", role, {"reason": "mended"}).status
        if role in (Role.RELEASE, Role.ADMINISTER):
            told = f"'shop' is held by {role}-er (signed in): it burns, says {role}"
            assert (held, seen, opened) == (200, told, 200)
        else:
            assert (held, seen, opened) == (403, None, 403), role
    mended = {"environment": "shop", "reason": "mended", "signed_in": True, "way": "token"}
    assert entries(door, "opened") == [{**mended, "by": "release-er"}, {**mended, "by": "administer-er"}]
    assert len(entries(door, "held")) == 2, "once in each ledger, however many workshops have it"
    for method, path, body, status in (
        ("POST", f"{place}/hold", {"reason": ""}, 400), ("POST", f"{place}/hold", {"reason": "x", "by": "ann"}, 403),
        ("POST", f"{place}/close", {"reason": "x"}, 404), ("DELETE", place, None, 404),
        ("POST", "/door/environments/nowhere/hold", {"reason": "x"}, 404), ("POST", place, {"reason": "x"}, 404),
    ):  # fmt: skip
        assert door.ask(method, path, Role.RELEASE, body).status == status, path
    assert door.ask("GET", place).status == 401


def test_an_environment_that_is_held_in_one_of_two_ledgers_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    credentials.encryption_key()
    door = FakeDoor(tmp_path)
    (tmp_path / "no-file.db").mkdir()
    shops = {"one": door.tokens.url, "two": f"sqlite:///{tmp_path}/no-file.db"}
    kept.keep(
        {f"lockgate-workshop/{name}": {"targets": {"shop": "x"}, "ledger": {"url": url}} for name, url in shops.items()}
    )
    told = door.ask("POST", "/door/environments/shop/hold", Role.RELEASE, {"reason": "it burns"})
    assert (told.status, "held in 1 of 2 ledgers" in told.told["detail"]) == (503, True), told
    assert len(entries(door, "held")) == 1


def test_who_waits_for_a_server_that_hangs_keeps_nobody_else_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, hangs = FakeDoor(tmp_path), threading.Event()
    monkeypatch.setattr("station.holding.held", lambda name: hangs.wait(60))
    monkeypatch.setattr("station.holding.hold", lambda name, why, by, signed_in, way: f"{name} is held")

    async def asked() -> None:
        waiting = [
            asyncio.create_task(door.coming("GET", f"/door/environments/nowhere{number}", Role.SUBMIT))
            for number in range(50)
        ]
        try:
            async with asyncio.timeout(30):
                assert (await door.coming("GET", "/door/me", Role.REVIEW)).status == 200
                hold = await door.coming("POST", "/door/environments/shop/hold", Role.RELEASE, {"reason": "it burns"})
                assert hold.told == {"message": "shop is held"}
        finally:
            hangs.set()
            await asyncio.gather(*waiting)

    asyncio.run(asked())


def test_an_unknown_environment_is_refused_at_once_while_the_server_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    credentials.encryption_key()
    kept.keep({"lockgate-workshop/default": {"targets": {"shop": "x"}, "ledger": {"url": "sqlite://"}}})
    asked: list[tuple[str, float]] = []

    def away(method: str, path: str, body: Any, within_s: float = api.PATIENCE_S, **_: Any) -> tuple[int, bytes]:
        asked.append((path, within_s))
        raise TimeoutError

    monkeypatch.setattr(api, "_once", away)
    assert FakeDoor(tmp_path).ask("GET", "/door/environments/nowhere", Role.SUBMIT).status == 404
    assert asked == [("/health", holding.WITHIN_S)], "it was not waited for"


def test_what_is_submitted_is_shown_to_who_submitted_it_and_to_who_judges_it(door: FakeDoor) -> None:
    for role in Role:
        own = {RUNS[f"{role}-er"]} if f"{role}-er" in RUNS else set()
        shown = set(RUNS.values()) if role in (Role.REVIEW, Role.ANSWER, Role.ADMINISTER) else own
        runs = door.ask("POST", "/api/flow_runs/paginate", role, {}).told["results"]
        assert {run["id"] for run in runs if run["parameters"]} == shown, role
        assert len(runs) == len(RUNS) and all(run["state"] for run in runs)
        artifacts = door.ask("POST", "/api/artifacts/filter", role, {}).told
        assert {each["flow_run_id"] for each in artifacts if each["data"]} == shown, role
        for run in RUNS.values():
            one = door.ask("GET", f"/api/flow_runs/{run}", role).told
            assert bool(one["parameters"]) == (run in shown)
            asks = door.ask("GET", f"/api/flow_runs/{run}/input/review-description", role)
            assert asks.status == (200 if run in shown else 403)
        window = door.ask("GET", f"/api/flow_runs/{QUESTIONS['window'][0]}/input/window-description", role)
        assert window.status == (403 if role is Role.SUBMIT else 200), "who may answer it may read it"
        for earlier in ("GET", "review-description"), ("POST", "filter"):
            place = f"/api/flow_runs/{QUESTIONS['window'][0]}/input/{earlier[1]}"
            asks = door.ask(earlier[0], place, role, {} if earlier[0] == "POST" else None)
            assert (asks.status == 403) == (role not in (Role.REVIEW, Role.ANSWER, Role.ADMINISTER)), (role, earlier)


def test_a_token_with_a_list_of_repositories_names_no_others(tmp_path: Path) -> None:
    door = FakeDoor(tmp_path)
    _, value = door.tokens.add("team", {Role.SUBMIT}, None, ["/srv/git/one.git", "https://git.example.org/team/*"])
    for repository, status in (
        ("/srv/git/one.git", 201), ("/srv/git/one.git/", 201), ("https://git.example.org/team/a.git", 201),
        ("/srv/git/two.git", 403), ("/srv/git/../git/one.git", 403), ("https://git.example.org/team/../b.git", 403),
        ("https://git.example.org/team/..", 403), ("https://git.example.org/team/a/b", 403), ("", 403), (None, 403),
        ("https://git.example.org/team/", 403), ("https://git.example.org/team/%2e%2e", 403), ("one.git", 403),
        ({"__prefect_kind": "json", "value": '"/srv/git/one.git"'}, 403),
        ({"__prefect_kind": "none", "value": "/srv/git/two.git"}, 403),
    ):  # fmt: skip
        done = door.ask("POST", START, value, {"parameters": {"brief": {"title": "t", "repository": repository}}})
        assert done.status == status, repository
    hidden_in = {"__prefect_kind": "json", "value": '{"repository": "/srv/git/two.git"}'}
    assert door.ask("POST", START, value, {"parameters": {"brief": hidden_in}}).status == 403
    mixed = {"__prefect_kind": "json", "value": '{"repository": "/srv/git/two.git"}', "repository": "/srv/git/one.git"}
    assert door.ask("POST", START, value, {"parameters": {"brief": mixed}}).status == 403


def test_only_forms_that_the_server_has_shown_are_checked(door: FakeDoor) -> None:
    """A schema of the caller's own could keep the server busy for ever, or have it fetch something."""
    check = "/api/ui/schemas/validate"
    for role in Role:
        for schema in ({"pattern": "(a+)+$"}, {"$ref": "http://192.0.2.1/"}, None):
            assert door.ask("POST", check, role, {"schema": schema, "values": {}}).status == 403
    assert door.changes() == []
    shown = door.ask("GET", f"/api/deployments/{TASK}", Role.REVIEW).told["parameter_openapi_schema"]
    assert door.ask("POST", check, Role.SUBMIT, {"values": {}, "schema": shown}).status == 200
    filled_in = {"brief": {"__prefect_kind": "workspace_variable", "variable_name": "x"}}
    assert door.ask("POST", check, Role.SUBMIT, {"values": filled_in, "schema": shown}).status == 403


def test_an_answer_that_cannot_be_noted_is_not_given(tmp_path: Path) -> None:
    door = FakeDoor(tmp_path)
    door.remember()  # and what it remembers notes nothing
    done = door.ask("POST", RESUME["review"], Role.REVIEW, {"run_input": YES})
    assert (done.status, "was not given" in done.told["detail"]) == (503, True)
    assert door.changes() == []


def test_the_answers_of_the_server_hold_no_secret_but_for_who_administers(door: FakeDoor) -> None:
    for role in Role:
        told = door.ask("GET", "/api/work_pools/lockgate", role)
        assert (SECRET in told.content.decode()) == (role is Role.ADMINISTER)
        assert told.told["deep"][0]["name"] == "kept"
        assert not {"set-cookie", "server"} & set(told.headers)
        assert told.headers["x-frame-options"] == "DENY"


def test_a_token_is_shown_as_bearer_or_basic_and_one_that_is_over_opens_nothing(door: FakeDoor) -> None:
    made, value = door.tokens.add("ann", {Role.ANSWER})
    ways = [
        ("authorization", f"Bearer {value}"),
        ("authorization", f"bearer {value}"),
        basic(value),
        basic(f"ann:{value}"),
    ]
    for way in ways:
        me = door.ask("GET", "/door/me", headers=[way])
        assert (me.status, me.told) == (200, {"name": "ann", "roles": ["answer"], "expires_at": None})
    door.tokens.revoke(made.name)
    for way in ways:
        assert door.ask("GET", "/api/version", headers=[way]).status == 401
    assert door.asked == []


def test_who_tries_wrong_tokens_is_told_to_wait_and_keeps_nobody_out(door: FakeDoor) -> None:
    _, fresh = door.tokens.add("fresh", {Role.ANSWER})
    assert door.ask("GET", "/api/version", Role.SUBMIT, address="192.0.2.9").status == 200
    tried = [door.ask("GET", "/api/version", f"guess-{n}", address="192.0.2.9").status for n in range(12)]
    assert tried == [401] * 10 + [429] * 2
    assert door.ask("GET", "/api/version", fresh, address="192.0.2.9").status == 200, "all may be behind one proxy"
    assert door.ask("GET", "/api/version", "guess", address="192.0.2.9").status == 429
    assert door.ask("GET", "/api/version", "guess", address="192.0.2.10").status == 401
    door.now += 61
    assert door.ask("GET", "/api/version", "guess", address="192.0.2.9").status == 401


def test_pages_are_shown_without_the_credential_and_nothing_else_is(door: FakeDoor) -> None:
    for path in ("/", "/ui-settings", "/v2/assets/index.js", "/runs/flow-run/" + ID):
        assert door.ask("GET", path).status == 200, path
    for path in ("/api/health", "/api/ready"):
        assert door.ask("GET", path).status == 200, path
    assert [each.headers.get("authorization") for each in door.asked] == [None] * 6
    for method, path in (
        ("POST", "/"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("HEAD", "/"),
        ("POST", "/api/health"),
    ):
        assert door.ask(method, path).status in (401, 404, 405), path
    assert len(door.asked) == 6


TOO_DEEP = b'{"flows": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
BLOCKS = "/api/block_documents/filter"
CHECK = "/api/ui/schemas/validate"
REFERENCE = json.dumps({"$ref": {"block_document_id": ID}})
FILTER = "/api/flow_runs/filter"
NAMED = "/api/block_types/slug/lockgate-secret/block_documents/name/default"
TRIES: tuple[tuple[str, Role, str, str, Any], ...] = (
    # what is tried, by whom, method, path, body: JSON, or bytes as they are
    ("a shell by job variables", Role.SUBMIT, "POST", START, {**BRIEF, "job_variables": {"command": "id"}}),
    ("job variables as a list", Role.SUBMIT, "POST", START, {**BRIEF, "job_variables": [1]}),
    ("job variables for a rollback", Role.RELEASE, "POST", BACK, {"job_variables": {"env": {"A": "b"}}}),
    ("another queue", Role.SUBMIT, "POST", START, {**BRIEF, "work_queue_name": "mine"}),
    ("infrastructure of a block", Role.SUBMIT, "POST", START, {**BRIEF, "infrastructure_document_id": ID}),
    ("the child of another run", Role.SUBMIT, "POST", START, {**BRIEF, "parent_task_run_id": ID}),
    ("somebody else's label", Role.SUBMIT, "POST", START, {**BRIEF, "labels": {"lockgate.started-by": "ann"}}),
    ("tags of the platform", Role.SUBMIT, "POST", START, {**BRIEF, "tags": ["lockgate-platform"]}),
    ("unchecked parameters", Role.SUBMIT, "POST", START, {**BRIEF, "enforce_parameter_schema": False}),
    ("a parameter that is none", Role.SUBMIT, "POST", START, {"parameters": {"brief": {}, "folder": "/etc"}}),
    ("a field that is none", Role.SUBMIT, "POST", START, {**BRIEF, "deployment_id": ID}),
    ("camel case", Role.SUBMIT, "POST", START, {**BRIEF, "jobVariables": {"command": "id"}}),
    ("a run that is done", Role.SUBMIT, "POST", START, {**BRIEF, "state": {"type": "COMPLETED"}}),
    ("a state with data", Role.SUBMIT, "POST", START, {**BRIEF, "state": {"type": "SCHEDULED", "data": {"a": 1}}}),
    ("a variable's value", Role.SUBMIT, "POST", START,
     {"parameters": {"brief": {"title": {"__prefect_kind": "workspace_variable", "variable_name": "x"}}}}),
    ("a template", Role.SUBMIT, "POST", START,
     {"parameters": {"brief": {"title": {"__prefect_kind": "jinja", "template": "{{ 1 }}"}}}}),
    ("a block as a value", Role.SUBMIT, "POST", START,
     {"parameters": {"brief": {"title": {"$ref": {"block_document_id": ID}}}}}),
    *(
        (f"a block in JSON in a text, {how}", Role.SUBMIT, "POST", START,
         {"parameters": {"brief": {"title": {"__prefect_kind": "json", "value": value}}}})
        for how, value in (
            ("plain", REFERENCE),
            ("in a list", f"[[{REFERENCE}]]"),
            ("escaped", REFERENCE.replace("$", "\\u0024")),
            ("that is made from another", {"__prefect_kind": "none", "value": REFERENCE}),
            ("in JSON in a text", {"__prefect_kind": "json", "value": json.dumps(REFERENCE)}),
        )
    ),
    ("a key twice in JSON in a text", Role.SUBMIT, "POST", START,
     {"parameters": {"brief": {"__prefect_kind": "json", "value": '{"a": 1, "a": 2}'}}}),
    ("no number in JSON in a text", Role.SUBMIT, "POST", START,
     {"parameters": {"brief": {"__prefect_kind": "json", "value": '{"a": NaN}'}}}),
    ("a hidden object of parameters", Role.SUBMIT, "POST", START,
     {"parameters": {"__prefect_kind": "json", "value": '{"brief": {}}'}}),
    ("many at once", Role.SUBMIT, "POST", START + "/bulk", [BRIEF]),
    ("a run without a deployment", Role.SUBMIT, "POST", "/api/flow_runs/", {"flow_id": ID}),
    ("a deployment with a pull step", Role.SUBMIT, "POST", "/api/deployments/", {"name": "x", "flow_id": ID}),
    ("a work pool", Role.RELEASE, "PATCH", "/api/work_pools/lockgate", {"base_job_template": {}}),
    ("a block", Role.RELEASE, "POST", "/api/block_documents/", {"name": "x"}),
    ("secrets of all blocks", Role.REVIEW, "POST", BLOCKS, {"include_secrets": True}),
    ("secrets of one block", Role.REVIEW, "GET", NAMED + "?include_secrets=true", None),
    ("secrets where none are", Role.REVIEW, "POST", FILTER, {"include_secrets": True}),
    ("secrets deeper in", Role.REVIEW, "POST", FILTER, {"flow_runs": [{"include_secrets": 1}]}),
    ("secrets by the query", Role.REVIEW, "POST", FILTER + "?include_secrets=1", {}),
    ("a variable", Role.ANSWER, "GET", "/api/variables/name/x", None),
    ("the settings", Role.ANSWER, "GET", "/api/admin/settings", None),
    ("an automation", Role.RELEASE, "POST", "/api/automations/", {"name": "x"}),
    ("past the form, by the state", Role.REVIEW, "POST", f"/api/flow_runs/{QUESTIONS['review'][0]}/set_state",
     {"state": {"type": "SCHEDULED"}, "force": True}),
    ("past the form, by its input", Role.REVIEW, "POST", f"/api/flow_runs/{QUESTIONS['review'][0]}/input",
     {"key": "suspended-review-response", "value": "{}"}),
    ("another one's name", Role.REVIEW, "POST", RESUME["review"], {"run_input": {**YES, "reviewer": "ann"}}),
    ("the platform's name", Role.REVIEW, "POST", RESUME["review"], {"run_input": {**YES, "reviewer": "policy"}}),
    ("a name that is no text", Role.REVIEW, "POST", RESUME["review"], {"run_input": {**YES, "reviewer": ["ann"]}}),
    ("a name by a template", Role.REVIEW, "POST", RESUME["review"],
     {"run_input": {**YES, "reviewer": {"__prefect_kind": "json", "value": '"ann"'}}}),
    ("housekeeping's decision", Role.REVIEW, "POST", RESUME["review"], {"run_input": {**YES, "decision": "expired"}}),
    ("no decision", Role.REVIEW, "POST", RESUME["review"], {"run_input": {"mark": MARK}}),
    ("no answer", Role.REVIEW, "POST", RESUME["review"], {}),
    ("approval of another change", Role.REVIEW, "POST", RESUME["review"], {"run_input": {**YES, "mark": "f" * 16}}),
    ("approval of any change", Role.REVIEW, "POST", RESUME["review"], {"run_input": {"decision": "approve"}}),
    ("a field of another form", Role.REVIEW, "POST", RESUME["review"], {"run_input": {**YES, "opened_by": "ann"}}),
    ("more than an answer", Role.REVIEW, "POST", RESUME["review"], {"run_input": YES, "keyset": {}}),
    ("to open a window as a reviewer", Role.REVIEW, "POST", RESUME["window"], {"run_input": {}}),
    ("to approve one's own brief", Role.SUBMIT, "POST", RESUME["review"], {"run_input": YES}),
    ("a key twice, the good one last", Role.SUBMIT, "POST", START,
     b'{"job_variables": {"command": "id"}, "parameters": {"brief": {}}, "job_variables": {}}'),
    ("a key twice, deeper in", Role.REVIEW, "POST", FILTER, b'{"flow_runs": {"a": 1, "a": 2}}'),
    ("numbers that are none", Role.REVIEW, "POST", FILTER, b'{"limit": NaN}'),
    ("a number without an end", Role.REVIEW, "POST", FILTER, b'{"limit": 1e999}'),
    ("half a character", Role.REVIEW, "POST", FILTER, b'{"a": "\\ud800"}'),
    ("half a character in a key", Role.REVIEW, "POST", FILTER, b'{"\\udfff": 1}'),
    ("half a character in a form", Role.SUBMIT, "POST", CHECK, b'{"schema": {"a": "\\ud800"}, "values": {}}'),
    ("half a character in JSON in a text", Role.SUBMIT, "POST", START,
     {"parameters": {"brief": {"__prefect_kind": "json", "value": '["\ud800"]'}}}),
    ("two documents", Role.REVIEW, "POST", FILTER, b"{} {}"),
    ("half a document", Role.REVIEW, "POST", FILTER, b'{"limit": '),
    ("another encoding", Role.REVIEW, "POST", FILTER, "{}".encode("utf-16")),
    ("too deep", Role.REVIEW, "POST", FILTER, TOO_DEEP),
    ("too long", Role.REVIEW, "POST", FILTER, b'"' + b"a" * 5_000_000 + b'"'),
    ("a body for reading", Role.REVIEW, "GET", "/api/version", {}),
    ("a way round by dots", Role.REVIEW, "GET", "/api/version/../admin/settings", None),
    ("a way round by dots of another kind", Role.REVIEW, "GET", "/api/version/%2e%2e/admin/settings", None),
    ("a slash in disguise", Role.REVIEW, "GET", "/api/flows/name%2f..%2f..%2fadmin/settings", None),
    ("a slash twice disguised", Role.REVIEW, "GET", "/api/flows/name/%252e%252e", None),
    ("a page that is the api", Role.REVIEW, "GET", "/x/../api/admin/settings", None),
    ("a page that is the api, in disguise", Role.REVIEW, "GET", "/%61pi/admin/settings", None),
    ("two slashes", Role.REVIEW, "GET", "//api/admin/settings", None),
    ("two slashes within", Role.REVIEW, "POST", "/api//block_documents/filter", {}),
    ("a trailing slash", Role.REVIEW, "POST", "/api/flow_runs/filter/", {}),
    ("another case", Role.REVIEW, "POST", "/api/Block_Documents/filter", {}),
    ("another case of the api", Role.REVIEW, "POST", "/API/block_documents/filter", {}),
    ("a backslash", Role.REVIEW, "GET", "/api\\admin\\settings", None),
    ("a zero byte", Role.REVIEW, "GET", "/api/flows/name/a%00", None),
    ("a line break", Role.REVIEW, "GET", "/api/flows/name/a%0d%0aHost:x", None),
    ("no UTF-8", Role.REVIEW, "GET", "/api/flows/name/%ff", None),
    ("a whole address", Role.REVIEW, "GET", "http://127.0.0.1:4200/api/admin/settings", None),
    ("an id that is none", Role.REVIEW, "GET", "/api/flow_runs/..%00", None),
    ("a query twice", Role.REVIEW, "GET", f"/api/flow_run_states/?flow_run_id={ID}&flow_run_id={ID}", None),
    ("another method", Role.REVIEW, "TRACE", "/api/version", None),
    ("a method in small letters", Role.REVIEW, "delete", f"/api/flows/{ID}", None),
    ("the door's own page by POST", Role.REVIEW, "POST", "/door/me", {}),
)  # fmt: skip


@pytest.mark.parametrize("tried", TRIES, ids=[tried[0] for tried in TRIES])
def test_what_is_tried_does_not_reach_the_server(door: FakeDoor, tried: tuple[str, Role, str, str, Any]) -> None:
    _, role, method, path, body = tried
    if isinstance(body, bytes):
        done = door.ask(method, path, role, content=body, headers=[("content-type", "application/json")])
    else:
        done = door.ask(method, path, role, body)
    assert done.status in (400, 401, 403, 404, 405, 409, 413, 415), done
    assert len(done.told["detail"]) > 10, "a sentence says why"
    looked_up = [each for each in door.asked if each.method == "GET" and "/name/" in each.url.path + "/name/"]
    assert door.changes() == [] and door.asked == looked_up
    assert door.ask("GET", "/api/version", role).status == 200, "the same token still does what it may"


HEADERS = (
    ("a method in a header", [("x-http-method-override", "DELETE"), ("x-method-override", "PUT")], 200),
    ("another one's address", [("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=127.0.0.1")], 200),
    ("the credential's user", [("x-prefect-worker-id", ID), ("prefect-automation-id", ID), ("cookie", "a=b")], 200),
    ("two tokens", [("authorization", "Bearer x")], 401),
    ("another kind of body", [("content-type", "text/plain")], 415),
    ("a body in two kinds", [("content-type", "application/json"), ("content-type", "text/plain")], 415),
    ("a packed body", [("content-type", "application/json"), ("content-encoding", "gzip")], 415),
    ("another alphabet", [("content-type", "application/json; charset=utf-7")], 415),
)


@pytest.mark.parametrize(("what", "headers", "status"), HEADERS, ids=[each[0] for each in HEADERS])
def test_headers_change_nothing(door: FakeDoor, what: str, headers: list[tuple[str, str]], status: int) -> None:
    plain = status == 200
    more = [("content-type", "application/json")] if plain else []
    done = door.ask("POST", FILTER, Role.REVIEW, content=b"{}", headers=[*headers, *more])
    assert done.status == status, what
    assert len(door.asked) == plain
    for sent in door.asked:
        assert sent.method == "POST"
        passed = set(sent.headers) - {"host", "accept-encoding", "connection", "user-agent", "accept"}
        assert passed == {"authorization", "content-type", "content-length"}


@pytest.fixture
def listening(door: FakeDoor) -> Iterator[int]:
    with served(door.app) as port:
        yield port


def test_a_second_request_is_not_smuggled_in_the_first(door: FakeDoor, listening: int) -> None:
    token = f"Authorization: Bearer {door.value[Role.REVIEW]}\r\n"
    head = f"POST {FILTER} HTTP/1.1\r\nHost: door\r\n{token}Content-Type: application/json\r\n"
    within = f"DELETE /api/flows/{ID} HTTP/1.1\r\nHost: door\r\n{token}\r\n"
    for bad in (
        f"{head}Content-Length: 2\r\nContent-Length: {len(within)}\r\n\r\n{within}",
        f"{head}Content-Length: 2\r\nTransfer-Encoding: xchunked\r\n\r\n{{}}{within}",
        f"{head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{within}",
        f"{head}Content-Length: +2\r\n\r\n{{}}{within}",
        f"GET http://127.0.0.1/api/admin/settings HTTP/1.1\r\nHost: door\r\n{token}\r\n",
        f"GET /api/version HTTP/1.1\r\n{token}\r\n",
        f"GET /api/version HTTP/1.1\r\nHost: a\r\nHost: b\r\n{token}\r\n",
    ):
        with socket.create_connection(("127.0.0.1", listening), timeout=10) as caller:
            caller.sendall(bad.encode())
            caller.shutdown(socket.SHUT_WR)
            told = b""
            while part := caller.recv(65536):
                told += part
        assert told.startswith(b"HTTP/1.1 4"), bad
        assert [each.method for each in door.asked if each.method == "DELETE"] == [], bad
    both = f"{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", listening), timeout=10) as caller:
        caller.sendall(both)  # whichever length counts, what reaches the server is what was read
        assert re.match(rb"HTTP/1.1 (200|400)", caller.recv(65536))
    assert all(each.content == b"{}" for each in door.asked)


def connected(port: int, address: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(address, 0))


def answer_to(caller: socket.socket, request: bytes) -> bytes:
    caller.sendall(request)
    return caller.recv(65536)


HEALTH = b"GET /door/health HTTP/1.1\r\nHost: door\r\n"


def test_connections_that_ask_nothing_keep_nobody_out(listening: int) -> None:
    """Not those from another address, and not those from the same one: the longest idle has to go."""
    idle = [connected(listening) for _ in range(600)]
    half = [connected(listening, "127.0.0.3") for _ in range(200)]
    for each in half:
        each.sendall(b"GET /door/health HT")
    for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        with connected(listening, address) as caller:
            assert answer_to(caller, HEALTH + b"\r\n").startswith(b"HTTP/1.1 200"), address
    assert idle[0].recv(1) == b"", "the oldest was ended"
    for each in (*idle, *half):
        each.close()


def test_a_connection_is_not_compared_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    class Peer(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            compared.append(other)
            return str.__eq__(self, str(other))

        __hash__ = str.__hash__

    monkeypatch.setattr(connections, "_peer", Peer)
    aborted = []

    class Caller:
        def __init__(self, number: int) -> None:
            self.client, self.transport, self.scope = f"peer {number % 40}", self, None
            self.abort = lambda: aborted.append(number)

        def signed(self) -> bool:
            return False

    known = connections.Connections(most=80, of_one=50)
    for number in range(81):
        known.enter(Caller(number), idle=False)
        if number == 79:
            assert len(compared) < 80 * 4
    assert aborted == [0] and len(known._open) == sum(known._of.values()) == 80


def test_who_shows_no_token_takes_no_place_of_who_does(door: FakeDoor, listening: int) -> None:
    """Not by files of the UI that are not taken: of those that ask, the longest without a token has to go."""

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0.01)
                yield b"x" * 4096

    def pages(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Endless())

    upstream = door.app.upstream
    real = upstream._of_pages
    upstream._of_pages = httpx.AsyncClient(base_url="http://x", transport=httpx.MockTransport(pages))
    token = f"Authorization: Bearer {door.value[Role.REVIEW]}".encode()
    slow = (
        b"POST /api/flow_runs/filter HTTP/1.1\r\nHost: door\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    )
    try:
        with connected(listening) as signed:
            going_on = answer_to(signed, slow + token + b"\r\nExpect: 100-continue\r\n\r\n")
            assert going_on.startswith(b"HTTP/1.1 100"), "the door has read the token, and waits for the body"
            signed.sendall(b"{")
            takers = [connected(listening) for _ in range(80)]
            for each in takers:
                with contextlib.suppress(ConnectionError):
                    each.sendall(b"GET /assets/index.js HTTP/1.1\r\nHost: door\r\n\r\n")
            with connected(listening) as caller:
                assert answer_to(caller, HEALTH + b"\r\n").startswith(b"HTTP/1.1 200")
            assert answer_to(signed, b"}").startswith(b"HTTP/1.1 200"), "what was asked with a token goes on"
            for each in takers:
                each.close()
    finally:
        upstream._of_pages = real


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /door/health HTTP/1.1\r\nHost: d",
        HEALTH + b"\r\nGET /door/heal",
        HEALTH + b"Content-Length: 9999\r\n\r\nx",
        b"POST /api/flow_runs/filter HTTP/1.1\r\nHost: door\r\nContent-Type: application/json\r\n"
        b"Content-Length: 999\r\nAuthorization: Bearer TOKEN\r\n\r\n{",
    ],
    ids=["nothing", "half a request", "half a second one", "a body that nobody reads", "half a body"],
)
def test_who_says_a_letter_now_and_then_is_not_listened_to_for_ever(
    door: FakeDoor, listening: int, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.4)
    monkeypatch.setattr("station.door.app.BODY_S", 0.4)
    with connected(listening) as caller:
        caller.sendall(said.replace(b"TOKEN", door.value[Role.REVIEW].encode()))
        caller.settimeout(0.05)
        for _ in range(600):  # it would go on for ever
            try:
                caller.sendall(b"x")
                if not caller.recv(65536):
                    break
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        else:
            raise AssertionError("it was listened to for half a minute")


def test_who_takes_no_answers_keeps_them_from_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the UI need no token: they have connections of their own, and a time."""
    door, closed = FakeDoor(tmp_path), []
    monkeypatch.setattr("station.door.app.ANSWER_S", 0.05)

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0.01)
                yield b"x"

        async def aclose(self) -> None:
            closed.append(self)

    def pages(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Endless())

    def none(request: httpx.Request) -> httpx.Response:
        raise httpx.PoolTimeout("all are taken", request=request)

    upstream = door.app.upstream
    upstream._of_pages = httpx.AsyncClient(base_url="http://x", transport=httpx.MockTransport(pages))
    assert door.ask("GET", "/assets/index.js").status == 200, "it ends"
    assert len(closed) == 1
    upstream._of_pages = httpx.AsyncClient(base_url="http://x", transport=httpx.MockTransport(none))
    assert door.ask("GET", "/assets/index.js").status == 503
    assert door.ask("GET", "/api/version", Role.REVIEW).status == 200


def test_a_server_that_does_not_answer_is_said_to_be_so(tmp_path: Path) -> None:
    door = FakeDoor(tmp_path)

    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    door.app.upstream._client = httpx.AsyncClient(base_url="http://x", transport=httpx.MockTransport(gone))
    done = door.ask("GET", "/api/version", Role.REVIEW)
    assert (done.status, "does not answer" in done.told["detail"]) == (503, True)
    door.tokens = door.tokens._replace(url=f"sqlite:///{tmp_path}/ledger.db/nowhere/ledger.db")
    assert door.ask("GET", "/api/version", Role.REVIEW).status == 503, "without a ledger nobody is known"


def test_a_server_that_is_busy_is_asked_again_and_one_that_stays_so_is_told(door: FakeDoor) -> None:
    door.busy = 2
    assert door.ask("GET", f"/api/flow_runs/{RUNNING}", Role.REVIEW).told["id"] == RUNNING
    assert [request.url.path for request in door.asked] == [f"/api/flow_runs/{RUNNING}"] * 3
    door.busy = 99
    assert door.ask("GET", f"/api/flow_runs/{RUNNING}", Role.REVIEW).status == 503
    door.busy = 0
