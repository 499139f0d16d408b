"""What holds of process, with real releases of a tiny service behind a real proxy.

What holds for every target is in test_targets.py.
"""

import errno
import json
import os
import pickle
import platform
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.fields import SecretDict
from uv import find_uv_bin

from blocks.host import processes
from blocks.targets.machine import confinement
from blocks.targets.machine.process import ProcessTarget
from domain.errors import TargetError
from domain.health import HealthCheck
from domain.ports import ReleaseBuild
from domain.rollout import Rollout
from domain.task import Release
from domain.trees import Tree, TreeEntry
from kits.servers import free_port
from kits.tiny_service import CANARY
from kits.users import Hammer, ask, until
from tests.contract.environments import processes_of as running
from tests.contract.shipping import bake, release, rollback
from tests.contract.workers import run_worker

QUICK = Rollout(shares=(), bake_s=1.0, interval_s=0.08, latency_floor_ms=20_000)
ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40
PROJECT = Path(__file__).parents[2]

SERVICE = """
import http.server, json, os, pathlib, sys, time
HEALTH = json.loads(pathlib.Path("health.json").read_text())
BORN = time.monotonic()
print("environment:", json.dumps(dict(os.environ)), flush=True)
if HEALTH.get("dies"):
    sys.exit("it cannot go on")
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        code, body = 200, {"releaseId": os.environ["RELEASE_ID"], "status": "pass"}
        if self.path == "/health":
            old = time.monotonic() - BORN
            if old > HEALTH.get("sick_after_s", 1e9):
                code, body = 503, {**body, "status": "fail", "output": "sick of " + os.environ.get("TOKEN", "it")}
            if old > HEALTH.get("exit_after_s", 1e9):
                os._exit(1)
        elif self.path == "/slow":
            time.sleep(0.5)
        elif self.path == "/broken":
            code = 500
        elif self.path.startswith("/read?"):
            try:
                body["read"] = pathlib.Path(self.path[6:]).read_bytes().decode(errors="replace")
            except OSError as err:
                body["read"] = None
        elif self.path == "/rows":
            import sqlite3
            rows = sqlite3.connect(os.environ["DATA_DIR"] + "/shop.db").execute("select * from rows").fetchall()
            body["rows"] = rows
        answer = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *arguments):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

MIGRATE = """
import os, pathlib, sqlite3
script = pathlib.Path("migrate.sql").read_text()
with sqlite3.connect(os.environ["DATA_DIR"] + "/shop.db", isolation_level=None) as database:
    for statement in script.split(";"):
        database.execute(statement)
exec(pathlib.Path("then.py").read_text())
"""


def tree_of(migration: str = "select 1", then: str = "", **health: Any) -> Tree:
    files = {
        "service.py": SERVICE,
        "health.json": json.dumps(health),
        "migrate.py": MIGRATE,
        "migrate.sql": migration,
        "then.py": then,
        "package/data file.txt": "bytes\r\n",
    }
    tree = {path: TreeEntry(0o100644, text.encode()) for path, text in files.items()}
    tree["package/start.sh"] = TreeEntry(0o100755, b"#!/bin/sh\n")
    tree["link"] = TreeEntry(0o120000, b"package/data file.txt")
    return tree


@pytest.fixture(scope="session")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment without a single package."""
    path = tmp_path_factory.mktemp("toolchains") / "plain"
    command = [find_uv_bin(), "venv", "--quiet", "--offline", "--python", sys.executable, str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def build(toolchain: Path) -> Any:
    """Makes builds: `build(sick_after_s=1)`."""

    def make(migrate: bool = False, migration: str = "select 1", then: str = "", **health: Any) -> ReleaseBuild:
        return ReleaseBuild(
            tree=tree_of(migration, then, **health),
            toolchain=toolchain,
            run="python service.py {port}",
            health=HealthCheck(),
            migrate_up="python migrate.py" if migrate else None,
            environment={"COLOUR": "blue"},
            previous=None,
        )

    return make


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessTarget]:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    target = ProcessTarget(
        name="shop",
        port=free_port(),
        environment={"SHOP": "here"},
        secrets=SecretDict({"TOKEN": CANARY}),
        rollout=QUICK,
        start_timeout_s=8,
        drain_s=0.6,
    )
    yield target
    target.stop()


