"""What must hold of a release, whatever happens to the worker, the machine, its engine, its disk, or its clock.

Real releases behind a real proxy, users who ask all the time, and real kills.
"""

import contextlib
import functools
import http.server
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import psycopg
import pytest
from prefect.blocks.fields import SecretDict
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.schemas.objects import State
from pydantic import SecretStr

from blocks.host import processes
from blocks.ledger.ledger import Ledger
from blocks.stores.local import LocalStore
from blocks.targets.machine.docker_host import DockerHostTarget
from blocks.targets.machine.process import ProcessTarget
from blocks.targets.machine.proxied import ProxiedTarget
from blocks.targets.releases import Releases
from blocks.targets.secrets import ReleaseRedactor
from blocks.workshop import Workshop
from domain.brief import Acceptance, Brief
from domain.errors import InputError, LedgerError, TargetError
from domain.health import HealthCheck, HttpAnswer, LastAnswers, read_health
from domain.ports import ReleaseBuild
from domain.rollout import Rollout
from domain.task import Health, Release, RolledBack
from domain.trees import TreeEntry
from domain.value import Value
from domain.windows import Freeze, closed
from flows.report import ended
from kits.servers import free_port
from kits.tiny_service import CANARY, SERVICE, tiny_build
from kits.users import Hammer, ask, until
from station.bundle import bundle_in, lines_of
from tasks.releasing import breaker, lease
from tasks.releasing.bundle import bundle_of
from tests.contract.by_steps import WORKSHOP, a_workshop, in_a_run
from tests.contract.docker_host import container, docker_target, engine_that_publishes, own_engine
from tests.contract.shipping import RUN, bake, ledger_of, release, rollback, ship_of
from tests.contract.workers import forkserver
from tests.postgres import new_database

ONE, TWO = "1" * 40, "2" * 40
QUICK = Rollout(
    shares=(10, 50), share_s=0.1, bake_s=0.1, interval_s=0.03, least_sample=5, latency_floor_ms=10_000
)  # no speed is judged here: of few requests it says nothing
FIELDS: dict[str, Any] = {"name": "shop", "rollout": QUICK, "start_timeout_s": 10, "drain_s": 0.6}


@contextlib.contextmanager
def process_target(root: Path, **fields: Any) -> Iterator[ProcessTarget]:
    secrets = SecretDict({"TOKEN": CANARY})
    target = ProcessTarget(**{**FIELDS, "root": root, "port": free_port(), "secrets": secrets, **fields})
    try:
        yield target
    finally:
        target.stop()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("LOCKGATE_HOME", str(home))
    return home


@pytest.fixture
def target(tmp_path: Path) -> Iterator[ProcessTarget]:
    with process_target(tmp_path / "targets") as target:
        yield target


@pytest.fixture(params=["process", "docker-host"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ProxiedTarget]:
    if request.param == "process":
        with process_target(tmp_path / "targets") as target:
            yield target
    else:
        with docker_target(tmp_path / "targets", engine_that_publishes(), **FIELDS) as docker:
            yield docker


def services(target: ProxiedTarget, revision: str) -> int:
    """How many of a release's services run, found without the target's help."""
    if isinstance(target, DockerHostTarget):
        found = container(target, revision)
        return int(found is not None and found["State"]["Running"])
    return sum(process.is_init for process in processes.marked(target._releases.place(revision).mark))


# ── kill -9 of the worker, right before and right after every verb and every record ─────────────────────────────────


class Given(NamedTuple):
    """What a worker is started with; it lives in a process of its own."""

    kind: type[ProxiedTarget]
    fields: dict[str, Any]
    home: str
    marks: Path
    points: tuple[str, ...]
    build: ReleaseBuild


Work = Callable[[ProxiedTarget, Given], None]


def worker(work: Work, given: Given) -> None:
    """Does it, and dies at each point once: a mark says that it did."""
    os.environ["LOCKGATE_HOME"] = given.home
    target = given.kind(**given.fields, secrets=SecretDict({"TOKEN": CANARY}))

    def die_once(point: str) -> None:
        if any(point.partition(" ")[2].startswith(wanted) for wanted in given.points):
            with contextlib.suppress(FileExistsError):
                (given.marks / point).touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)

    def deadly(owner: type, verb: str, name: Callable[..., str]) -> None:
        real = getattr(owner, verb)

        def around(self: Any, *args: Any) -> Any:
            die_once(f"before {name(*args)}")
            done = real(self, *args)
            die_once(f"after {name(*args)}")
            return done

        setattr(owner, verb, around)

    for verb in ("prepare", "migrate", "start", "promote", "cleanup", "rollback"):
        deadly(given.kind, verb, lambda *_, verb=verb: verb)
    deadly(given.kind, "shift", lambda _, share: f"shift {share}")
    deadly(Ledger, "record", lambda _, kind, key, __: f"record {kind} {key[41:]}".strip())
    work(target, given)


