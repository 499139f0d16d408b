"""Prefect's server as it has to be on SQLite: it waits for seconds, and a thread of its own collects garbage. And a
route of ours."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from station import first_database

TOLD = """
import asyncio, gc, threading
from station import server
server.wait_less()
server.collect_aside()
from prefect.server.database import provide_database_interface
from sqlalchemy import text

async def main():
    engine = await provide_database_interface().engine()
    async with engine.connect() as connection:
        print((await connection.execute(text("PRAGMA busy_timeout"))).scalar())
        print((await connection.execute(text("PRAGMA journal_mode"))).scalar())
    await engine.dispose()

class Odd:
    def __del__(self):
        print(threading.current_thread().name)

odd = Odd()
odd.me = odd
del odd
[[] for _ in range(100_000)]
print(gc.isenabled())
asyncio.run(main())
threading.Event().wait(2)
"""


def test_sqlite_waits_for_seconds_and_no_other_thread_collects_garbage(tmp_path: Path) -> None:
    env = {"PREFECT_HOME": str(tmp_path), "LOCKGATE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", TOLD], env=env, cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert sorted(done.stdout.split()) == sorted(["False", "5000", "wal", "garbage"]), done.stdout + done.stderr


IN_SHORT = """
import asyncio, json
from station import in_short
in_short.add()
import httpx
from prefect.server.api.server import create_app

async def main():
    asked = httpx.ASGITransport(create_app(ephemeral=False))
    async with httpx.AsyncClient(transport=asked, base_url="http://test/api", auth=("me", "secret")) as client:
        async def ask(path, body):
            answer = await client.post(path, json=body)
            assert answer.status_code < 300, answer.text
            return answer.json()

        flow = await ask("/flows/", {"name": "agent-task"})
        for number in range(7):
            tags = ["lockgate"] if number else []
            given = {"brief": {"goal": "x" * 5000}}
            run = {"name": f"task {number}", "flow_id": flow["id"], "tags": tags, "parameters": given}
            made = await ask("/flow_runs/", run)
            kind, name = (("PAUSED", "Suspended"), ("COMPLETED", "Live"), ("PAUSED", "Waits"))[number % 3]
            details = {"pause_key": f"{number}"}
            state = {"type": kind, "name": name, "message": f"why {number}", "state_details": details}
            await ask(f"/flow_runs/{made['id']}/set_state", {"state": state, "force": True})
        tagged = {"tags": {"all_": ["lockgate"]}}
        told = []
        for wanted in (
            {"flow_runs": tagged | {"state": {"type": {"any_": ["PAUSED"]}}}},
            {"flow_runs": tagged | {"state": {"name": {"any_": ["Live"]}}}, "sort": "EXPECTED_START_TIME_DESC"},
            {"flow_runs": {}, "sort": "NAME_ASC", "limit": 2, "offset": 3},
            {"flow_runs": {"name": {"any_": ["nobody"]}}},
        ):
            whole = {"sort": "EXPECTED_START_TIME_ASC", **wanted}
            told.append([await ask("/flow_runs/filter", whole), await ask("/lockgate/runs/filter", wanted)])
        path = "/lockgate/runs/filter"
        wrong = [await client.post(path, json={"flow_runs": {}, "limit": 1001}), await client.post(path, json={}),
                 await client.post(path, json={"flow_runs": {}}, auth=("me", "guess"))]
        print(json.dumps([told, [one.status_code for one in wrong]]))

asyncio.run(main())
"""
WITH = ("id", "name", "state_type", "state_name")
OF_ITS_STATE = ("type", "name", "message", "timestamp")


def test_runs_in_short_are_those_that_the_server_finds_without_what_they_were_given(tmp_path: Path) -> None:
    shutil.copyfile(first_database.kept(), tmp_path / "prefect.db")
    env = {
        "PREFECT_HOME": str(tmp_path), "LOCKGATE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin",
        "PREFECT_SERVER_API_AUTH_STRING": "me:secret", "PREFECT_UI_ENABLED": "false",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", IN_SHORT], env=env, cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told, wrong = json.loads(done.stdout.splitlines()[-1])
    assert wrong == [422, 422, 401]
    assert [len(whole) for whole, _ in told] == [4, 2, 2, 0]
    for whole, short in told:
        assert [[run[name] for name in WITH] for run in short] == [[run[name] for name in WITH] for run in whole]
        for one, other in zip(short, whole, strict=True):
            was = other["state"]
            assert {name: one["state"][name].replace("+00:00", "Z") for name in OF_ITS_STATE} == {
                name: was[name] for name in OF_ITS_STATE
            }
            assert one["state"]["state_details"] == {"pause_key": was["state_details"]["pause_key"]}
    assert "goal" not in json.dumps([short for _, short in told])


FIFTY = """
import asyncio
from station import server
server.start_few_at_once()
from prefect.server.api.server import RequestLimitMiddleware

server.BUSY_PAUSES_S = (0, 0)
at_once, most, looked, tries, told = 0, 0, 0, {}, []

async def app(scope, receive, send):
    global at_once, most, looked
    if scope["path"].endswith("/filter"):
        looked += 1
        return
    at_once += 1
    most = max(most, at_once)
    parts = [await receive(), await receive()]
    name = b"".join(part["body"] for part in parts).decode()
    tries[name] = tries.get(name, 0) + 1
    assert scope.setdefault("seen", tries[name]) == tries[name]
    await asyncio.sleep(0.01)
    is_busy = tries[name] < int(name) % 5
    await send({"type": "http.response.start", "status": 503 if is_busy else 201})
    await send({"type": "http.response.body", "body": name.encode()})
    at_once -= 1
    if is_busy and tries[name] < 3:
        raise RuntimeError("as Starlette does once it has answered")

async def main():
    door = RequestLimitMiddleware(app, limit=100)
    async def ask(path, name="0"):
        parts = iter(name)
        async def receive():
            part = next(parts)
            return {"type": "http.request", "body": part.encode(), "more_body": part != name[-1]}
        async def send(message):
            if "status" in message:
                told.append((int(name) % 5, message["status"]))
        await door({"type": "http", "method": "POST", "path": f"/api/deployments/{path}"}, receive, send)
    starts = [asyncio.ensure_future(ask("x/create_flow_run", str(name))) for name in range(12, 99) if name % 11]
    await asyncio.sleep(0.02)
    await asyncio.wait_for(ask("filter"), 0.1)
    print(looked, sum(not one.done() for one in starts) > 50)
    await asyncio.gather(*starts)
    print(most, len(told) == len(starts), sorted(set(told)))

asyncio.run(main())
"""


def test_runs_are_made_a_few_at_once_and_nobody_else_waits_for_them(tmp_path: Path) -> None:
    env = {"PREFECT_HOME": str(tmp_path), "LOCKGATE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", FIFTY], env=env, cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    ends = "[(0, 201), (1, 201), (2, 201), (3, 201), (4, 503)]"  # by how many tries it is busy for
    assert done.stdout.splitlines() == ["1 True", f"2 True {ends}"], done.stdout + done.stderr
