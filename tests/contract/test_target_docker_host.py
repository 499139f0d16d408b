"""What holds of docker_host alone, with real containers: its image, its secrets, its limits, and its engine's troubles.

What holds for every target is in test_targets.py.
"""

import contextlib
import json
import os
import pickle
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound
from websockets.sync.client import connect

from blocks.host.docker import Engine
from blocks.targets.machine import release_image, sealed
from blocks.targets.machine.containers import user
from blocks.targets.machine.docker_host import DockerHostTarget
from blocks.targets.releases import Releases
from domain.errors import TargetError
from domain.ports import ReleaseBuild
from domain.trees import TreeEntry
from kits.tiny_service import CANARY, tiny_build
from kits.users import READS_AND_WRITES, Hammer, ask, until
from tests.contract.docker_host import (
    container,
    docker_target,
    engine_that_publishes,
    own_engine,
    remove,
    service,
)
from tests.contract.workers import run_worker

ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40
ROWS = "create table if not exists rows (n int)"


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerHostTarget]:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    with docker_target(tmp_path / "targets", engine_that_publishes()) as target:
        yield target


def begin(target: DockerHostTarget, revision: str, build: ReleaseBuild) -> str | None:
    target.prepare(revision, build)
    return target.migrate(revision) or target.start(revision)


def deploy(target: DockerHostTarget, revision: str, build: ReleaseBuild | None = None) -> None:
    before = target.pointed()
    assert begin(target, revision, (build or tiny_build())._replace(previous=before)) is None
    target.promote(revision)
    target.cleanup({one for one in (revision, before) if one})


# ── image ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_commit_is_the_same_image_and_made_once(
    target: DockerHostTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, load = list[str](), release_image._load

    def counted(*given: Any) -> str:
        made.append(given[-1])
        return load(*given)

    monkeypatch.setattr(release_image, "_load", counted)

    first, again = target.prepare(ONE, tiny_build()), target.prepare(ONE, tiny_build())
    assert (len(made), first[:7]) == (1, "sha256:")
    service(target, ONE).forget()
    assert Engine.at(target.socket).image(first) is None
    anew = target.prepare(ONE, tiny_build())

    assert (again, anew, len(made)) == (first, first, 2)
    assert target.prepare(TWO, tiny_build()) != first, "the revision is in it"
    assert target.prepare(THREE, tiny_build(note="other bytes")) != first


def test_the_artifact_is_the_image_of_what_runs(target: DockerHostTarget) -> None:
    artifact = target.prepare(ONE, tiny_build())
    assert target.artifact(ONE) == artifact
    target.start(ONE)
    found = container(target, ONE)

    assert found is not None
    assert target.artifact(ONE) == found["Image"] == artifact
    assert target.artifact(TWO) is None


def test_an_image_that_was_built_for_the_commit_is_taken(
    target: DockerHostTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the step does that builds the artifact; another build's image of that name is not."""
    engine = Engine.at(target.socket)
    with docker_target(target.root / "other", str(target.socket), name="other") as other:
        artifact = other.prepare(ONE, tiny_build())
        engine.tag(artifact, f"lockgate-release:{ONE}")
        engine.untag(service(other, ONE).tag)
    try:
        assert engine.image(service(target, ONE).tag) is None
        load = release_image._load
        monkeypatch.setattr(release_image, "_load", None)
        assert target.prepare(ONE, tiny_build()) == artifact
        monkeypatch.setattr(release_image, "_load", load)
        assert target.prepare(ONE, tiny_build(note="other bytes")) != artifact
    finally:
        engine.untag(f"lockgate-release:{ONE}")


def test_a_release_whose_image_was_removed_says_so(target: DockerHostTarget) -> None:
    deploy(target, ONE)
    deploy(target, TWO)
    service(target, ONE).stop()
    Engine.at(target.socket).remove(container(target, ONE)["Id"])  # type: ignore[index]
    Engine.at(target.socket).untag(service(target, ONE).tag)

    with pytest.raises(TargetError, match="no longer there: release it again"):
        target.rollback(ONE)
    assert ask(target)[1]["releaseId"] == TWO


def test_a_toolchain_that_a_container_could_not_see_is_refused(target: DockerHostTarget) -> None:
    with pytest.raises(TargetError, match="keep it elsewhere"):
        target.prepare(ONE, tiny_build()._replace(toolchain=Path("/tmp/toolchain")))


# ── confinement and secrets ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_release_is_nobody_and_may_write_to_its_data_and_tmp_alone(target: DockerHostTarget) -> None:
    deploy(target, ONE)

    seen = ask(target, "/self")[1]
    status = seen["status"]
    assert seen["writable"] == ["/tmp", "/data"]
    assert status["Uid"].split() == [str(user())] * 4 != ["0"] * 4
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_a_release_has_limits(target: DockerHostTarget) -> None:
    small = target.model_copy(update={"memory_mb": 96, "cpus": 0.5, "processes": 50})
    deploy(small, ONE)

    found = container(target, ONE)
    assert found is not None
    config = found["HostConfig"]
    assert (config["Memory"], config["MemorySwap"]) == (96 << 20, 96 << 20)
    assert (config["NanoCpus"], config["PidsLimit"], config["ReadonlyRootfs"]) == (5 * 10**8, 50, True)
    assert config["PortBindings"] == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port_of(target, ONE))}]}


