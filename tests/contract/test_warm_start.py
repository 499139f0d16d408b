"""A flow run that is a fork: it is what its client stands for, dies with it, and there are never two."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows import processes

PROJECT = Path(__file__).resolve().parents[2]
ZYGOTE = f"""
import json, os, pathlib, random, signal, sys, tempfile, threading, time
sys.path.insert(0, {str(PROJECT)!r})
from station.warm import on_disk, zygote

on_disk.PROJECT = pathlib.Path(sys.argv[1])  # the code that it looks at

def act():
    if os.environ.get("WRITES"):
        pathlib.Path(os.environ["WRITES"]).write_text(str(os.getpid()))
    exec(os.environ["DOES"], globals())

zygote.main(lambda: exec(os.environ.get("IMPORTS", ""), globals()), act)
"""


class Machine:
    """A home with a zygote in it, whose flow runs do what the variable DOES says."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.code = folder / "code"
        for part in ("domain", "blocks", "tasks", "flows", "station"):
            (self.code / part).mkdir(parents=True)
        self.zygote: subprocess.Popen[bytes] | None = None

    def start(self, **env: str) -> "Machine":
        self.log = (self.home.parent / "log").open("ab")
        self.zygote = subprocess.Popen(
            [sys.executable, "-c", ZYGOTE, str(self.code)],
            env={**os.environ, "LOCKGATE_HOME": str(self.home), "ONLY_THE_ZYGOTES": "1", **env},
            stdout=self.log, stderr=self.log,
        )  # fmt: skip
        wait_for(lambda: b"ready" in (self.home.parent / "log").read_bytes())
        return self

    def stop(self) -> None:
        if self.zygote and self.zygote.poll() is None:
            self.zygote.kill()
        if self.zygote:
            self.zygote.wait()

    def client(self, does: str, run: str = "run", patience_s: float = 30, **env: str) -> "subprocess.Popen[str]":
        """What the worker starts."""
        client = str(PROJECT / "station" / "warm" / "client.py")
        given = {"LOCKGATE_HOME": str(self.home), "DOES": does, "PREFECT__FLOW_RUN_ID": run, "PATH": os.environ["PATH"]}
        return subprocess.Popen(
            [sys.executable, "-I", "-S", client, str(self.home / "run"), str(patience_s)],
            env={**given, **env}, cwd=PROJECT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def begun(self, run: str = "run") -> int:
        """The pid of a run, once it is noted."""
        path = self.home / "run" / "flow-runs" / f"{run}.json"
        wait_for(path.exists)
        return int(json.loads(path.read_text())["pid"])


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    made.home.mkdir()
    yield made
    made.stop()


def wait_for(truth: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not truth():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.02)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_fork_is_what_its_client_was_started_as(machine: Machine) -> None:
    machine.start()
    tells = (
        "print(json.dumps([dict(os.environ), os.getcwd(), sys.stdin.read(), random.random(), threading.active_count(),"
        " tempfile.gettempdir(), [signal.getsignal(n) == signal.SIG_DFL for n in (signal.SIGTERM, signal.SIGCHLD)]]));"
        "print('on stderr', file=sys.stderr)"
    )
    temporary = machine.home.parent / "tmp"
    temporary.mkdir()
    numbers = set()
    for run in ("one", "two"):
        done = machine.client(tells, run, TMPDIR=str(temporary), SAID="a=b\nc")
        said, errors = done.communicate("given on stdin", timeout=60)
        env, folder, read, number, threads, chosen, signals = json.loads(said)
        assert (env["SAID"], env["PREFECT__FLOW_RUN_ID"], env["TMPDIR"]) == ("a=b\nc", run, str(temporary))
        assert "ONLY_THE_ZYGOTES" not in env
        assert (folder, read, threads, chosen) == (str(PROJECT), "given on stdin", 1, str(temporary))
        assert signals == [True, True]
        assert (errors, done.returncode) == ("on stderr\n", 0)
        numbers.add(number)
    assert len(numbers) == 2, "each fork has chance of its own"
    assert machine.zygote
    opened = {os.readlink(f"/proc/{machine.zygote.pid}/fd/{n}") for n in os.listdir(f"/proc/{machine.zygote.pid}/fd")}
    assert sum(name.startswith("socket:") for name in opened) == 1, "it holds nothing but what it listens on"


@pytest.mark.parametrize(
    ("does", "code"),
    [
        ("pass", 0),
        ("sys.exit(7)", 7),
        ("raise ValueError", 1),
        ("os._exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    ],
)
def test_its_end_is_the_clients_end(machine: Machine, does: str, code: int) -> None:
    client = machine.start().client(does)
    client.communicate(timeout=60)
    assert client.returncode == code


def test_signals_reach_the_run(machine: Machine) -> None:
    machine.start()
    client = machine.client(
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9)); print('set', flush=True); time.sleep(99)"
    )
    assert client.stdout and client.stdout.readline() == "set\n"
    client.terminate()
    client.communicate(timeout=60)
    assert client.returncode == 9


def test_a_run_is_found_by_its_id_while_it_lives(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(machine.home))
    run = f"run-{random.randrange(10**9)}"
    assert not processes.has_process(run)
    client = machine.start().client("time.sleep(99)", run)
    pid = machine.begun(run)
    note = json.loads((machine.home / "run" / "flow-runs" / f"{run}.json").read_text())
    assert note == {"pid": pid, "started": processes.started(pid)}
    assert processes.has_process(run)
    os.kill(pid, signal.SIGKILL)
    client.communicate(timeout=60)
    assert not processes.has_process(run)
    processes.note(run, os.getpid())
    (machine.home / "run" / "flow-runs" / f"{run}.json").write_text(json.dumps({"pid": os.getpid(), "started": 1}))
    assert not processes.has_process(run), "another process has its pid by now"
    processes.note(run, os.getpid())
    processes.forget(run, pid)
    assert processes.has_process(run), "an earlier process of the run, which ends late, forgets its own note alone"


def test_a_run_dies_with_its_client_though_nobody_else_can_act(machine: Machine) -> None:
    machine.start()
    client = machine.client("time.sleep(99)")
    pid = machine.begun()
    assert machine.zygote
    keeper = parent_of(pid)
    for stopped in (machine.zygote.pid, keeper):
        os.kill(stopped, signal.SIGSTOP)
    client.kill()
    client.communicate(timeout=60)
    wait_for(lambda: processes.started(pid) is None)
    os.kill(keeper, signal.SIGKILL)


def test_a_run_dies_with_its_keeper_and_its_client_says_killed(machine: Machine) -> None:
    client = machine.start().client("print('on', flush=True); time.sleep(99)")
    pid = machine.begun()
    assert client.stdout and client.stdout.readline() == "on\n"
    os.kill(parent_of(pid), signal.SIGKILL)
    client.communicate(timeout=60)
    assert client.returncode == -signal.SIGKILL
    wait_for(lambda: processes.started(pid) is None)


def test_a_run_outlives_its_zygote_and_the_next_starts_by_itself(machine: Machine) -> None:
    client = machine.start().client("sys.stdin.read(); sys.exit(5)")
    machine.begun()
    machine.stop()
    client.communicate("go on", timeout=60)
    assert client.returncode == 5
    assert_it_ran_by_itself(machine.client("print('forked')"))


def test_no_zygote_no_fork(machine: Machine) -> None:
    (machine.home / "run").mkdir()
    assert_it_ran_by_itself(machine.client("print('forked')"))


def test_a_zygote_whose_code_has_changed_steps_aside(machine: Machine) -> None:
    module = machine.code / "flows" / "pipeline.py"
    module.write_text("x = 1\n")
    machine.start()
    client = machine.client("print('forked')")
    assert client.communicate(timeout=60)[0] == "forked\n"
    (machine.home / "link.py").hardlink_to(module)  # as an installation of the same package elsewhere does
    module.touch()
    client = machine.client("print('forked')", "two")
    assert client.communicate(timeout=60)[0] == "forked\n", "no word of it is another"
    seen = module.stat()
    module.write_text("x = 2\n")
    os.utime(module, ns=(seen.st_atime_ns, seen.st_mtime_ns))  # as a copy that keeps times would
    assert_it_ran_by_itself(machine.client("print('forked')"))
    assert machine.zygote and machine.zygote.wait(timeout=60) == 0


def test_a_zygote_with_threads_is_not_forked(machine: Machine) -> None:
    machine.start(IMPORTS="threading.Thread(target=time.sleep, args=(99,), daemon=True).start()")
    assert_it_ran_by_itself(machine.client("print('forked')"))


def test_a_zygote_that_hangs_is_not_waited_for_and_starts_nothing_afterwards(machine: Machine) -> None:
    written = machine.home.parent / "written"
    machine.start()
    assert machine.zygote
    machine.zygote.send_signal(signal.SIGSTOP)
    assert_it_ran_by_itself(machine.client("pass", patience_s=0.2, WRITES=str(written)))
    machine.zygote.send_signal(signal.SIGCONT)
    client = machine.client("print('forked')")  # asked after the other
    assert client.communicate(timeout=60)[0] == "forked\n"
    assert not written.exists()


def assert_it_ran_by_itself(client: "subprocess.Popen[str]") -> None:
    """Not as a fork, which would say so: as a Python of its own, that knows no flow without a name."""
    said, errors = client.communicate(timeout=60)
    assert (said, client.returncode) == ("", 1)
    assert "there is no flow '' in Lockgate" in errors
