"""`lockgate demo --cluster`: a task that one machine begins and loses, and another one ends.

Real PostgreSQL and Redis; a station that runs no tasks; and two machines, each a home, a host name and a namespace of
processes of its own. Whichever machine takes the task is killed, all of it at once, in the middle of the agent's work.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console

from blocks.home import home
from domain.errors import InputError, LockgateError
from domain.records import APPROVAL, MERGED, OUTCOME, PACKED, QUESTION, TESTED, VERDICT, kinds_of
from domain.task import End, Outcome
from kits.servers import Postgres, Redis, ServerMissing, free_port
from station import processes, settings
from station.demo import make_repository

console = Console(highlight=False, soft_wrap=True)
EXAMPLE = settings.PROJECT / "examples" / "machines"
NAMES = ("one", "two")
LEASE_S = 12
"""A machine that says nothing for so long is missed. It is 90 s otherwise: a demo's database answers at once."""
REVIEWER = "ann"
ONCE = kinds_of(PACKED, TESTED, VERDICT, QUESTION, APPROVAL, MERGED, OUTCOME)
"""What is on record once, however many machines worked on it."""
STARTS_WITHIN_S, LONGEST_S, LOOK_S = 480.0, 900.0, 0.3


class Machine:
    """Of the station: a home, a name, and processes that see no others."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.home = name, folder / name
        self._process: subprocess.Popen[bytes] | None = None

    def lockgate(self, *words: str, given: str = "") -> str:
        """One of our commands there, as a person types it; what it prints."""
        console.print(f"[dim]{self.name}$[/] lockgate {shlex.join(words)}")
        done = subprocess.run(
            [*_command(), *words], env=self._environment(), input=given, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise LockgateError(f"`lockgate {words[0]}` on {self.name} failed: {done.stdout}{done.stderr}".strip())
        return done.stdout

    def boot(self) -> None:
        """`lockgate up`, as what an init system would start."""
        console.print(f"[dim]{self.name}$[/] lockgate up")
        whose = ["--keep-caps", "--user", "--map-current-user"] if os.geteuid() else []
        apart = ["unshare", *whose, "--pid", "--fork", "--kill-child", "--mount-proc", "--uts"]
        named = ["sh", "-c", 'hostname "$0" && exec "$@"', self.name]
        (self.home / "run").mkdir(parents=True, exist_ok=True)
        with open(self.home / "run" / "supervisor.log", "ab") as log:
            self._process = subprocess.Popen(
                [*apart, *named, *_command(), "up", "--foreground"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Until it could take a task. Raises LockgateError if it cannot."""
        until = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < until and self._process and self._process.poll() is None:
            if (self.home / "run" / "ready").exists():
                return
            time.sleep(LOOK_S)
        raise LockgateError(f"{self.name} does not start: {(self.home / 'run' / 'supervisor.log').read_text()[-2000:]}")

    def die(self) -> None:
        """All that runs there gets SIGKILL in the same moment, by the kernel, as the first process there does. Safe to
        repeat."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _environment(self) -> dict[str, str]:
        told = {"LOCKGATE_HOME": str(self.home), "LOCKGATE_MACHINE": self.name, "LOCKGATE_RUN_LEASE_S": str(LEASE_S)}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "LOCKGATE_"))}
        tests = {name: value for name, value in os.environ.items() if name.startswith("LOCKGATE_TEST_")}
        return {**kept, **tests, **told}


def demo(interactive: bool) -> int:
    """Play it; the exit code of the outcome."""
    started, folder = time.monotonic(), home() / "machines"
    if folder.exists():  # one that was cut short
        Machine("station", folder).lockgate("down")
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True)
    with contextlib.ExitStack() as stack:
        station = _begin(folder, stack)
        at = _platform(folder, stack)
        _set_up(folder, at)
        token = station.lockgate("token", "add", REVIEWER, "--role", "review", "--days", "1").strip()
        machines = _join(folder, station, stack)
        outcome = _play(folder, machines, token, interactive)
        wrong = _proof(folder, outcome)
        if outcome.end is End.LIVE:
            with urllib.request.urlopen(f"{at}/goodbye", timeout=10) as said:  # noqa: S310 - our own, on loopback
                console.print(f"service   {at}/goodbye says {said.read().decode()}")
        for line in wrong or ("approved, merged and released once: so say ledger, repository and platform",):
            console.print(f"[red]not so:[/] {line}" if wrong else line)
        if interactive:
            console.input("Enter stops all of it ")
        console.print("all of it is stopped: machines, station, PostgreSQL, Redis")
    console.print(f"{time.monotonic() - started:.0f} s in all")
    return 1 if wrong else outcome.end.exit_code


def _begin(folder: Path, stack: contextlib.ExitStack) -> Machine:
    """PostgreSQL, Redis, and a station on them that runs no tasks; this process talks to it from here on."""
    console.print("[bold]Lockgate demo[/] on two machines: starting PostgreSQL, Redis and the station")
    try:  # not below the home: the user `postgres` cannot come there
        database = stack.enter_context(Postgres(Path(tempfile.mkdtemp(prefix="lockgate-demo-"))))
        redis = stack.enter_context(Redis(folder / "redis"))
    except ServerMissing as missing:
        raise InputError(str(missing)) from missing
    import psycopg

    with psycopg.connect(database.url, autocommit=True) as connection:
        for name in ("prefect", "ledger"):
            connection.execute(f"CREATE DATABASE {name}".encode())
    (folder / "database").touch(mode=0o600)
    (folder / "database").write_text(f"{database.url.rpartition('/')[0]}/prefect")
    (folder / "redis-url").write_text(redis.url)
    (folder / "ledger").touch(mode=0o600)
    (folder / "ledger").write_text(f"{database.url.rpartition('/')[0]}/ledger")
    station = Machine("station", folder)
    station.home.mkdir(mode=0o700)
    (station.home / "port").write_text(str(processes.free_port(settings.port() + 20)))
    stack.callback(lambda: station.lockgate("down"))
    shared = ("--database", str(folder / "database"), "--redis", str(folder / "redis-url"))
    station.lockgate("up", "--role", "server", "--role", "services", *shared)
    os.environ["LOCKGATE_HOME"] = str(station.home)
    settings.use(always=True)
    console.print(f"Prefect UI: {settings.url()} (credential in {home() / 'credentials' / 'api-credential'})")
    return station


def _platform(folder: Path, stack: contextlib.ExitStack) -> str:
    """What releases go to, which both machines reach by its commands; its public address. Whatever runs there is no
    machine's of ours: it goes on when one of them dies."""
    state, port = folder / "platform", free_port()
    state.mkdir()
    words = [sys.executable, str(EXAMPLE / "platform.py"), "serve", str(state), str(port)]
    platform = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)

    def end() -> None:
        os.killpg(platform.pid, signal.SIGKILL)
        platform.wait()

    stack.callback(end)
    return f"http://127.0.0.1:{port}"