def port_of(target: DockerHostTarget, revision: str) -> int | None:
    return target._releases.place(revision).get().port


def test_a_secret_reaches_the_release_and_nothing_else(target: DockerHostTarget, tmp_path: Path) -> None:
    said: list[str] = []
    mine = target.under(1, said.append)
    deploy(mine, ONE, tiny_build(ROWS))
    problem = begin(mine, TWO, tiny_build(dies=True))
    api = Engine.at(target.socket).api

    assert json.loads(service(target, ONE).tail().partition("environment: ")[2].splitlines()[0])["TOKEN"] == CANARY
    shown = [api.inspect_container(container(target, one)["Id"]) for one in (ONE, TWO)]  # type: ignore[index]
    shown += [api.inspect_image(service(target, one).tag) for one in (ONE, TWO)]
    shown += [api.history(service(target, one).tag) for one in (ONE, TWO)]
    shown += [api.top(container(target, ONE)["Id"]), api.info(), list(api.events(since=0, until=int(time.time())))]  # type: ignore[index]
    shown += [target.evidence(ONE), target.evidence(TWO), target.logs(ONE), target.logs(TWO), problem, said, repr(mine)]
    assert CANARY not in repr(shown)
    assert "[TOKEN]" in target.logs(ONE)
    argvs = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [argv for argv in argvs if CANARY.encode() in argv]
    on_disk = [path for path in tmp_path.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert on_disk == []


def test_secrets_lie_in_memory_for_as_long_as_a_release_runs(target: DockerHostTarget) -> None:
    deploy(target, ONE)
    file = sealed._folder(target._releases.place(ONE).mark) / "environment"
    kind = subprocess.run(["stat", "-f", "-c", "%T", file], capture_output=True, text=True, check=True).stdout.strip()

    info = file.stat()
    assert (kind, info.st_mode & 0o777, info.st_uid) == ("tmpfs", 0o400, user())
    assert file.parent.parent.stat().st_mode & 0o777 == 0o700
    target.stop()
    assert not file.exists()


@pytest.mark.parametrize("value", ["two\nlines", 'it\'s $HOME `id` "quoted" \\', "ü and \t", ""])
def test_a_value_arrives_as_it_is(target: DockerHostTarget, value: str) -> None:
    odd = target.model_copy(update={"environment": {"ODD": value, "RELEASE_ID": "another"}})
    deploy(odd, ONE)

    said = json.loads(service(target, ONE).tail().partition("environment: ")[2].splitlines()[0])
    assert (said["ODD"], said["RELEASE_ID"]) == (value, ONE)


# ── starts and ends ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"dies": True}, "ended with exit code 1"),
        ({"run": "no-such-program"}, "ended with exit code 127"),
        ({"sick_after_s": 0}, "not healthy within 3 s: status fail: 'sick of [TOKEN]'"),
        ({"eats": 500}, "ran out of memory (memory_mb is 128)"),
        ({"run": "python service.py 127.0.0.1 {port}"}, "let it listen on {host} or $HOST"),
        ({"run": "python service.py {host} 9999"}, "not listen on port 8000, which {port} and $PORT name, but on 9999"),
    ],
    ids=["exits", "no program", "sick", "out of memory", "loopback", "another port"],
)
def test_a_release_that_never_starts_gets_no_traffic_and_says_why(
    target: DockerHostTarget, how: dict[str, Any], reason: str
) -> None:
    quick = target.model_copy(update={"start_timeout_s": 3})
    deploy(quick, ONE)
    with Hammer(quick, READS_AND_WRITES) as users:
        problem = begin(quick, TWO, tiny_build(**how))

    assert problem is not None
    assert reason in problem
    assert "the end of its log" in problem
    assert (users.failures, set(users.releases)) == ([], {ONE})
    assert not service(quick, TWO).is_running()
    assert quick.evidence(TWO)["state"] == "exited"