def ships(target: ProxiedTarget, given: Given) -> None:
    """A release, as the steps make it, to where it is live or has left."""
    made = release(target, TWO, ONE, given.build)
    if made.problem is None and bake(target, made).healthy:
        ledger_of(target).record(RUN, "live", TWO, made)


def goes_back(target: ProxiedTarget, _: Given) -> None:
    rollback(target, ONE, "a-person")


def killed_at(
    target: ProxiedTarget,
    tmp_path: Path,
    work: Callable[[ProxiedTarget, Given], None],
    build: ReleaseBuild,
    *points: str,
) -> set[str]:
    """Let workers do it, one after another, until one comes to its end; where they were killed."""
    marks = tmp_path / "marks"
    marks.mkdir(exist_ok=True)
    fields = target.model_dump(exclude={"secrets", "block_type_slug"})
    given = Given(type(target), fields, os.environ["LOCKGATE_HOME"], marks, points, build)
    context = forkserver()
    for _ in range(60):
        process = context.Process(target=worker, args=(work, given))
        process.start()
        process.join(120)
        if process.exitcode == 0:
            return {mark.name for mark in marks.iterdir()}
        assert process.exitcode == -signal.SIGKILL, process.exitcode
    raise AssertionError(f"never at its end: {sorted(mark.name for mark in marks.iterdir())}")


def both(*names: str) -> set[str]:
    return {f"{when} {name}" for name in names for when in ("before", "after")}


def nothing_half(target: ProxiedTarget) -> None:
    folder = target.root / target.name
    left = [path.name for path in folder.rglob("*") if path.suffix == ".tmp" or path.name == "rehearsal"]
    assert left == []
    assert ledger_of(target).verify() is None


def test_a_release_whose_worker_is_killed_at_every_point_goes_live_once(target: ProcessTarget, tmp_path: Path) -> None:
    release(target, ONE, None, tiny_build())
    with Hammer(target) as users:
        killed = killed_at(target, tmp_path, ships, tiny_build(), "")
        until(lambda: users.releases[-20:] == [TWO] * 20)

    assert killed == both(
        "prepare", "migrate", "start", "shift 10", "record share-passed 10", "shift 50", "record share-passed 50",
        "promote", "cleanup", "record live",
    )  # fmt: skip
    assert users.failures == []
    assert target.pointed() == target.current() == TWO
    assert (services(target, ONE), services(target, TWO)) == (1, 1), "the one before is ready for going back"
    kinds = [(entry.kind, entry.key[41:]) for entry in ledger_of(target).entries()]
    assert kinds == [("share-passed", "10"), ("share-passed", "50"), ("live", "")]
    nothing_half(target)


def test_a_release_that_is_sick_with_a_share_leaves_whenever_its_worker_is_killed(
    target: ProcessTarget, tmp_path: Path
) -> None:
    release(target, ONE, None, tiny_build())
    with Hammer(target) as users:
        killed = killed_at(target, tmp_path, ships, tiny_build(sick_once_used=True), "shift", "record", "rollback")
        until(lambda: users.releases[-20:] == [ONE] * 20)

    assert killed == both("shift 10", "record watched", "record sick", "rollback")
    assert users.failures == []
    assert target.pointed() == target.current() == ONE
    assert (services(target, ONE), services(target, TWO)) == (1, 0)
    assert [entry.kind for entry in ledger_of(target).entries()] == ["watched", "sick"], "tried once"
    nothing_half(target)