def _set_up(folder: Path, at: str) -> None:
    """What two machines share: ledger, store, repository, target, agent."""
    from prefect.context import SyncClientContext
    from pydantic import SecretStr

    from blocks.agents.command import Command
    from blocks.ledger.ledger import Ledger
    from blocks.stores import LocalStore
    from blocks.targets.command.target import CommandTarget
    from blocks.targets.command.words import Commands
    from blocks.workshop import Workshop
    from domain.rollout import Rollout

    make_repository(folder / "hello.git", EXAMPLE / "repository")
    words = (sys.executable, str(EXAMPLE / "platform.py"), at, "{verb}", "{revision}", "{tree}")
    verbs = ("start", "address", "promote", "rollback", "current", "cleanup", "stop")
    target = CommandTarget(
        name="hello",
        root=folder / "targets",
        address=at,
        commands=Commands.model_validate(dict.fromkeys(verbs, words)),
        rollout=Rollout(share_s=1, bake_s=1),
    )
    with SyncClientContext.get_or_create():  # one client for all of it
        target.keep("hello")
        Command(command="/bin/sh /example/goodbye.sh 6", mounts={str(EXAMPLE): "/example"}).keep("goodbye")
        shop = Workshop.saved("default")
        shop.ledger = Ledger(url=SecretStr((folder / "ledger").read_text()))
        shop.store = LocalStore(root=folder / "store")
        shop.sandboxes = "bubblewrap"  # an engine's containers would outlive a machine of this demo
        shop.targets = {"hello": "command-target/hello"}
        shop.keep("default")
        shop.claim_store()


def _join(folder: Path, station: Machine, stack: contextlib.ExitStack) -> tuple[Machine, ...]:
    machines = tuple(Machine(name, folder) for name in NAMES)
    credential = str(station.home / "credentials" / "api-credential")
    for machine in machines:
        stack.callback(machine.die)
        console.print(machine.lockgate("join", settings.url(), "--credential-file", credential).strip())
        machine.boot()
    for machine in machines:
        machine.wait()
    return machines