@pytest.mark.parametrize(
    ("path", "reason"), [("/exit", "ended with exit code 3"), ("/eat", "ran out of memory")], ids=["exits", "memory"]
)
def test_a_release_that_ends_is_started_again_and_it_is_seen(target: DockerHostTarget, path: str, reason: str) -> None:
    deploy(target, ONE)
    watch = target.observe(ONE)
    assert watch.look().problem is None
    assert ask(target, path)[0] == 502

    problem = until(lambda: watch.look().problem)
    assert reason in problem
    assert until(lambda: ask(target)[0] == 200), "the engine has started it again"
    again = watch.look().problem or ""
    assert reason in again and "started it again" in again
    assert target.evidence(ONE)["restarts"] == 1
    assert target.observe(ONE).look().problem is None, "a window sees what happens in it"
    watch.close()


@pytest.mark.parametrize("run", ["python service.py {host} {port}", "true; python service.py {host} {port}; true",
                                 "exec python service.py {host} {port}"])  # fmt: skip
def test_a_release_hears_that_it_shall_stop(target: DockerHostTarget, run: str) -> None:
    deploy(target, ONE, tiny_build(run=run))
    service(target, ONE).stop()

    assert target.evidence(ONE)["exit_codes"] == [0], "its own handler of SIGTERM has run"