def test_a_release_that_is_sick_in_its_bake_leaves_whenever_its_worker_is_killed(
    either: ProxiedTarget, tmp_path: Path
) -> None:
    """Once with containers, too: what leaves there is the engine's, not a process of this machine."""
    release(either, ONE, None, tiny_build())
    sick = tiny_build(sick_at=either.address)
    with Hammer(either) as users:
        killed = killed_at(either, tmp_path, ships, sick, "promote", "record watched", "record sick", "rollback")
        until(lambda: users.releases[-20:] == [ONE] * 20)

    assert killed == both("promote", "record watched", "record sick", "rollback")
    assert users.failures == []
    assert either.pointed() == either.current() == ONE
    assert (services(either, ONE), services(either, TWO)) == (1, 0)
    nothing_half(either)


def test_a_persons_rollback_whose_worker_is_killed_is_done_by_the_next(target: ProcessTarget, tmp_path: Path) -> None:
    release(target, ONE, None, tiny_build())
    release(target, TWO, ONE, tiny_build())
    lease.give_back(ledger_of(target), target.name, RUN)
    with Hammer(target) as users:
        killed = killed_at(target, tmp_path, goes_back, tiny_build(), "rollback")
        until(lambda: users.releases[-20:] == [ONE] * 20)

    assert killed == both("rollback")
    assert users.failures == []
    assert (services(target, ONE), services(target, TWO)) == (1, 0)


# ── the engine, the disk, the ports ─────────────────────────────────────────────────────────────────────────────────


def test_an_engine_that_dies_in_the_middle_of_a_release_ends_it_and_the_next_worker_goes_on(tmp_path: Path) -> None:
    slow = QUICK.model_copy(update={"share_s": 30.0})
    with own_engine() as engine, docker_target(tmp_path / "targets", str(engine.socket), **FIELDS) as target:
        release(target, ONE, None, tiny_build())
        ended: list[BaseException] = []

        def deploys() -> None:
            try:
                release(target.model_copy(update={"rollout": slow}), TWO, ONE, tiny_build())
            except TargetError as err:
                ended.append(err)

        deploying = threading.Thread(target=deploys)
        deploying.start()
        until(lambda: target._caddy.split()[1] == 10)
        engine.end(signal.SIGKILL)
        deploying.join(60)
        assert not deploying.is_alive()
        assert "engine" in str(ended[0]), "not the release is blamed"
        assert not ledger_of(target).entries(kind="sick")
        engine.start()

        assert until(lambda: ask(target)[0] == 200), "nobody did anything"
        made = release(target, TWO, ONE, tiny_build())
        assert (made.problem, bake(target, made).healthy) == (None, True)
        assert (target.current(), services(target, ONE), services(target, TWO)) == (TWO, 1, 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB. Needs root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", disk], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_release_that_does_not_fit_on_the_disk_is_no_release_and_fits_when_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    large = tiny_build()
    large.tree["large"] = TreeEntry(0o100644, os.urandom(12 << 20))
    with process_target(small_disk / "targets") as target:
        release(target, ONE, None, tiny_build())
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(14 << 20))
        with Hammer(target) as users:
            with pytest.raises(TargetError, match="No space left on device"):
                release(target, TWO, ONE, large)
            assert target.artifact(TWO) is None, "what is half there is not taken for whole"
            assert not (target._releases.place(TWO).folder).exists()
            ballast.unlink()
            made = release(target, TWO, ONE, large)
        assert (made.problem, users.failures, target.current()) == (None, [], TWO)


