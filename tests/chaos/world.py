"""A station with two environments, a stream of briefs, users who never stop asking, and somebody who answers."""

import contextlib
import http.client
import json
import os
import random
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from domain.rollout import Rollout
from kits.briefs import repository
from kits.product.station import PROJECT, Station
from kits.servers import free_port
from tests.chaos.clock import Clock
from tests.chaos.control import Control

ENVIRONMENTS = ("north", "south")
LONGEST_SILENCE_S = 5.0
"""So long a public address may be down, on a machine that has time: see `tests/chaos/control.py`."""
FINAL = ("COMPLETED", "FAILED", "CANCELLED")
AT_ONCE = 4
"""So many briefs are under way."""

SERVE = """import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        sick = sorted(path.name for path in Path("parts").glob("sick_*.py"))
        told = {"status": "fail" if sick else "pass", "releaseId": os.environ["RELEASE_ID"], "output": ", ".join(sick)}
        body = json.dumps(told).encode()
        self.send_response(503 if sick and self.path == "/health" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
SETTINGS = 'requirements = ["pytest==9.2.0"]\ntest = "python -m pytest -q"\n'
FILES = {
    "lockgate.toml": f'{SETTINGS}run = "python serve.py {{port}}"\n',
    "serve.py": SERVE,
    "parts/__init__.py": "",
    "tests/test_parts.py": "import parts\n\n\ndef test_there():\n    assert parts\n",
}
AGENT = r"""
name=$(sed -n 's/.*PART-\([a-z]*_[0-9]*\)-END.*/\1/p' /lockgate/brief.md | head -n 1)
printf 'def value():\n    return "%s"\n' "$name" > "parts/$name.py"
"""
ACCEPTANCE = "from parts import {0}\n\n\ndef test_value():\n    assert {0}.value() == '{0}'\n"


@dataclass
class Task:
    """One brief of the stream. `is_sick`: its release says in production that it is not well."""

    name: str
    environment: str | None
    is_sick: bool
    repository: Path
    run_id: str = ""
    deleted: bool = False
    ended: bool = False

    @property
    def title(self) -> str:
        return f"Add {self.name}"


class Silence(NamedTuple):
    """A time without a good answer, in monotonic seconds, and when it ended on the clock."""

    since: float
    until: float
    when: str

    @property
    def seconds(self) -> float:
        return self.until - self.since


class Counts(NamedTuple):
    """What users had, in a row of seeds: since the one before."""

    asked: int
    failed: int
    silences: list[Silence]

    @property
    def longest(self) -> Silence:
        return max(self.silences, key=lambda one: one.seconds, default=Silence(0, 0, ""))


class Users:
    """Ask one address all the time, as a browser would that tries again."""

    def __init__(self, port: int) -> None:
        self.asked = self.failed = 0
        self.silences: list[Silence] = []
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def counted(self, before: Counts | None = None) -> Counts:
        """What they had until now, but for what was counted `before`."""
        asked, failed, silences = before or Counts(0, 0, [])
        return Counts(self.asked - asked, self.failed - failed, self.silences[len(silences) :])

    def _ask(self) -> None:
        good = time.monotonic()
        while not self._over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=3)
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                is_good = answer.status == 200
            except (OSError, http.client.HTTPException):
                is_good = False
            finally:
                connection.close()
            now = time.monotonic()
            self.asked += 1
            self.failed += not is_good
            if is_good or self._over.is_set():
                if now - good > 1:
                    self.silences.append(Silence(good, now, time.strftime("%H:%M:%S")))
                good = now
            time.sleep(0.05)


class Pager:
    """What a person's pager got, as (subject and body) texts."""

    def __init__(self) -> None:
        self.pages: list[str] = []
        pages = self.pages

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                pages.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()