def test_a_port_that_was_taken_meanwhile_is_left_for_another(
    target: DockerHostTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        ports = iter([somebody.getsockname()[1], somebody.getsockname()[1]])
        free = Releases.free_port
        monkeypatch.setattr(Releases, "free_port", lambda self: next(ports, None) or free(self))
        deploy(target, ONE)

        assert port_of(target, ONE) != somebody.getsockname()[1]
        assert ask(target)[1]["releaseId"] == ONE
        assert container(target, ONE) is not None


def test_a_release_comes_back_at_the_port_that_it_had(target: DockerHostTarget) -> None:
    deploy(target, ONE)
    port = port_of(target, ONE)
    target.stop()

    assert any("started on port" in line for line in target.ensure())
    assert (port_of(target, ONE), ask(target)[1]["releaseId"]) == (port, ONE)


# ── traffic ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_websocket_outlives_a_switch_and_the_way_back(target: DockerHostTarget) -> None:
    deploy(target, ONE)
    with connect(f"ws://127.0.0.1:{target.port}/socket", close_timeout=0.2) as old:
        deploy(target, TWO)
        old.send("?")
        assert old.recv() == ONE
        with connect(f"ws://127.0.0.1:{target.port}/socket", close_timeout=0.2) as new:
            new.send("?")
            assert new.recv() == TWO
        target.rollback(ONE)
        old.send("?")
        assert old.recv() == ONE


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def rows(target: DockerHostTarget) -> list[Any]:
    with sqlite3.connect(target.root / target.name / "data" / "shop.db") as database:
        return database.execute("select n from rows order by n").fetchall()


def test_data_is_migrated_in_containers_of_the_release(target: DockerHostTarget) -> None:
    deploy(target, ONE, tiny_build(f"{ROWS}; insert into rows values (1)"))
    deploy(target, TWO, tiny_build("insert into rows values (2)"))

    assert rows(target) == [(1,), (2,)]
    assert ask(target, "/rows")[1]["rows"] == [[1], [2]]
    with sqlite3.connect(target.root / target.name / "releases" / TWO / "backup" / "shop.db") as before:
        assert before.execute("select n from rows").fetchall() == [(1,)]
    assert tasks(target) == []


def tasks(target: DockerHostTarget) -> list[str]:
    api = Engine.at(target.socket).api
    filters = {"label": ["lockgate.task", f"lockgate.environment={target.name}"]}
    found = []
    for one in api.containers(all=True, filters=filters):
        with contextlib.suppress(NotFound):  # another test's, which ends at this moment
            seen = api.inspect_container(one["Id"])
            found += [seen["Name"]] if str(target.root) in json.dumps(seen["HostConfig"]["Mounts"]) else []
    return found


def test_a_migration_that_fails_in_rehearsal_changes_nothing(target: DockerHostTarget) -> None:
    deploy(target, ONE, tiny_build(ROWS))

    problem = begin(target, TWO, tiny_build("insert into rows values (2); nonsense"))

    assert problem is not None
    assert "failed in rehearsal" in problem
    assert "nonsense" in problem
    assert rows(target) == []
    assert (container(target, TWO), tasks(target)) == (None, [])


ONLY_IN_REHEARSAL = """
import socket
if len(socket.if_nameindex()) > 1: raise SystemExit("only where there is no network")
"""


def test_a_migration_that_fails_on_the_data_itself_is_undone(target: DockerHostTarget) -> None:
    deploy(target, ONE, tiny_build(ROWS))

    problem = begin(target, TWO, tiny_build("insert into rows values (7)", ONLY_IN_REHEARSAL))

    assert problem is not None
    assert "the databases were brought back" in problem
    assert "only where there is no network" in problem
    assert rows(target) == []


def test_a_migration_that_takes_too_long_is_ended(target: DockerHostTarget) -> None:
    quick = target.model_copy(update={"migrate_timeout_s": 2})
    problem = begin(quick, ONE, tiny_build(ROWS, "import time; time.sleep(60)"))

    assert problem is not None
    assert "it took over 2 s" in problem
    assert tasks(target) == []


# ── a killed worker ──────────────────────────────────────────────────────────────────────────────────────────────────

WORKER = """
import os, pickle, signal, sys
from prefect.blocks.fields import SecretDict
import blocks.targets.machine.container, blocks.targets.machine.release_image
from blocks.targets.machine.containers import ReleaseContainers
from blocks.host.docker import Engine
from blocks.targets.machine.docker_host import DockerHostTarget
from blocks.targets.releases import Releases
fields, revision, build, moment = pickle.load(sys.stdin.buffer)
target = DockerHostTarget(**fields, secrets=SecretDict({"TOKEN": "abcdef"}))
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def die_after(owner, name, times=1):
    real, calls = getattr(owner, name), []
    def then_die(*args, **kwargs):
        real(*args, **kwargs)
        calls.append(name)
        if len(calls) == times:
            die()
    setattr(owner, name, then_die)
match moment:
    case "before the image": blocks.targets.machine.release_image._load = die
    case "after the image": die_after(blocks.targets.machine.release_image, "_load")
    case "within the migration": die_after(ReleaseContainers, "_started_task", 2)  # the first copies the data
    case "between create and start": die_after(ReleaseContainers, "_create")
    case "after the start": die_after(ReleaseContainers, "start")
    case "before it is kept": ReleaseContainers.keep = die
    case "after it is kept": die_after(ReleaseContainers, "keep")
target.prepare(revision, build)
target.migrate(revision)
target.start(revision)
"""
SLOW = "import os, time; time.sleep(0 if os.path.exists('/data/quick') else 60)"
MOMENTS = [
    "before the image",
    "after the image",
    "within the migration",
    "between create and start",
    "after the start",
    "before it is kept",
    "after it is kept",
]


def test_a_worker_that_is_killed_is_followed_by_another(target: DockerHostTarget) -> None:
    """One release. Each worker goes on from what the one before it left, and is killed a moment later."""
    deploy(target, ONE)
    build = tiny_build(ROWS, SLOW)._replace(previous=ONE)
    fields = target.model_dump(exclude={"secrets", "block_type_slug"})
    with Hammer(target, READS_AND_WRITES) as users:
        for moment in MOMENTS:
            killed = run_worker(WORKER, pickle.dumps((fields, TWO, build, moment)))
            assert killed.exit_code == -signal.SIGKILL, f"{moment}: {killed.said}"
            assert ask(target)[1]["releaseId"] == ONE, moment
            if moment == "within the migration":
                until(lambda: not any_task_runs(target))
                (target.root / target.name / "data" / "quick").touch()
        deploy(target, TWO, build)

    assert users.failures == []
    assert ask(target)[1]["releaseId"] == TWO
    found = container(target, TWO)
    assert found is not None
    assert (found["State"]["Running"], found["HostConfig"]["RestartPolicy"]["Name"]) == (True, "always")
    assert tasks(target) == []


def any_task_runs(target: DockerHostTarget) -> bool:
    api = Engine.at(target.socket).api
    return any(api.inspect_container(name.strip("/"))["State"]["Running"] for name in tasks(target))


# ── the machine and its engine ───────────────────────────────────────────────────────────────────────────────────────


def test_what_is_missing_is_named_before_anything_is_done(target: DockerHostTarget, tmp_path: Path) -> None:
    nobody = target.model_copy(update={"socket": str(tmp_path / "docker.sock")})
    other = target.model_copy(update={"image": "no-such-image"})
    alone = target.model_copy(update={"network": "no-such-network"})

    assert "no Docker Engine at" in (nobody.preflight() or "")
    assert "lockgate image build" in (other.preflight() or "")
    assert "docker network create no-such-network" in (alone.preflight() or "")
    with pytest.raises(TargetError, match="lockgate image build"):
        other.prepare(ONE, tiny_build())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["restarted", "killed"])