def test_traffic_goes_back_on_a_disk_with_not_a_byte_left(small_disk: Path) -> None:
    with process_target(small_disk / "targets") as target:
        release(target, ONE, None, tiny_build())
        release(target, TWO, ONE, tiny_build())
        with contextlib.suppress(OSError), open(small_disk / "ballast", "wb", buffering=0) as ballast:
            while ballast.write(bytes(1 << 12)):
                pass
        with pytest.raises(OSError, match="No space left"):
            (small_disk / "more").write_bytes(bytes(1 << 12))
        with Hammer(target) as users:
            target.rollback(ONE)
        assert (target.current(), users.failures) == (ONE, [])
        (small_disk / "ballast").unlink()
        target.rollback(ONE)
        assert (target._folder / "reserve").stat().st_size > 0, "there is room for the next time"


def test_a_loopback_port_that_somebody_took_meanwhile_is_left_for_another(
    target: ProcessTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = iter([other.getsockname()[1], other.getsockname()[1]])
        real = Releases.free_port
        monkeypatch.setattr(Releases, "free_port", lambda self: next(ports, None) or real(self))
        made = release(target.model_copy(update={"network": "host"}), ONE, None, tiny_build())

    assert made.problem is None
    assert sum("another program took port" in line for line in made.timeline) == 2
    assert (target.current(), services(target, ONE)) == (ONE, 1)


# ── health that flaps ───────────────────────────────────────────────────────────────────────────────────────────────


def flaps(sick: str, address: str) -> ReleaseBuild:
    """A release whose public answers are sick where `sick` holds of their number, `n`."""
    made, counted = tiny_build(), "        global N; N += self.headers['Host'] == ADDRESS; n = N\n"
    counted += f"        return self.headers['Host'] == ADDRESS and bool({sick})\n"
    service = SERVICE.replace("    def is_sick(self):\n", f"    def is_sick(self):\n{counted}")
    assert service != SERVICE
    service = service.replace("USED = []\n", f"USED = []\nN = 0\nADDRESS = {address!r}\n")
    made.tree["service.py"] = TreeEntry(0o100644, service.encode())
    return made


@pytest.mark.parametrize(
    ("sick", "reason"),
    [
        ("n == 4", None),
        ("n in (4, 5)", "sick, 2 of 5 looks"),
        ("n in (4, 9)", "sick, 2 of 9 looks"),
        ("n % 2", "sick, 2 of 3 looks"),
        ("n > 0", "sick, 2 of 2 looks"),
    ],
    ids=["once", "twice in a row", "twice with a while between", "every other time", "always"],
)
def test_one_sick_answer_is_tolerated_and_two_are_not(target: ProcessTarget, sick: str, reason: str | None) -> None:
    made = release(target, ONE, None, flaps(sick, target.address))
    health = bake(target, made)

    assert made.problem is None, "it is healthy in private"
    assert health.healthy is (reason is None), health.reason
    assert (reason or "healthy and itself") in health.reason
    assert ask(target, "/")[0] == (503 if reason else 200)


def test_a_release_that_needs_a_while_to_become_healthy_is_waited_for(target: ProcessTarget) -> None:
    made = tiny_build()
    slow = SERVICE.replace("return (\n            time", "return time.monotonic() - BORN < 1.5 or (\n            time")
    assert slow != SERVICE
    made.tree["service.py"] = TreeEntry(0o100644, slow.encode())

    assert release(target, ONE, None, made).problem is None
    answers = target.evidence(ONE)["answers_at_start"]
    assert [(a["reading"]["state"], a["reading"]["code"]) for a in answers[-2:]] == [("sick", 503), ("healthy", 200)]


# ── clocks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Note(Value):
    """Something to record."""

    text: str


def with_a_wrong_clock(off_s: float, url: str, who: str, told: Path) -> None:
    """A worker whose clock is wrong by so many seconds asks for the lease of the environment."""
    real = time.time
    time.time = lambda: real() + off_s
    ledger = Ledger(url=SecretStr(url))
    ledger.record("skewed", "note", told.name, Note(text=f"{off_s}"))
    told.write_text(json.dumps([lease.holder(ledger, "shop"), ledger.lease("environment/shop", who, 900)]))


def asks_for_the_lease(ledger: Ledger, off_s: float, told: Path) -> list[Any]:
    """Who has it, and the token."""
    process = forkserver().Process(
        target=with_a_wrong_clock, args=(off_s, ledger.url.get_secret_value(), "wrong", told)
    )
    process.start()
    process.join(120)
    assert process.exitcode == 0
    found: list[Any] = json.loads(told.read_text())
    return found


@pytest.fixture
def shared(postgres_url: str) -> Ledger:
    """The ledger of workers on several machines."""
    return Ledger(url=SecretStr(new_database(postgres_url)))


@pytest.mark.parametrize("off_s", [-6 * 3600, 6 * 3600], ids=["slow", "fast"])
def test_a_worker_whose_clock_is_wrong_neither_takes_a_lease_nor_keeps_one_too_long(
    shared: Ledger, off_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = lease.take(shared, "shop", "right")
    assert asks_for_the_lease(shared, off_s, tmp_path / "first") == ["right", None]
    lease.give_back(shared, "shop", "right")

    assert asks_for_the_lease(shared, off_s, tmp_path / "second") == [None, token + 1]
    assert shared.lease("environment/shop", "right", 900) is None
    monkeypatch.setattr(lease, "LEASE_S", 0.2)
    assert shared.lease("environment/shop", "wrong", 0.2) == token + 1
    again = until(lambda: shared.lease("environment/shop", "right", 900))
    assert again == token + 2, "it ran out by the ledger's clock"
    assert shared.verify() is None
    ages = [abs((datetime.now(UTC) - entry.at).total_seconds()) for entry in shared.entries()]
    assert max(ages) < 600, "what a worker records has the ledger's time"


def test_a_clock_that_is_set_under_a_deploy_does_not_end_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(url=SecretStr(f"sqlite:///{tmp_path / 'ledger.db'}"))
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.1)
    token = lease.take(ledger, "shop", "deploys")
    with lease.kept(ledger, "shop", "deploys"):
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 6 * 3600)
        until(lambda: lease.holder(ledger, "shop") == "deploys")
        assert ledger.lease("environment/shop", "another", 900) is None
        lease.give_back(ledger, "shop", "deploys")
        time.sleep(0.5)
        assert lease.holder(ledger, "shop") is None, "what was given back is not taken again"
    assert ledger.lease("environment/shop", "deploys", 900) > token  # type: ignore[operator]