def _play(folder: Path, machines: tuple[Machine, ...], token: str, interactive: bool) -> Outcome:
    """From the brief to its end; the machine that takes it is killed on the way."""
    from flows.briefs import read_brief
    from station.submit import run_url, submit

    brief = read_brief(EXAMPLE / "brief.toml", repository=str(folder / "hello.git"))
    run, took = submit(brief), []
    console.print(f"\nbrief submitted: [bold]{brief.title}[/]\nrun: {run_url(run)}\n")

    def kill() -> None:
        first = next(machine for machine in machines if machine.name == _runner(run))
        took.append(first.name)
        time.sleep(1)  # the agent is at work
        console.print(f"         [bold red]machine {first.name} dies[/]: each of its processes gets SIGKILL")
        first.die()

    def review() -> None:
        place = f"{settings.desk_url()}review/{run}"
        console.print(
            f"         machine {_runner(run)} went on with it, and has ended meanwhile: the review costs none"
        )
        if interactive:
            console.print(f"         review it at {place}\n         with the token of {REVIEWER}: {token}")
        else:
            console.print(f"         no terminal: {REVIEWER} signs in at {place}, and approves")
            _approve_at_desk(run, token)

    seen = _tell(run, {"plan": kill, "question": review})
    if seen is None:
        raise LockgateError(f"the run did not end in {LONGEST_S:.0f} s: {settings.url()} has its log")
    took.append(_runner(run))
    console.print(f"\n[bold]{seen.sentence}[/]\nmachine {took[0]} began it, and {took[-1]} ended it")
    return seen


def _tell(run: str, then: Mapping[str, Callable[[], None]]) -> Outcome | None:
    """Print what comes into the ledger, and do what belongs to the first of its kind; None if there is no end."""
    from station.status import ledger_of, say

    ledger, after, waiting = ledger_of(None), 0, dict(then)
    until = time.monotonic() + LONGEST_S
    while time.monotonic() < until:
        for entry in ledger.entries(run, after=after):
            after = entry.number
            say(entry)
            if entry.kind in waiting:
                waiting.pop(entry.kind)()
            if entry.kind == OUTCOME.kind:
                return Outcome.model_validate(entry.body)
        time.sleep(LOOK_S)
    return None


def _runner(run: str) -> str:
    """The machine that runs it, or ran it last."""
    from station import api

    return str(api.run(run)["labels"]["prefect.worker.name"])


def _approve_at_desk(run: str, token: str) -> None:
    """As a browser does: sign in, read the page, send its form. Raises LockgateError if the desk does not take it."""
    import httpx

    with httpx.Client(base_url=settings.door_url(), follow_redirects=True, timeout=60) as browser:
        page = browser.get("/desk/sign-in", params={"next": f"/desk/review/{run}"})
        page = browser.post("/desk/sign-in", data={**_hidden(page.text), "token": token})
        sent = browser.post(page.url, data={**_hidden(page.text), "decision": "approve", "comment": "goodbye it is"})
        if sent.status_code >= 400:
            raise LockgateError(f"the desk answered {sent.status_code}: {sent.text[:500]}")


def _hidden(page: str) -> dict[str, str]:
    """The fields of a page's last form that a person does not see."""
    form = page.rpartition("<form")[2]
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form))


def _proof(folder: Path, outcome: Outcome) -> list[str]:
    """What is not as it should be of a run that two machines worked on; nothing where all was done once."""
    from station.status import ledger_of

    kinds = Counter(entry.kind for entry in ledger_of(None).entries(outcome.run_id))
    wrong = [f"{kind} is on record {kinds[kind]} times" for kind in ONCE if kinds[kind] != 1]
    words = ["git", f"--git-dir={folder / 'hello.git'}", "log", "--format=%s", "main"]
    merges = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    if merges.count("Say goodbye") != 1:
        wrong.append(f"main has {merges}")
    calls = [json.loads(line) for line in (folder / "platform" / "calls").read_text().splitlines()]
    released = [call["revision"] for call in calls if call["verb"] == "promote"]
    if len(released) != len(set(released)):
        wrong.append(f"the platform released {released}")
    return wrong


def _command() -> list[str]:
    return [sys.executable, str(settings.PROJECT / "lockgate.py")]