@dataclass
class World:
    """What runs, and what was asked of it."""

    station: Station
    ports: dict[str, int]
    repositories: dict[str | None, Path]
    pager: Pager
    clock: Clock
    tasks: list[Task] = field(default_factory=list)
    killed: set[str] = field(default_factory=set)
    """Releases of which all processes were killed once: such a one may be called sick."""
    users: dict[str, Users] = field(default_factory=dict)
    control: Control = field(default_factory=Control)
    over: threading.Event = field(default_factory=threading.Event)
    answering: threading.Event = field(default_factory=threading.Event)
    """Set while somebody answers; cleared while parked runs are to wait."""
    closed: threading.Event = field(default_factory=threading.Event)
    """Set while no more briefs come."""

    @property
    def home(self) -> Path:
        return self.station.home

    def submit(self, task: Task) -> None:
        told = {
            "title": task.title,
            "goal": f"Add the module PART-{task.name}-END",
            "repository": str(task.repository),
            "acceptance": {
                "files": [
                    {"path": f"tests/acceptance/test_{task.name}.py", "content": ACCEPTANCE.format(task.name)},
                ]
            },
            "agent": "command/chaos",
            "budget": {"attempts": 1},
        }
        if task.environment:
            told["environment"] = task.environment
        task.run_id = self.station.submit(told, key=f"chaos-{task.name}")

    def state(self, task: Task) -> dict[str, Any] | None:
        """Its state in Prefect; None while nobody can tell, and for one that was deleted."""
        try:
            return dict(self.station.run(task.run_id)["state"])
        except (httpx.HTTPError, OSError):
            return None

    def is_over(self, task: Task) -> bool:
        if not task.deleted and not task.ended:
            state = self.state(task)
            task.ended = state is not None and state["type"] in FINAL
        return task.deleted or task.ended

    def stream(self, count: int, dice: random.Random) -> None:
        """Submit `count` briefs, a few at once, until it is closed. Where the server does not answer, the same is asked
        again."""
        for number in range(len(self.tasks), len(self.tasks) + count):
            while not self.closed.is_set() and sum(not self.is_over(task) for task in self.tasks) >= AT_ONCE:
                time.sleep(1)
            if self.closed.is_set():
                return
            chosen = dice.choice((*ENVIRONMENTS, *ENVIRONMENTS, None))
            is_sick = chosen is not None and dice.random() < 0.2
            name = f"{'sick' if is_sick else 'part'}_{number}"
            task = Task(name, chosen, is_sick, self.repositories[chosen])
            while not task.run_id and not self.over.is_set():
                try:
                    self.submit(task)
                except (httpx.HTTPError, OSError):
                    time.sleep(1)
            if task.run_id:
                self.tasks.append(task)

    def answer(self) -> None:
        """Approve whatever waits, until all is over."""
        while not self.over.wait(0.7):
            if not self.answering.is_set():
                continue
            for task in [task for task in self.tasks if not (task.deleted or task.ended)]:
                state = self.state(task)
                if state is None or state["type"] != "PAUSED":
                    continue
                key = str(state["state_details"].get("pause_key") or "")
                form = {"decision": "approve", "reviewer": "chaos", "comment": ""}
                if key.startswith("ready-"):
                    form = {"mended_by": "chaos"}
                with contextlib.suppress(httpx.HTTPError, OSError):
                    self.station.answer(task.run_id, form)

    def served(self, environment: str) -> str | None:
        """The release that answers in public."""
        with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
            answer = httpx.get(f"http://127.0.0.1:{self.ports[environment]}/health", timeout=5)
            return str(answer.json()["releaseId"]) if answer.status_code == 200 else None
        return None

    def without_the_clock(self) -> Iterator[str]:
        """Parts of the station that the clock does not reach; none where there is no such clock."""
        for note in sorted((self.home / "run").glob("*.json")) if self.clock.is_there else ():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                if not self.clock.is_over(int(json.loads(note.read_text())["pid"])):
                    yield note.stem

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Of the ledger, read as a file: nothing of the product is between."""
        with contextlib.closing(sqlite3.connect(f"file:{self.home}/ledger.db?mode=ro", uri=True, timeout=30)) as ledger:
            return ledger.execute(query).fetchall()

    def keep_target(self, environment: str) -> None:
        self.station.target(
            environment,
            self.ports[environment],
            rollout=Rollout(shares=(50,), share_s=1.0, bake_s=1.5).model_dump(),
            start_timeout_s=12.0,  # a sick one is waited for as long
        )


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    """A station in `folder`, with a first release in each environment."""
    clock = Clock(folder)
    station = Station(folder / "home", programs=clock.programs)
    station.home.mkdir(exist_ok=True)
    pager = Pager()
    ports = {environment: free_port() for environment in ENVIRONMENTS}
    places: dict[str | None, Path] = {
        environment: repository(folder / f"{environment}.git", FILES) for environment in ENVIRONMENTS
    }
    plain = {path: content for path, content in FILES.items() if path != "serve.py"}
    places[None] = repository(folder / "library.git", {**plain, "lockgate.toml": SETTINGS})
    made = World(station, ports, places, pager, clock)
    manager = threading.Thread(target=_keep_supervisor, args=(made,), daemon=True)
    try:
        station.up()
        if apart := list(made.without_the_clock()):
            raise RuntimeError(f"no clock would jump in {', '.join(apart)}")
        agents = folder / "agents"
        agents.mkdir()
        station.command("chaos", AGENT, agents)
        for environment in ENVIRONMENTS:
            made.keep_target(environment)
        station.python(
            "from prefect.blocks.notifications import CustomWebhookNotificationBlock\n"
            "from blocks.workshop import Workshop\n"
            f"CustomWebhookNotificationBlock(name='chaos', url='http://127.0.0.1:{pager.port}/', method='POST', "
            "json_data={'subject': '{{subject}}', 'body': '{{body}}'}).save('chaos', overwrite=True)\n"
            "shop = Workshop.saved('default')\nshop.pager = 'custom-webhook/chaos'\nshop.keep('default')"
        )
        manager.start()
        made.answering.set()
        threading.Thread(target=made.answer, daemon=True).start()
        for environment in ENVIRONMENTS:
            first = Task(f"first_{ENVIRONMENTS.index(environment)}", environment, False, places[environment])
            made.submit(first)
            made.tasks.append(first)
        until = time.monotonic() + 240
        while not all(made.is_over(task) for task in made.tasks):
            if time.monotonic() > until:
                raise RuntimeError("the first releases were not made within 240 s")
            time.sleep(1)
        made.users = {environment: Users(port) for environment, port in ports.items()}
        yield made
    finally:
        made.over.set()
        made.closed.set()
        for users in made.users.values():
            users.stop()
        made.control.stop()
        if manager.is_alive():
            manager.join()
        station.down()
        pager.close()


def _keep_supervisor(made: World) -> None:
    """Stands for systemd: a supervisor that ends is started again."""
    up = [str(made.station.programs / "lockgate"), "up"]
    while not made.over.wait(0.5):
        try:
            pid = json.loads((made.home / "run" / "supervisor.json").read_text())["pid"]
            os.kill(int(pid), 0)
        except (OSError, ValueError, KeyError):
            subprocess.run(up, env=made.station.env, cwd=PROJECT, capture_output=True, timeout=400, check=False)