def test_a_release_is_back_when_the_engine_is(tmp_path: Path, number: signal.Signals) -> None:
    with own_engine() as engine, docker_target(tmp_path, str(engine.socket)) as target:
        deploy(target, ONE)
        deploy(target, TWO)
        upstream = target.evidence(TWO)["upstream"]
        engine.end(number)
        assert ask(target)[0] in (502, 503), "the proxy needs no engine"
        engine.start()

        assert until(lambda: ask(target)[0] == 200), "nobody did anything"
        assert (ask(target)[1]["releaseId"], target.evidence(TWO)["upstream"]) == (TWO, upstream)
        assert target.ensure() == ()
        assert target.observe(TWO).look().problem is None
        target.rollback(ONE)
        assert ask(target)[1]["releaseId"] == ONE
        engine.end(number)
        engine.start()
        assert until(lambda: ask(target)[0] == 200)
        assert not service(target, TWO).is_running(), "what was stopped stays so"


def test_everything_is_back_after_a_reboot_that_emptied_the_memory(tmp_path: Path) -> None:
    with own_engine() as engine, docker_target(tmp_path, str(engine.socket)) as target:
        deploy(target, ONE)
        engine.end()
        shutil.rmtree(sealed._folder(target._releases.place(ONE).mark))
        target._caddy.stop(grace_s=1)
        engine.start()

        lines = target.ensure()

        assert any("proxy started" in line for line in lines)
        assert any("started on port" in line for line in lines)
        assert ask(target) == (200, {"releaseId": ONE, "status": "pass"})
        assert target.ensure() == ()


def test_a_full_disk_while_preparing_leaves_what_serves(tmp_path: Path) -> None:
    with own_engine(size_mb=700) as engine, docker_target(tmp_path, str(engine.socket)) as target:
        deploy(target, ONE)
        data = engine.socket.parent / "data"
        ballast = data / "ballast"
        free = shutil.disk_usage(data).free
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - (10 << 20))
        large = tiny_build()
        large.tree["large"] = TreeEntry(0o100644, os.urandom(30 << 20))

        with pytest.raises(TargetError, match="no space left on device: make room"):
            target.prepare(TWO, large)
        assert ask(target)[1]["releaseId"] == ONE
        ballast.unlink()
        deploy(target, TWO, large)
        assert ask(target)[1]["releaseId"] == TWO


def test_nothing_is_left_of_a_target_that_is_removed(target: DockerHostTarget) -> None:
    deploy(target, ONE, tiny_build(ROWS))
    image = target.artifact(ONE)
    mark = target._releases.place(ONE).mark
    remove(target)

    engine = Engine.at(target.socket)
    assert image is not None
    assert (engine.image(image), container(target, ONE), tasks(target)) == (None, None, [])
    assert not sealed._folder(mark).exists()
