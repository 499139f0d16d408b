"""What holds of swarm, on a real Swarm of two nodes, with real users at its public address.

What holds for every target is in test_targets.py.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError
from prefect.blocks.fields import SecretDict
from uv import find_uv_bin

from blocks.host.docker import Engine
from blocks.targets.swarm.engine import Swarm, covers
from blocks.targets.swarm.target import SwarmTarget
from domain.errors import TargetError
from domain.health import HealthCheck
from domain.ports import ReleaseBuild, Target
from domain.rollout import Rollout
from domain.trees import TreeEntry
from kits.servers import free_port
from kits.tiny_service import CANARY
from kits.users import Hammer, ask, until
from tests.contract.image_registry import ImageRegistry
from tests.contract.swarm_nodes import REGISTRY_PORT, Node, shared_swarm, tasks_of

ONE, TWO, THREE, FOUR = "1" * 40, "2" * 40, "3" * 40, "4" * 40

SERVICE = """
import http.server, json, os, pathlib, socket, sys, time
health = json.loads(pathlib.Path("health.json").read_text())
print("token", os.environ.get("TOKEN"), "colour", os.environ["COLOUR"], flush=True)
if health.get("dies"):
    sys.exit("it cannot go on")
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(0.4)
        said = {"status": "pass", "releaseId": os.environ["RELEASE_ID"], "host": socket.gethostname(), **health}
        body = json.dumps(said).encode()
        self.send_response(503 if said["status"] == "fail" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()
    def log_message(self, *arguments):
        pass
http.server.ThreadingHTTPServer((os.environ["HOST"], int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def nodes() -> list[Node]:
    return shared_swarm()


@pytest.fixture(scope="module")
def toolchain() -> Iterator[Path]:
    """A virtual environment without a single package; not in /tmp, which is each task's own."""
    with tempfile.TemporaryDirectory(prefix="lockgate-toolchain-", dir="/var/tmp") as folder:
        path = Path(folder, "plain")
        command = [find_uv_bin(), "venv", "--quiet", "--offline", "--python", sys.executable, str(path)]
        subprocess.run(command, check=True)
        yield path


@pytest.fixture
def build(toolchain: Path) -> Callable[..., ReleaseBuild]:
    """Makes builds: `build(status="fail")`."""

    def make(previous: str | None = None, **health: Any) -> ReleaseBuild:
        files = {"service.py": SERVICE, "health.json": json.dumps(health)}
        return ReleaseBuild(
            tree={path: TreeEntry(0o100644, text.encode()) for path, text in files.items()},
            toolchain=toolchain,
            run="python service.py {port}",
            health=HealthCheck(),
            migrate_up=None,
            environment={"COLOUR": "blue"},
            previous=previous,
        )

    return make


@pytest.fixture
def make(nodes: list[Node], tmp_path: Path) -> Iterator[Callable[..., SwarmTarget]]:
    """Makes targets: `make(replicas=1)`."""
    made: list[SwarmTarget] = []

    def target(**fields: Any) -> SwarmTarget:
        settings = {
            "name": "shop",
            "root": tmp_path / "targets",
            "socket": nodes[0].socket,
            "host": nodes[0].address,
            "port": free_port(),
            "replicas": 2,
            "memory_mb": 256,
            "secrets": SecretDict({"TOKEN": CANARY}),
            "rollout": Rollout(interval_s=0.05, latency_floor_ms=20_000),
            "start_timeout_s": 60,
            "drain_s": 0.6,
        }
        made.append(SwarmTarget(**{**settings, **fields}))
        return made[-1]

    yield target
    for one in made:
        one.stop()
        for place in one._releases.all():
            one._service(place.revision).forget()


@pytest.fixture
def target(make: Callable[..., SwarmTarget]) -> SwarmTarget:
    return make()


def release(target: SwarmTarget, revision: str, build: ReleaseBuild) -> None:
    target.prepare(revision, build)
    assert target.migrate(revision) is None
    assert target.start(revision) is None
    target.promote(revision)


def service_of(target: SwarmTarget, revision: str) -> str:
    return target._service(revision).name


def test_no_user_sees_a_rollout_or_a_rollback(
    target: SwarmTarget, nodes: list[Node], build: Callable[..., ReleaseBuild]
) -> None:
    port: Target = target
    assert port.preflight() is None and port.splits
    release(target, ONE, build())
    assert ask(target)[1]["releaseId"] == ONE == target.current() == target.pointed()
    said: list[str] = []
    target = target.under(4, said.append)
    with Hammer(target, ("/", "POST /", "/slow")) as users:
        artifact = target.prepare(TWO, build(ONE, colour="green"))
        assert target.start(TWO) is None
        assert target.probe(TWO).is_healthy and target.pointed() == ONE
        assert TWO not in users.releases, "no traffic yet"
        with contextlib.closing(target.observe(TWO)) as window:
            target.shift(TWO, 25)
            until(lambda: (look := window.look()).new is not None and look.new.requests >= 5)
            first = window.look()  # before it, the proxies of some nodes still sent all traffic to the old release
            assert first.new is not None and first.old is not None
            asked = first.new.requests + 40
            until(lambda: (look := window.look()).new is not None and look.new.requests >= asked)
            look = window.look()
        assert look.problem is None and look.private is not None and look.private.is_healthy
        assert look.new is not None and look.old is not None and look.new.errors == 0
        new, old = look.new.requests - first.new.requests, look.old.requests - first.old.requests
        assert 0.2 < new / (new + old) < 0.3
        target.promote(TWO)
        until(lambda: ask(target)[1]["releaseId"] == TWO)
        assert target.artifact(TWO) == artifact and target.current() == TWO
        target.cleanup({ONE, TWO})
        target.rollback(ONE)
        target.promote(TWO) if target.start(TWO) is None else pytest.fail("it does not start again")
        target.rollback(ONE)
    assert users.failures == [] and users.asked > 200
    assert ask(target)[1]["releaseId"] == ONE
    assert tasks_of(nodes[0], service_of(target, TWO)) == []
    assert len(tasks_of(nodes[0], service_of(target, ONE))) == 2
    assert any("seen serving in 5 public answers" in line for line in said)


def test_a_release_that_is_never_healthy_tells_what_its_checks_saw(
    make: Callable[..., SwarmTarget], nodes: list[Node], build: Callable[..., ReleaseBuild]
) -> None:
    target = make(start_timeout_s=20, replicas=1)
    release(target, ONE, build())
    target.prepare(TWO, build(ONE, status="fail", output=f"no database for {CANARY}"))
    problem = str(target.start(TWO))
    assert "not all of its tasks run within 20 s" in problem and "no database for [TOKEN]" in problem
    evidence = target.evidence(TWO)
    assert "no database" in json.dumps(evidence["tasks"][0]["health"])
    assert CANARY not in json.dumps(evidence) + problem + target.logs(TWO)
    assert "token [TOKEN]" in target.logs(TWO), "the log is kept"
    assert Swarm(Engine.at(nodes[0].socket)).service(service_of(target, TWO)) is None
    assert ask(target)[1]["releaseId"] == ONE


def test_a_start_that_is_repeated_does_nothing_twice(
    target: SwarmTarget, nodes: list[Node], build: Callable[..., ReleaseBuild]
) -> None:
    target.prepare(ONE, build())
    service = target._service(ONE)
    worker = os.fork()
    if worker == 0:
        with contextlib.suppress(BaseException):
            target.start(ONE)
        os._exit(0)
    swarm = Swarm(Engine.at(nodes[0].socket))
    until(lambda: swarm.service(service.name) is not None)
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    assert target.start(ONE) is None
    tasks = {task["ID"] for task in swarm.tasks(service.name)}
    assert target.start(ONE) is None and target.prepare(ONE, build())
    there = swarm.service(service.name)
    assert there is not None and len(tasks) == 2 == len(tasks_of(nodes[0], service.name))
    assert {task["ID"] for task in swarm.tasks(service.name)} == tasks


def test_what_another_hand_changed_is_seen_and_put_back(
    target: SwarmTarget, nodes: list[Node], build: Callable[..., ReleaseBuild]
) -> None:
    release(target, ONE, build())
    wanted = target.prepare(TWO, build(ONE, colour="green"))
    assert target.start(TWO) is None and target.trouble(TWO) is None
    other = str(target.artifact(ONE))
    api, name = nodes[0].api, service_of(target, TWO)
    there = api.inspect_service(name)
    spec = there["Spec"]["TaskTemplate"]
    spec["ContainerSpec"]["Image"] = other
    api.update_service(there["ID"], there["Version"]["Index"], task_template=spec, name=name, fetch_current_spec=True)
    until(lambda: target.artifact(TWO) == other)
    until(lambda: "was released" in str(target.trouble(TWO)) or "tasks run" in str(target.trouble(TWO)))
    assert target.start(TWO) is None
    assert target.artifact(TWO) == wanted and target.trouble(TWO) is None
    assert target.probe(TWO).is_healthy


def test_a_service_that_changes_between_look_and_leap_is_looked_at_again(
    target: SwarmTarget, nodes: list[Node], build: Callable[..., ReleaseBuild], monkeypatch: pytest.MonkeyPatch
) -> None:
    release(target, ONE, build())
    api, name, look = nodes[0].api, service_of(target, ONE), Swarm.service
    changes = iter(range(2))

    def look_then_change(self: Swarm, name: str) -> dict[str, Any] | None:
        there = look(self, name)
        if there is not None and next(changes, None) is not None:
            with contextlib.suppress(APIError):  # the Swarm itself was quicker: it changed as well
                api.update_service(
                    there["ID"], there["Version"]["Index"], name=name, labels={"by": "another"}, fetch_current_spec=True
                )
        return there

    monkeypatch.setattr(Swarm, "service", look_then_change)
    swarm = target._service(ONE).swarm
    assert swarm.scale(name, 1) and next(changes, None) is None
    there = api.inspect_service(name)
    assert there["Spec"]["Mode"]["Replicated"]["Replicas"] == 1
    changes = iter(range(99))
    with pytest.raises(TargetError, match="out of sequence"):
        swarm.scale(name, 2)


def test_an_update_that_the_swarm_takes_back_is_no_start(
    make: Callable[..., SwarmTarget], nodes: list[Node], build: Callable[..., ReleaseBuild]
) -> None:
    target = make(replicas=1, start_timeout_s=25)
    release(target, ONE, build())
    kept = target._releases.place(ONE)
    broken = target._service(TWO).image_of("lockgate-target:broken", build(dies=True))[0]
    kept.save(kept.get().model_copy(update={"artifact": broken, "image": broken}))
    assert "its task ended" in str(target._service(ONE).start(lambda line: None))


def test_killed_tasks_and_a_killed_proxy_come_back_by_themselves(
    make: Callable[..., SwarmTarget], nodes: list[Node], build: Callable[..., ReleaseBuild]
) -> None:
    target = make(replicas=1)
    release(target, ONE, build())
    api, name = nodes[0].api, service_of(target, ONE)
    container = tasks_of(nodes[0], name)[0]["Status"]["ContainerStatus"]["ContainerID"]
    os.kill(api.inspect_container(container)["State"]["Pid"], signal.SIGKILL)
    until(lambda: "0 of 1 tasks run" in str(target.trouble(ONE)))
    until(lambda: target.current() == ONE and target.trouble(ONE) is None)
    proxy = api.containers(filters={"label": "lockgate.proxy"})[0]["Id"]
    os.kill(api.inspect_container(proxy)["State"]["Pid"], signal.SIGKILL)
    until(lambda: target.current() == ONE and target.probe(ONE).is_healthy)


def test_secrets_are_in_the_release_and_in_nothing_that_is_shown(
    make: Callable[..., SwarmTarget], nodes: list[Node], build: Callable[..., ReleaseBuild], tmp_path: Path
) -> None:
    target = make(replicas=1)
    release(target, ONE, build())
    api, name = nodes[0].api, service_of(target, ONE)
    until(lambda: "token [TOKEN] colour blue" in target.logs(ONE))
    container = tasks_of(nodes[0], name)[0]["Status"]["ContainerStatus"]["ContainerID"]
    shown = [api.inspect_service(name), api.inspect_container(container), api.secrets(), target.evidence(ONE)]
    assert CANARY not in json.dumps(shown) + target.logs(ONE)
    for file in (tmp_path / "targets").rglob("*"):
        assert not file.is_file() or CANARY.encode() not in file.read_bytes(), file


def test_a_port_that_is_taken_is_named(make: Callable[..., SwarmTarget], build: Callable[..., ReleaseBuild]) -> None:
    first = make(replicas=1)
    first.prepare(ONE, build())
    with pytest.raises(TargetError, match=f"port {first.port} on .* is in use by another program"):
        make(name="other", port=first.port).prepare(ONE, build())


def test_only_a_manager_can_be_asked(make: Callable[..., SwarmTarget], nodes: list[Node], tmp_path: Path) -> None:
    assert "the engine is no manager of its Swarm" in str(make(socket=nodes[1].socket).preflight())
    assert "no Docker Engine at" in str(make(socket=str(tmp_path / "none.sock")).preflight())


def test_releases_spread_over_the_nodes_that_have_a_registry(
    make: Callable[..., SwarmTarget], nodes: list[Node], build: Callable[..., ReleaseBuild]
) -> None:
    host = f"{nodes[0].address.rpartition('.')[0]}.1"
    registry = ImageRegistry(host, REGISTRY_PORT)
    try:
        target = make(registry=f"{host}:{REGISTRY_PORT}/shop")
        release(target, ONE, build())
        tasks = tasks_of(nodes[0], service_of(target, ONE))
        assert len({task["NodeID"] for task in tasks}) == 2, "one on each node"
        assert {task["Spec"]["ContainerSpec"]["Image"].rpartition("@")[0] for task in tasks} == {target.registry}
        assert registry.pulled, "the other node fetched it"
        assert len({ask(target)[1]["host"] for _ in range(40)}) == 2, "both answer"
        release(target, TWO, build(ONE, colour="green"))
        assert target.current() == TWO and target.trouble(TWO) is None
        target.rollback(ONE)
        assert target.current() == ONE and target.artifact(ONE) == target._releases.place(ONE).get().artifact
        assert len({task["node"] for task in target.evidence(ONE)["tasks"]}) == 2
    finally:
        registry.shutdown()
        registry.server_close()


@pytest.mark.parametrize(
    ("there", "wanted", "same"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": []}, True),
        ({"a": ["x"]}, {"a": []}, False),
        ({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        (None, {"a": 1}, False),
    ],
)
def test_a_spec_is_covered_by_one_that_says_more(there: Any, wanted: Any, same: bool) -> None:
    assert covers(there, wanted) is same