def test_a_worker_whose_clock_jumps_counts_the_same_requests_and_bakes_as_long(
    target: ProcessTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(target, ONE, None, tiny_build())
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 6 * 3600 * (-1) ** int(real() * 10))
    with Hammer(target) as users:
        made = release(target, TWO, ONE, tiny_build())
        health = bake(target, made)

    assert (made.problem, health.healthy, users.failures) == (None, True, [])
    passed = [entry.body for entry in ledger_of(target).entries(kind="share-passed")]
    assert all(one["new"]["requests"] > 0 and one["old"]["requests"] > 0 for one in passed)


def test_a_freeze_over_the_night_in_which_the_clock_goes_forward_is_an_hour_shorter() -> None:
    night = Freeze.model_validate({"days": ["sat"], "start": "22:00", "end": "06:00", "zone": "Europe/Berlin"})
    gap = Freeze.model_validate({"days": ["sun"], "start": "02:30", "end": "05:00", "zone": "Europe/Berlin"})

    def until_when(freeze: Freeze, now: str) -> str | None:
        found = closed([freeze], "shop", datetime.fromisoformat(now).replace(tzinfo=UTC))
        return f"{found.until:%H:%M}" if found else None

    assert until_when(night, "2027-03-27T21:00") == "04:00"
    assert until_when(night, "2027-03-28T04:00") is None
    assert until_when(gap, "2027-03-28T01:29") is None, "half past two does not come that night: it is half past three"
    assert until_when(gap, "2027-03-28T01:30") == "03:00"


# ── two at once ─────────────────────────────────────────────────────────────────────────────────────────────────────