def folder(target: ProcessTarget) -> Path:
    return target.root / target.name


def test_a_release_serves_and_is_seen_healthy(target: ProcessTarget, build: Any) -> None:
    made = release(target, ONE, None, build())
    health = bake(target, made)

    assert (made.problem, made.url, made.previous) == (None, f"http://127.0.0.1:{target.port}", None)
    assert ask(target) == (200, {"releaseId": ONE, "status": "pass"})
    assert (health.healthy, health.revision) == (True, ONE), health.reason
    assert health.observations >= 12
    assert target.current() == ONE
    assert target.artifact(ONE) == made.artifact
    assert all(line[2] == ":" and line[8] == "." for line in (*made.timeline, *health.timeline))
    assert any("started in a network of its own" in line for line in made.timeline)


def test_a_release_gets_the_environment_it_is_granted_and_no_other(
    target: ProcessTarget, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the worker")
    release(target, ONE, None, build())

    [pid] = running(target, ONE)
    words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    environment = dict(word.split("=", 1) for word in words if word)
    environment.pop("LOCKGATE_RELEASE")
    assert sorted(environment) == sorted(
        ["PATH", "HOME", "LANG", "PWD", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "RELEASE_ID", "PORT", "DATA_DIR",
         "COLOUR", "SHOP", "TOKEN"]
    )  # fmt: skip
    assert (environment["COLOUR"], environment["SHOP"], environment["TOKEN"]) == ("blue", "here", CANARY)
    assert (environment["HOME"], environment["DATA_DIR"]) == ("/tmp", "/data")


def test_errors_of_users_make_a_release_sick_that_calls_itself_healthy(target: ProcessTarget, build: Any) -> None:
    made = release(target, ONE, None, build())
    with Hammer(target, paths=("/broken", "/")):
        health = bake(target, made)

    assert not health.healthy
    assert "HTTP 5xx" in health.reason


def test_nothing_serves_after_it_is_restored_to_nothing(target: ProcessTarget, build: Any) -> None:
    release(target, ONE, None, build())

    assert rollback(target, None)
    assert rollback(target, None)
    assert ask(target)[0] == 503
    assert running(target, ONE) == []
    assert target.current() is None


def test_the_artifact_is_the_bytes_and_shows_a_change_of_them(target: ProcessTarget, build: Any) -> None:
    made = release(target, ONE, None, build())
    tree = folder(target) / "releases" / ONE / "tree"

    assert (tree / "package/data file.txt").read_bytes() == b"bytes\r\n"
    assert os.readlink(tree / "link") == "package/data file.txt"
    assert os.access(tree / "package/start.sh", os.X_OK)
    (tree / "service.py").write_text("print('changed')")
    assert target.artifact(ONE) not in (None, made.artifact)
    assert target.artifact(TWO) is None
    target.stop()
    with pytest.raises(TargetError, match="not those that were released"):
        target.ensure()


def test_a_port_in_use_is_named_before_anything_is_done(target: ProcessTarget, build: Any) -> None:
    with socket.create_server(("127.0.0.1", target.port)):
        problem = target.preflight()
        with pytest.raises(TargetError, match=f"port {target.port}"):
            release(target, ONE, None, build())

    assert problem is not None
    assert f"port {target.port}" in problem
    assert "give this target another port" in problem


def test_a_socket_that_is_about_to_be_closed_takes_no_port(target: ProcessTarget) -> None:
    """As the proxy's own does when it is killed: it has no name any more, and its sockets are open for a moment."""
    with socket.create_server(("127.0.0.1", target.port)) as closing:
        clock = threading.Timer(0.3, closing.close)
        clock.start()
        assert target.preflight() is None
        clock.join()


def test_a_proxy_that_is_killed_says_nothing_of_the_release_behind_it(target: ProcessTarget, build: Any) -> None:
    def kill(line: str = "the traffic goes to") -> None:
        if line.startswith("the traffic goes to"):
            [proxy] = processes.marked("run", "--config", str(folder(target) / "caddy.json"))
            os.kill(proxy.pid, signal.SIGKILL)

    release(target, ONE, None, build())
    made = release(target, TWO, ONE, build())
    watch = target.observe(TWO)
    for _ in range(3):
        kill()
        look = watch.look()
        assert look.problem is None and look.public.is_healthy, (look.problem, look.public.reason)
    watch.close()
    assert bake(target, made).healthy

    target.under(99, kill).rollback(ONE)
    assert target.current() == ONE


def test_what_is_removed_is_not_brought_back_by_whoever_watches_it(target: ProcessTarget, build: Any) -> None:
    release(target, ONE, None, build())
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            target.ensure()

    watchers = [threading.Thread(target=watch) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    try:
        target.remove()
        time.sleep(0.3)
        assert target.current() is None
        assert not (folder(target) / "releases" / ONE).exists()
        assert not running(target, ONE)
        target.remove()
        assert release(target, TWO, None, build()).problem is None
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()
    assert target.current() == TWO


def test_two_targets_do_not_share_a_port(target: ProcessTarget, build: Any) -> None:
    release(target, ONE, None, build())
    other = target.model_copy(update={"name": "other"})

    assert target.preflight() is None
    assert f"port {target.port}" in (other.preflight() or "")


def test_a_release_sees_nothing_of_the_host(target: ProcessTarget, build: Any, tmp_path: Path) -> None:
    secret = tmp_path / "home" / "secret.txt"
    secret.parent.mkdir(exist_ok=True)
    secret.write_text("of the platform")
    release(target, ONE, None, build())
    hidden = [secret, folder(target) / "releases" / ONE / "release.json", folder(target) / "caddy.json",
              Path("/etc/shadow"), Path("/etc/hostname"), Path.home() / ".bashrc", PROJECT / "pyproject.toml",
              Path("/var/lib/dpkg/status"), Path(f"/proc/{os.getpid()}/environ")]  # fmt: skip

    assert ask(target, "/read?/app/package/data%20file.txt")[1]["read"] is None  # not decoded: no such name
    assert ask(target, "/read?/app/migrate.sql")[1]["read"] == "select 1"
    assert {str(path): ask(target, f"/read?{path}")[1]["read"] for path in hidden} == dict.fromkeys(map(str, hidden))


CALLS = """
import ctypes, json, socket
call = ctypes.CDLL(None, use_errno=True).syscall
said = {}
for name, number in {"add_key": 248, "keyctl": 250, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425}.items():
    ctypes.set_errno(0)
    call(number, 0, 0, 0, 0, 0)
    said[name] = ctypes.get_errno()
for family in (40, 38, 17):  # AF_VSOCK, AF_ALG, AF_PACKET
    try:
        socket.socket(family, socket.SOCK_STREAM)
        said[str(family)] = 0
    except OSError as err:
        said[str(family)] = err.errno
status = open("/proc/self/status").read()
print(json.dumps([said, "Seccomp:\\t2" in status]))
"""


def test_what_is_confined_has_the_system_calls_of_a_sandbox(target: ProcessTarget, build: Any, tmp_path: Path) -> None:
    """Migrations and trials by way of `run`, releases by way of `start`."""
    log = tmp_path / "log"
    ran = confinement.run(["/usr/bin/python3", "-c", CALLS], [], {"A": "b"}, network=False, timeout_s=60)
    confinement.start(
        ["/usr/bin/python3", "-c", CALLS], [], {"A": "b"}, network=True, mark="lockgate-test-calls", log=log
    )
    until(lambda: log.exists() and "]" in log.read_text())
    for said, is_filtered in map(json.loads, (ran.output, log.read_text())):
        assert is_filtered
        numbers = {name: number for name, number in said.items() if not name.isdigit()}
        assert platform.machine() != "x86_64" or numbers == dict.fromkeys(numbers, errno.ENOSYS)
        assert {said[family] for family in ("40", "38", "17")} == {errno.EAFNOSUPPORT}


def test_a_secret_reaches_the_release_and_nothing_else(target: ProcessTarget, build: Any) -> None:
    release(target, ONE, None, build())
    made = release(target, TWO, ONE, build(sick_after_s=0.4))
    health = bake(target, made)
    timeline = rollback(target, ONE)

    argvs = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [argv for argv in argvs if CANARY.encode() in argv]
    holding = [path for path in folder(target).rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert {path.name for path in holding} <= {"log"}, "this service prints its whole environment into its own log"
    said = [
        repr(made),
        repr(health),
        repr(timeline),
        repr(target),
        target.logs(ONE),
        target.logs(TWO),
    ]
    assert not [text for text in said if CANARY in text]
    assert "[TOKEN]" in target.logs(ONE)
    assert "[TOKEN]" in health.log_tail


def test_a_preload_in_the_environment_does_nothing_on_the_host(target: ProcessTarget, build: Any) -> None:
    built = build()._replace(environment={"LD_PRELOAD": "/app/evil.so", "BASH_ENV": "/app/evil", "ENV": "/app/evil"})
    made = release(target, ONE, None, built)

    log = target.logs(ONE)
    assert made.problem is None
    assert "LD_PRELOAD" in log
    assert "unshare" not in log
    assert "bwrap" not in log


def test_a_log_is_cut_when_it_has_grown_too_long(target: ProcessTarget, build: Any) -> None:
    release(target, ONE, None, build())
    log = folder(target) / "releases" / ONE / "log"
    with log.open("ab") as file:
        file.write(b"line of a log\n" * 500_000 + b"last line\n")

    target.ensure()

    assert log.stat().st_size <= 1_000_000
    assert target.logs(ONE).endswith("last line\n")


def test_old_releases_are_stopped_and_the_oldest_forgotten(target: ProcessTarget, build: Any) -> None:
    made, revisions = build(), [str(number) * 40 for number in range(1, 6)]
    for previous, revision in zip([None, *revisions], revisions, strict=False):
        assert release(target, revision, previous, made).problem is None

    kept = sorted(path.name for path in (folder(target) / "releases").iterdir())
    assert kept == revisions[-3:]
    assert [len(running(target, revision)) for revision in revisions] == [0, 0, 0, 1, 1]
    rollback(target, revisions[2])
    assert target.current() == revisions[2]
    assert [len(running(target, revision)) for revision in revisions] == [0, 0, 1, 0, 0]
    with pytest.raises(TargetError, match="release it again"):
        rollback(target, revisions[0])


def test_going_back_to_what_cannot_serve_is_an_error_and_moves_nothing(target: ProcessTarget, build: Any) -> None:
    quick = target.model_copy(update={"start_timeout_s": 1.5})
    release(quick, ONE, None, build(sick_after_s=1))
    release(quick, TWO, ONE, build())
    (folder(quick) / "releases" / ONE / "tree" / "health.json").write_text('{"dies": true}')
    time.sleep(1)

    with pytest.raises(TargetError, match="cannot serve"):
        rollback(quick, ONE)

    assert quick.current() == TWO


ONE_ROW = "insert into rows select 1 where not exists (select * from rows)"

WORKER = """
import os, pickle, signal, sys
from blocks.targets.machine.caddy import Caddy
from blocks.targets.machine.confinement import start
from blocks.targets.machine.migration import Migration
from blocks.targets.releases import ReleaseDirectory
from blocks.targets.machine.process import ProcessTarget
from prefect.blocks.fields import SecretDict
from tests.contract.shipping import release
import blocks.ledger.ledger, blocks.targets.machine.confinement, blocks.targets.machine.service
fields, revision, previous, build, moment = pickle.load(sys.stdin.buffer)
target = ProcessTarget(**fields, secrets=SecretDict({"TOKEN": "abcdef"}))
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def die_after(owner, name):
    real = getattr(owner, name)
    def then_die(*args, **kwargs):
        real(*args, **kwargs)
        die()
    setattr(owner, name, then_die)
def die_on_the_data(after):
    real = Migration._apply
    def apply(self, command, data, network):
        if network and not after:
            die()
        if reason := real(self, command, data, network):
            return reason
        if network:
            die()
    Migration._apply = apply
match moment:
    case "after the proxy started": die_after(Caddy, "ensure")
    case "while the tree is written": blocks.targets.machine.service.write_tree = die
    case "after the tree": die_after(blocks.targets.machine.service, "write_tree")
    case "in the rehearsal": Migration._apply = die
    case "after the rehearsal": die_after(Migration, "_rehearse")
    case "before the data is migrated": die_on_the_data(False)
    case "after the data is migrated": die_on_the_data(True)
    case "before the process starts": blocks.targets.machine.confinement.start = die
    case "after the process started": die_after(blocks.targets.machine.confinement, "start")
    case "before a share": Caddy.share = die
    case "after a share": die_after(Caddy, "share")
    case "before a share is on record": blocks.ledger.ledger.Ledger.record = die
    case "after a share is on record": die_after(blocks.ledger.ledger.Ledger, "record")
    case "before the switch": Caddy.point = die
    case "after the switch": die_after(Caddy, "point")
    case "before the old ones stop": ProcessTarget.cleanup = die
release(target, revision, previous, build)
"""


MOMENTS = [
    "after the proxy started",
    "while the tree is written",
    "after the tree",
    "in the rehearsal",
    "after the rehearsal",
    "before the data is migrated",
    "after the data is migrated",
    "before the process starts",
    "after the process started",
    "before a share",
    "after a share",
    "before a share is on record",
    "after a share is on record",
    "before the switch",
    "after the switch",
    "before the old ones stop",
]


def test_a_worker_that_is_killed_is_followed_by_another(target: ProcessTarget, build: Any) -> None:
    """One release. Each worker goes on from what the one before it left, and is killed a moment later."""
    target = target.model_copy(update={"rollout": QUICK.model_copy(update={"shares": (10, 50), "share_s": 0.2})})
    release(target, ONE, None, build(migrate=True, migration="create table rows (n int)"))
    fields = target.model_dump(exclude={"secrets", "block_type_slug"})
    with Hammer(target) as users:
        for moment in MOMENTS:
            given = pickle.dumps((fields, TWO, ONE, build(migrate=True, migration=ONE_ROW), moment))
            killed = run_worker(WORKER, given)
            assert killed.exit_code == -signal.SIGKILL, f"{moment}: {killed.said}"
            assert ask(target, "/")[1]["releaseId"] in (ONE, TWO), moment
            assert users.failures == [], moment
            assert (len(running(target, ONE)), len(running(target, TWO)) <= 1) == (1, True), moment
        made = release(target, TWO, ONE, build(migrate=True, migration=ONE_ROW))

    assert made.problem is None
    assert users.failures == []
    assert target.current() == TWO
    assert ask(target, "/rows")[1]["rows"] == [[1]]
    assert (len(running(target, ONE)), len(running(target, TWO))) == (1, 1)


def test_proxy_and_release_outlive_the_worker(target: ProcessTarget, build: Any) -> None:
    fields = target.model_dump(exclude={"secrets", "block_type_slug"})
    given = pickle.dumps((fields, ONE, None, build(), "before the old ones stop"))
    worker = run_worker(WORKER, given)

    assert worker.exit_code == -signal.SIGKILL, worker.said
    assert ask(target) == (200, {"releaseId": ONE, "status": "pass"})
    assert target.preflight() is None
    assert target.ensure() == ()


def rows(target: ProcessTarget) -> list[Any]:
    with sqlite3.connect(folder(target) / "data" / "shop.db") as database:
        return database.execute("select n from rows order by n").fetchall()


def test_data_is_migrated_and_the_data_before_is_kept(target: ProcessTarget, build: Any) -> None:
    made = build(migrate=True, migration="create table rows (n int); insert into rows values (1)")
    release(target, ONE, None, made)
    release(target, TWO, ONE, build(migrate=True, migration="insert into rows values (2)"))
    release(target, TWO, ONE, build(migrate=True, migration="insert into rows values (2)"))

    assert rows(target) == [(1,), (2,)]
    with sqlite3.connect(folder(target) / "releases" / TWO / "backup" / "shop.db") as before:
        assert before.execute("select n from rows").fetchall() == [(1,)]


def test_a_migration_that_fails_in_rehearsal_changes_nothing(target: ProcessTarget, build: Any) -> None:
    release(target, ONE, None, build(migrate=True, migration="create table rows (n int)"))
    data = folder(target) / "data"
    before = {path.name: path.read_bytes() for path in data.iterdir()}

    made = release(target, TWO, ONE, build(migrate=True, migration="insert into rows values (2); nonsense"))

    assert "failed in rehearsal" in (made.problem or "")
    assert "nonsense" in (made.problem or "")
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before
    assert ask(target)[1]["releaseId"] == ONE
    assert running(target, TWO) == []


FAILS_ON_THE_DATA_ITSELF = """
import os
if os.path.exists("/run/lockgate-relay.py"): raise SystemExit("only where there is a network")
"""


def test_a_migration_that_fails_on_the_data_itself_is_undone(target: ProcessTarget, build: Any) -> None:
    release(target, ONE, None, build(migrate=True, migration="create table rows (n int)"))
    bad = build(migrate=True, migration="insert into rows values (7)", then=FAILS_ON_THE_DATA_ITSELF)

    made = release(target, TWO, ONE, bad)

    assert "the databases were brought back" in (made.problem or "")
    assert "only where there is a network" in (made.problem or "")
    assert rows(target) == []
    assert ask(target, "/rows")[1]["rows"] == []
    assert ask(target)[1]["releaseId"] == ONE


def test_a_first_migration_that_fails_leaves_no_database(target: ProcessTarget, build: Any) -> None:
    bad = build(migrate=True, migration="create table rows (n int)", then=FAILS_ON_THE_DATA_ITSELF)

    assert release(target, ONE, None, bad).problem
    assert list((folder(target) / "data").iterdir()) == []
    assert release(target, TWO, None, build(migrate=True, migration="create table rows (n int)")).problem is None


def test_the_rehearsal_has_no_network(target: ProcessTarget, build: Any) -> None:
    then = f"import socket; socket.create_connection(('127.0.0.1', {target.port}), timeout=2)"
    made = release(target, ONE, None, build(migrate=True, then=then))

    assert "failed in rehearsal" in (made.problem or "")


def test_a_release_that_calls_itself_like_another_is_not_ended_for_it(target: ProcessTarget, build: Any) -> None:
    release(target, ONE, None, build())
    mark = target._releases.place(TWO).mark
    spoof = f"import os, sys\nif sys.argv[2:] == []: os.execv(sys.executable, [sys.executable, *sys.argv, {mark!r}])\n"
    made = build()
    made.tree["service.py"] = TreeEntry(0o100644, (spoof + SERVICE).encode())
    release(target, THREE, ONE, made)

    [pid] = running(target, THREE)
    assert mark in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    assert processes.marked(mark) == ()
    assert not processes.end(mark, grace_s=0.1)
    assert running(target, THREE) == [pid]


def test_a_sentence_for_each_line_of_a_release(target: ProcessTarget, build: Any) -> None:
    made: Release = release(target, ONE, None, build())

    words = [line.split(" ", 1)[1] for line in made.timeline]
    assert [line.rstrip("0123456789") for line in words] == [
        f"proxy started at 127.0.0.1:{target.port}".rstrip("0123456789"),
        f"artifact {made.artifact[:12]} written, 8 files",
        "started in a network of its own, from where it reaches nothing",
        "healthy in private",
        f"the traffic goes to releases/{ONE}/http.sock",
    ]