def deploys(target: ProxiedTarget, given: Given) -> None:
    """As a run does: the environment is its own from the first step to the last."""
    run = given.points[0]
    ledger = ledger_of(target)
    with ship_of(target, run) as ship:
        before = ship.target.pointed()
        made = ship.release(run * 20, before, given.build._replace(previous=before))
    with ship_of(target, run) as ship:
        assert ship.bake(made, HealthCheck()).healthy
        ledger.record(run, "live", made.revision, made)
    lease.give_back(ledger, target.name, run)


def at_once(target: ProxiedTarget, tmp_path: Path, *runs: str) -> list[Any]:
    """Processes that deploy, one for each run: its name twenty times is its revision."""
    fields = target.model_dump(exclude={"secrets", "block_type_slug"})
    context = forkserver()
    started = []
    for run in runs:
        given = Given(type(target), fields, os.environ["LOCKGATE_HOME"], tmp_path, (run,), tiny_build())
        started.append(context.Process(target=worker, args=(deploys, given)))
        started[-1].start()
    return started


def test_two_deploys_at_once_are_made_one_after_the_other(target: ProcessTarget, tmp_path: Path) -> None:
    release(target, ONE, None, tiny_build())
    lease.give_back(ledger_of(target), target.name, RUN)
    with Hammer(target) as users:
        for process in at_once(target, tmp_path, "2a", "2b"):
            process.join(120)
            assert process.exitcode == 0

    runs = [entry.run_id for entry in ledger_of(target).entries()]
    assert runs in ([first] * 3 + [second] * 3 for first, second in (("2a", "2b"), ("2b", "2a"))), "never in between"
    assert users.failures == []
    newer = runs[-1] * 20
    assert target.pointed() == target.current() == newer
    assert target._releases.place(newer).get().previous == runs[0] * 20, "each knew who was there before it"


def test_a_rollback_takes_the_environment_from_a_deploy_of_another_process(
    target: ProcessTarget, tmp_path: Path
) -> None:
    slow = target.model_copy(update={"rollout": QUICK.model_copy(update={"share_s": 60.0})})
    release(target, ONE, None, tiny_build())
    lease.give_back(ledger_of(target), target.name, RUN)
    with Hammer(target) as users:
        [deploying] = at_once(slow, tmp_path, "2a")
        until(lambda: target._caddy.split()[1] == 10)
        token = lease.seize(ledger_of(target), target.name, "a-person")
        target.under(token, lambda _: None).rollback(ONE)
        until(lambda: users.releases[-20:] == [ONE] * 20)
        deploying.join(120)

    assert deploying.exitcode == 1, "fenced off, with the reason in its log"
    assert users.failures == []
    assert (target.pointed(), target._caddy.split(), services(target, "2a" * 20)) == (ONE, (None, 0), 0)


# ── nobody is there ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_users_are_served_when_worker_and_ledger_are_dead_in_the_middle_of_a_release(
    target: ProcessTarget, tmp_path: Path
) -> None:
    slow = target.model_copy(update={"rollout": QUICK.model_copy(update={"share_s": 60.0})})
    release(target, ONE, None, tiny_build())
    lease.give_back(ledger_of(target), target.name, RUN)
    with Hammer(target) as users:
        [deploying] = at_once(slow, tmp_path, "2a")
        until(lambda: target._caddy.split()[1] == 10)
        deploying.kill()
        deploying.join()
        for file in target.root.glob("ledger.db*"):
            file.unlink()
        asked = users.asked
        until(lambda: users.asked > asked + 200)

    assert users.failures == []
    assert {ONE, "2a" * 20} == set(users.releases[-200:]), "each has its share"


def sick_at_will(address: str) -> ReleaseBuild:
    """A release that is sick in public once there is a file in its data."""
    return flaps("os.path.exists('/data/sick')", address)


def test_a_sick_release_loses_the_traffic_although_nothing_can_be_recorded(
    target: ProcessTarget, shared: Ledger, postgres_url: str
) -> None:
    slow = target.model_copy(update={"rollout": QUICK.model_copy(update={"bake_s": 60.0})})
    release(target, ONE, None, tiny_build(), ledger=shared)
    made = release(target, TWO, ONE, sick_at_will(target.address), ledger=shared)
    ended: list[BaseException] = []

    def bakes() -> None:
        try:
            bake(slow, made, ledger=shared)
        except LedgerError as err:
            ended.append(err)

    baking = threading.Thread(target=bakes)
    with Hammer(target) as users:
        baking.start()
        time.sleep(1)
        name = shared.url.get_secret_value().rpartition("/")[2]
        with psycopg.connect(postgres_url, autocommit=True) as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        (target.root / target.name / "data" / "sick").touch()
        baking.join(120)
        until(lambda: users.releases[-20:] == [ONE] * 20)

    assert len(ended) == 1, "and the run is resumed when the ledger is back"
    assert users.failures == []
    assert (target.pointed(), target.current(), services(target, TWO)) == (ONE, ONE, 0)


# ── what is known afterwards ────────────────────────────────────────────────────────────────────────────────────────


def left(target: ProxiedTarget, made: Release, health: Health) -> dict[str, Any]:
    """The bundle, as the step makes it and as a person gets it back."""
    ledger, store = ledger_of(target), LocalStore(root=target.root / "store")
    with ship_of(target) as ship:
        ship.target.rollback(made.previous)
        bundle = bundle_of(ledger, ship.target, RUN, made, health, ship.timeline.lines)
    back = RolledBack(
        environment="shop", failed=made.revision, serving=made.previous, revert=None, bundle=store.put_json(bundle)
    )
    ledger.record(RUN, "rolled_back", made.revision, back)
    return bundle_in(cast(Workshop, SimpleNamespace(ledger=ledger, store=store)), RUN, made.revision[:7])


def test_the_bundle_of_a_release_that_got_sick_has_its_words_and_no_secret(either: ProxiedTarget) -> None:
    release(either, ONE, None, tiny_build())
    made = release(either, TWO, ONE, tiny_build(sick_at=either.address))
    bundle = left(either, made, bake(either, made))

    assert (bundle["phase"], bundle["watched"]["share"]) == ("health check", 100)
    said = [one for one in bundle["watched"]["answers"] if one["where"] == "in public"]
    assert [(one["times"], one["reading"]["code"]) for one in said] == [(2, 503)]
    assert json.loads(said[0]["reading"]["body"]) == {"releaseId": TWO, "status": "fail", "output": "sick of [TOKEN]"}
    assert [one["share"] for one in bundle["shares"]] == [10, 50]
    assert bundle["state"]["is_running"] is False
    assert "[TOKEN]" in bundle["log_tail"]
    shown = "\n".join(lines_of(bundle))
    assert "HTTP 503, status fail: 'sick of [TOKEN]'" in shown
    assert "5 public answers in a row" in shown
    assert CANARY not in json.dumps(bundle) + shown


def test_the_bundle_of_a_release_that_ended_has_its_exit_code(either: ProxiedTarget) -> None:
    slow = either.model_copy(update={"rollout": QUICK.model_copy(update={"bake_s": 60.0})})
    release(either, ONE, None, tiny_build())
    made = release(either, TWO, ONE, tiny_build())

    def ends() -> None:
        with contextlib.suppress(OSError, ValueError):
            ask(either, "/exit")

    ending = threading.Timer(1, ends)
    ending.start()
    bundle = left(either, made, bake(slow, made))
    ending.join()

    assert "ended" in bundle["reason"]
    if isinstance(either, DockerHostTarget):
        assert 3 in bundle["state"]["exit_codes"], "the engine started it again, and it was stopped then"
    else:
        assert (bundle["exit_code"], bundle["state"]["was_told_to_end"]) == (3, False)
        assert "exit code  3" in lines_of(bundle)


def test_the_bundle_of_a_release_that_never_started_has_what_it_said(target: ProcessTarget) -> None:
    quick = target.model_copy(update={"start_timeout_s": 1.5})
    release(target, ONE, None, tiny_build())
    made = release(quick, TWO, ONE, tiny_build(sick_after_s=0))
    health = Health(revision=TWO, healthy=False, reason=made.problem or "", observations=0)
    bundle = left(target, made, health)

    assert (bundle["phase"], bundle["watched"]) == ("deploy", None)
    answer = bundle["state"]["answers_at_start"][-1]["reading"]
    assert (answer["code"], json.loads(answer["body"])["output"]) == (503, "sick of [TOKEN]")
    assert (bundle["exit_code"], bundle["state"]["was_told_to_end"]) == (0, True)
    assert CANARY not in json.dumps(bundle)


def test_a_run_that_rolled_nothing_back_has_no_bundle(target: ProcessTarget) -> None:
    shop = cast(Workshop, SimpleNamespace(ledger=ledger_of(target), store=None))
    with pytest.raises(InputError, match="there is no bundle"):
        bundle_in(shop, RUN)


def test_of_many_answers_the_last_few_different_ones_are_kept_and_none_shows_half_a_secret() -> None:
    answers, now = LastAnswers(), datetime.now(UTC)
    for number in range(40):
        body = json.dumps({"status": "fail", "output": "x" * (1935 + number) + CANARY, "number": number // 2})
        read = functools.partial(read_health, check=HealthCheck(), revision=ONE)
        answers.add("in public", read(HttpAnswer(503, body.encode()), clean=ReleaseRedactor({"TOKEN": CANARY})), now)
        answers.add("in public", read(HttpAnswer(503, b"no")), now)

    assert len(answers.kept) == 8
    assert answers.kept[-1].times == 40
    assert all(len(one.reading.body) <= 2001 for one in answers.kept)
    assert not any("canary" in one.reading.body for one in answers.kept)


# ── and who is told ─────────────────────────────────────────────────────────────────────────────────────────────────


class Pager(http.server.ThreadingHTTPServer):
    """Somebody's webhook: what it was told."""

    daemon_threads = True

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Webhook)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Webhook(http.server.BaseHTTPRequestHandler):
    server: Pager

    def do_POST(self) -> None:
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


def test_who_is_on_call_is_told_of_what_nobody_can_judge_and_of_three_rollbacks_in_a_row(
    target: ProcessTarget, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = target.model_copy(update={"rollout": QUICK.model_copy(update={"hold_s": 0.3})})
    release(target, ONE, None, tiny_build())
    ledger, pager, states = ledger_of(target), Pager(), []
    monkeypatch.setattr("blocks.targets.machine.access_log.Follow.answered", lambda *_: 0)

    def nobody_can_say(run: str, _: Brief) -> State:
        lease.give_back(ledger, target.name, RUN)
        release(blind, TWO, ONE, tiny_build(), run=run)
        raise AssertionError("it was judged")

    def one_too_many(run: str, told: Brief) -> State:
        for number in "345":
            body = RolledBack(environment="shop", failed=number * 40, serving=ONE, revert=None, bundle="")
            ledger.record(f"{run}-{number}", "rolled_back", number * 40, body)
        breaker.check(ledger, "shop")
        raise AssertionError("it is open")

    with a_workshop(home) as shop:
        words = {"subject": "{{subject}}", "body": "{{body}}"}
        url = f"http://127.0.0.1:{pager.server_port}/"
        hook = CustomWebhookNotificationBlock(name="call", url=url, json_data=words)
        hook.save("on-call")
        shop.pager = "custom-webhook/on-call"
        told = Brief(title="Search", goal="x", repository="x", acceptance=Acceptance(command="true"),
                     environment="shop", workshop=WORKSHOP)  # fmt: skip
        for number, trouble in enumerate((nobody_can_say, one_too_many)):
            in_a_run(lambda number=number, trouble=trouble: states.append(ended(f"run-{number}", told, trouble)))

    assert [state.name for state in states] == ["Frozen", "Frozen"]
    assert [call["subject"] for call in pager.told] == ["Lockgate: Search"] * 2
    first, second = (call["body"] for call in pager.told)
    assert "nobody can say whether 222222222222 is well in shop" in first
    assert "3 releases in a row were rolled back" in second
    assert target.pointed() == ONE, "the traffic stays as it is"
    watched = bundle_in(cast(Workshop, SimpleNamespace(ledger=ledger)), "run-0")
    assert watched["phase"] == "10 % of the traffic, and left there"
