"""Keeps one machine's Lockgate alive: server, door, gateway, zygote, worker, releases, deployments, crashed runs."""

import contextlib
import functools
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from blocks import kept
from blocks.home import home, joined, machine
from blocks.host.alive import mark_of_this
from domain.errors import InputError
from station import credentials, first_database, first_look, forge_news, processes, registered, settings
from station.keeping import Keeper, KeptProgram
from station.roles import StationRole, roles
from station.warm import ahead

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

    from blocks.ledger.ledger import Ledger
    from blocks.workshop import Workshop
    from flows.issues import IssueWatch
    from flows.notices import Notifier
    from flows.resume import Looks
    from station.turn import ServicesTurn

log = logging.getLogger("lockgate")
PYTHON = sys.executable
COMMAND = [PYTHON, "-m", "station.supervisor"]
NAMES = ("worker", "zygote", "gateway", "door", "services", "server")
"""In the order in which they are stopped."""
ROUND_S = 2.0
IDLE_ROUND_S = 10.0
"""Between two looks at the server's runs while all of them have a process here, and none begins or ends, as their notes
say."""
SOON_S = 30.0
"""So long after one did they are looked at each round: it may have crashed, and its slot is free."""
ASK_S = 10.0
FORGES_S = float(os.environ.get("LOCKGATE_FORGES_S", "15"))
"""Between two looks at pull requests that wait for people; a look that finds nothing new costs no request's price."""
DUTIES_IMPORT = (
    "blocks.gateway.gateway",
    "blocks.workshop",
    "flows.elsewhere",
    "flows.forge_watch",
    "flows.housekeeping",
    "flows.issues",
    "flows.notices",
    "flows.processes",
    "flows.resume",
    "flows.serving",
    "prefect.client.orchestration",
    "station.api",
    "station.bootstrap",
    "station.joining",
    "station.turn",
)
"""Imported by one thread before there are others: of two that import Prefect at once, one can see half of a module."""
MACHINE_S = 600.0
"""Between two rounds of what a machine does for itself; the station's own does it with its housekeeping."""
CODE_S = 30.0
"""Between two looks whether this machine may work for the station: that may have other code by now."""
NEWS_S = 2.0
"""Between two looks whether a forge has sent a webhook: it is asked no more often, whatever it sends."""
TELLS = "station/notices"
"""The lease of the one that tells people, should there be two with the role `services`."""
FRESH_S = 10.0
"""So old may be what we know of the workshop and its targets: they change while we watch."""
HEARTBEAT_S = 15
"""The worker's. It is late when four of them are missing."""


def up(timeout_s: float = 300) -> bool:
    """Start the supervisor and wait until a run could be submitted; whether it had to be started."""
    if processes.running("supervisor") and _is_ready():
        return False
    start()
    wait(timeout_s)
    return True


def start() -> None:
    """Start the supervisor, unless it runs. From here on the server's port is known: `settings.url`."""
    if not processes.running("supervisor"):
        _choose_port()
        processes.start("supervisor", COMMAND, _supervisors_environment(), settings.PROJECT)


def become() -> NoReturn:
    """This process is the supervisor from now on, for an init system or a container that watches it.

    Raises InputError if one runs already.
    """
    if pid := processes.running("supervisor"):
        raise InputError(f"the supervisor of {home()} runs already, as process {pid}: `lockgate down` stops it")
    _choose_port()
    told = {name: value for name, value in os.environ.items() if name == "NOTIFY_SOCKET"}  # systemd's
    processes.become("supervisor", COMMAND, {**_supervisors_environment(), **told}, settings.PROJECT)


def _choose_port() -> None:
    if not joined() and not processes.running("server"):  # ours may have outlived its supervisor, and keeps its port
        (home() / "port").write_text(str(processes.free_port(settings.port())))
    (home() / "run" / "ready").unlink(missing_ok=True)
    (home() / "run" / "in-the-way").unlink(missing_ok=True)


def _supervisors_environment() -> dict[str, str]:
    return {**_system_environment(), **settings.client_environment()}


def wait(timeout_s: float = 300) -> None:
    """Until a run could be submitted. Raises RuntimeError if the supervisor ends, takes longer, or may take no runs."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if _is_ready():
            return
        if not processes.running("supervisor"):
            break
        if (wrong := home() / "run" / "in-the-way").exists():
            raise RuntimeError(f"{wrong.read_text()}\nIt looks again every {CODE_S:.0f} s")
        time.sleep(0.2)
    tail = processes.log_of("supervisor").read_text()[-2000:]
    raise RuntimeError(f"Lockgate did not come up; the end of {processes.log_of('supervisor')}:\n{tail}")


def down() -> list[str]:
    """Stop everything that `up` and its releases started; what was stopped."""
    stopped = [name for name in ("supervisor", *NAMES) if processes.stop(name)]
    (home() / "run" / "ready").unlink(missing_ok=True)
    return stopped


class Supervisor:
    """Start, watch, start again. Everything it starts is found again by pid, so it can itself be killed and started.

    Each duty has a thread of its own: one that waits for something that hangs keeps no other from being done.
    """

    def __init__(self) -> None:
        self.over = threading.Event()
        self.roles = roles()
        self.keepers = {program.name: Keeper(program) for program in programs()}
        self._waiting: dict[str, ahead.WaitingFork] = {}
        self._shop: Workshop | None = None
        self._shop_read: int | None = None
        self._reading = threading.Lock()
        self._runs = RunsWatch(self.shop, self._takes_runs)
        self._in_the_way = ""
        self._notifier: Notifier | None = None
        self._issues: IssueWatch | None = None
        self._forges_at = time.monotonic() + FORGES_S

    def run(self) -> KeptProgram | None:
        """Until it is stopped. Returns in each fork, too, with the program that the fork is to be."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.over.set())
        shared, turn = credentials.shared(), None
        if StationRole.SERVER in self.roles and shared is None:
            first_database.place()
        if StationRole.SERVICES in self.roles and shared is not None:
            from station.turn import ServicesTurn

            turn = ServicesTurn(shared.database)
        else:
            self._keep_first()
        code = registered.digest()
        is_same = ahead.import_all(DUTIES_IMPORT)  # takes seconds, which the server needs too
        if is_same and turn is None and shared is None and (program := self._fork_programs()):
            return program
        if turn is None:
            self._keep("zygote")
        if self.roles & {StationRole.SERVICES, StationRole.WORKER}:
            self._in_background(self._watch_releases, ROUND_S)  # they need no server, and wait for no turn
        if turn is not None:
            self._wait_for_turn(turn)
            if self.over.is_set():
                return None
            self._keep_first()
            self._keep("zygote")
        if StationRole.SERVICES in self.roles:
            self._begin_station(code)
        elif StationRole.WORKER in self.roles:
            self._begin_to_work()
        else:
            self._wait_for_server()
        keep_blocks()
        for name in self.keepers:
            self._keep(name)
        if {StationRole.SERVER, StationRole.SERVICES} <= self.roles:
            first_look.keep()
        self._tell_ready()
        _tell_init("READY=1")
        for keeper in self.keepers.values():
            self._in_background(keeper.question, ASK_S)
        if self.roles & {StationRole.SERVICES, StationRole.WORKER}:
            self._in_background(self._runs.look, ROUND_S)
        self._in_background(processes.rotate, 60)
        self._in_background(keep_blocks, FRESH_S)
        if joined() or (StationRole.SERVICES not in self.roles and StationRole.WORKER in self.roles):
            self._in_background(self._look_whether_it_may_work, CODE_S)
        if joined():
            self._in_background(self._look_after_machine, MACHINE_S)
        if turn is not None:
            self._in_background(functools.partial(self._keep_turn, turn), FRESH_S)
        if StationRole.SERVICES in self.roles:
            self._in_background(self._ask_forges_in_time, NEWS_S)
            self._in_background(self._tell_people, FRESH_S)
        while not self.over.wait(1):
            for keeper in self.keepers.values():
                keeper.keep()
            self._tell_ready()
        _tell_init("STOPPING=1")
        for name in NAMES:
            processes.stop(name)
        return None

    def _keep_first(self) -> None:
        for name in ("server", "services"):
            if name in self.keepers:
                self.keepers[name].keep()

    def _fork_programs(self) -> KeptProgram | None:
        """Begin with what is imported here; None in the supervisor itself. What an earlier one has started stays."""
        for name in ahead.IMPORTS:
            keeper = self.keepers.get(name)
            if (
                keeper is None
                or processes.running(name)
                or (name == "worker" and StationRole.SERVICES not in self.roles)
            ):
                continue
            log.info("forking the %s", name)
            waiting = ahead.fork(keeper.program, self._waiting.values())
            if waiting is None:
                return keeper.program
            self._waiting[name] = waiting
        return None

    def _keep(self, name: str) -> None:
        """Let it begin that waits in a fork, if it does."""
        if waiting := self._waiting.pop(name, None):
            waiting.let_go()
        if name in self.keepers:
            self.keepers[name].keep()

    def _begin_station(self, code: str) -> None:
        """What there is once: the pool, block types, deployments, first blocks."""
        from station import bootstrap

        wanted = bootstrap.deployments(code)
        self._wait_for_server()
        bootstrap.make_work_pool()
        bootstrap.make_queues(queues())
        self._keep("worker")
        bootstrap.bootstrap(wanted, code)

    def _begin_to_work(self) -> None:
        """For a station whose services are on another machine. Where this one may not, its releases are looked after
        all the same, and the worker starts once it may."""
        self.keepers["worker"].is_wanted = False
        self._wait_for_server()
        self._look_whether_it_may_work()

    def _look_after_machine(self) -> None:
        from flows.housekeeping import after_machine

        with kept.used():
            for line in after_machine(self.shop()):
                log.info(line)

    def _tell_ready(self) -> None:
        ready = home() / "run" / "ready"
        if not ready.exists() and self._takes_runs():
            ready.write_text(str(os.getpid()))
            log.info("ready at %s", settings.url())

    def _takes_runs(self) -> bool:
        """Whether runs may be begun here, or none is meant to be."""
        worker = self.keepers.get("worker")
        return worker is None or worker.is_wanted

    def _look_whether_it_may_work(self) -> None:
        """A machine whose station was upgraded takes no more runs until it is, too; those under way go on. One that
        takes none begins once nothing is in the way."""
        from station import bootstrap, joining

        worker, told = self.keepers["worker"], home() / "run" / "in-the-way"
        wrong = [line for line in [joining.other_code()] if line] if worker.is_wanted else joining.problems()
        if wrong:
            worker.is_wanted = False
            processes.kill("worker", alone=True)
            why = "this machine cannot work for the station:\n- " + "\n- ".join(wrong)
            self._tell_in_the_way(f"{why}\nMeanwhile it looks after the releases here")
        elif not worker.is_wanted:
            bootstrap.make_queues(queues())
            self._in_the_way = ""
            told.unlink(missing_ok=True)
            worker.is_wanted = True

    def _tell_in_the_way(self, why: str) -> None:
        told = home() / "run" / "in-the-way"
        if why != self._in_the_way:
            log.warning("no runs are taken: %s", why)
        self._in_the_way = why
        (home() / "run" / "ready").unlink(missing_ok=True)
        told.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        told.write_text(why)

    def _wait_for_turn(self, turn: "ServicesTurn") -> None:
        """Until no other machine has the services. Nothing runs here before, also not what an earlier supervisor left,
        but for runs that are under way and for releases."""
        while not self.over.is_set():
            try:
                other = turn.take()
            except InputError as err:  # the database starts too, maybe
                log.warning("%s", err)
                self.over.wait(ROUND_S)
                continue
            if other is None:
                self._in_the_way = ""
                (home() / "run" / "in-the-way").unlink(missing_ok=True)
                return
            for name in NAMES:
                processes.kill(name, alone=name == "worker")
            self._tell_in_the_way(
                f"machine {other} has the services of this station, which one machine has: this one looks after "
                "the releases here, and takes the services over when they are free. Stop it there (`lockgate down`) "
                "if this one should have them. "
                f"If it should be another server or worker, `lockgate down` here, then `{settings.COMMAND} up` with "
                "`--role server` or `--role worker` alone"
            )
            self.over.wait(CODE_S)

    def _keep_turn(self, turn: "ServicesTurn") -> None:
        """Where this machine was cut off from the database, and another one took the services over: all begins anew,
        and waits for its turn."""
        try:
            other = turn.take()
        except InputError as err:  # the database may only restart: what runs here needs it too
            log.warning("%s", err)
            return
        if other is not None:
            log.error("machine %s took the services over: this one stops what it does", other)
            for name in NAMES:
                processes.kill(name, alone=name == "worker")
            os.execv(COMMAND[0], COMMAND)  # noqa: S606 - no shell is wanted

    def _in_background(self, duty: Callable[[], None], every_s: float) -> None:
        def again_and_again() -> None:
            while not self.over.wait(every_s):
                try:
                    duty()
                except Exception as err:  # the server may be gone for a moment; the next round tells
                    log.warning("%s: %s: %s", getattr(duty, "__name__", duty), type(err).__name__, err)

        threading.Thread(target=again_and_again, daemon=True).start()

    def _watch_releases(self) -> None:
        """Releases and proxies come back at once, and with us, as after a reboot. Returns when all is over."""
        if kept.version() is None:
            return  # the very first start
        from flows.serving import watch

        watch(self.shop, self.over, log.info)

    def _ask_forges_in_time(self) -> None:
        """As often as is usual, and soon where one of them said that something happened."""
        if forge_news.take() or time.monotonic() >= self._forges_at:
            self._forges_at = time.monotonic() + FORGES_S
            self._ask_forges()

    def _ask_forges(self) -> None:
        """Runs whose pull request was decided go on, and those whose change was pushed to, at any repository; issues
        become runs. Of every workshop: any may name a block of a hosted forge."""
        from prefect.client.orchestration import get_client

        from flows.forge_watch import waits_for_a_push, wake_decided
        from flows.issues import IssueWatch

        is_hosted = any(kept.names(f"lockgate-{kind}") for kind in ("github", "gitlab", "forgejo", "jira", "linear"))
        if not is_hosted and not any(map(waits_for_a_push, self._shops().values())):
            return

        holder = f"supervisor {os.uname().nodename} {os.getpid()}"
        if self._issues is None:
            self._issues = IssueWatch(holder, log.info)
        with get_client(sync_client=True) as client:
            for line in wake_decided(client, self.shop(), holder):
                log.info(line)
            self._issues.look(client, self._shops())

    def _shops(self) -> "dict[str, Workshop]":
        """All workshops, from our own copy of the blocks."""
        from blocks.workshop import Workshop

        with kept.used():
            return {name: Workshop.saved(name) for name in kept.names("lockgate-workshop")}

    def _tell_people(self) -> None:
        """What the ledgers say that a person has to hear, from our own copy of the blocks."""
        from flows.notices import Notifier

        holder = f"{machine()} {os.getpid()}"
        if self.shop().ledger.lease(TELLS, holder, 6 * FRESH_S, mark_of_this()) is None:
            return  # another one does
        if self._notifier is None:
            self._notifier = Notifier(log.info, settings.desk_url())
        with kept.used():
            self._notifier.look(self._shops())

    def shop(self) -> "Workshop":
        """The default workshop as it was a moment ago, from our own copy: it never waits for the server."""
        from blocks.workshop import Workshop

        with self._reading, kept.used():
            if self._shop is None or self._shop_read != kept.version():
                self._shop_read = kept.version()
                self._shop = Workshop.saved("default")
            return self._shop

    def _wait_for_server(self, timeout_s: float = 250) -> None:
        """It takes 7 s, and minutes on a machine with much else to do. One that has ended is not waited for."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and not self.over.is_set() and (joined() or processes.running("server")):
            if ask_server() is None:
                return
            time.sleep(0.2)
        raise RuntimeError(f"the server does not answer at {settings.url()}; see {processes.log_of('server')}")


class RunsWatch:
    """Crashed runs go on, and runs that wait for a slot take a free one. Keeps one client, and asks little while there
    is nothing to do, or all that is under way here goes on."""

    def __init__(self, shop: "Callable[[], Workshop]", takes_runs: Callable[[], bool] = lambda: True) -> None:
        self._shop, self._takes_runs = shop, takes_runs
        self._looks: Looks | None = None
        self._client: SyncPrefectClient | None = None
        self._not_before = self._soon_until = 0.0
        self._here = frozenset[str]()

    def look(self) -> None:
        """One round; from one thread."""
        from flows import processes as runs

        here, now = runs.alive(), time.monotonic()
        if here != self._here:
            self._here, self._not_before, self._soon_until = here, 0.0, now + SOON_S
        if now < self._not_before:
            return
        try:
            self._look(self._connected())
        except BaseException:
            self._disconnect()  # whatever is wrong with it: the next round has a new one
            raise

    def _look(self, client: "SyncPrefectClient") -> None:
        from flows import processes as runs
        from flows.elsewhere import WAITS, take_ours
        from flows.resume import SLOT, Looks, are_all_among, has_open_runs, in_queue, resume_crashed, take_free_slots

        are_open, now = has_open_runs(client), time.monotonic()
        is_quiet = now >= self._soon_until and (not are_open or are_all_among(client, self._here))
        self._not_before = now + IDLE_ROUND_S if is_quiet else 0.0
        if not are_open:
            runs.sweep()
            return
        self._looks = self._looks or Looks()
        done = resume_crashed(client, ledgers=self._ledger, looks=self._looks)
        if done:  # what crashed may have left a sandbox behind
            self._not_before, self._soon_until = 0.0, now + SOON_S
            done += self._shop().sweep(lambda _: False)
        queue = in_queue(client, SLOT, WAITS)  # one request for both
        if self._takes_runs():  # else they wait for this machine as for one that is away
            done += take_ours(client, begin_run, [run for run in queue if run.state_name == WAITS])
        for line in (*done, *take_free_slots(client, queue=[run for run in queue if run.state_name == SLOT])):
            log.info(line)

    def _ledger(self, workshop: str) -> "Ledger":
        """Of a workshop, from our own copy of the blocks. Raises InputError if there is none of that name."""
        from blocks.workshop import Workshop

        if workshop == "default":
            return self._shop().ledger
        with kept.used():
            try:
                return Workshop.saved(workshop).ledger
            except ValueError as err:
                raise InputError(f"there is no workshop block {workshop!r}") from err

    def _connected(self) -> "SyncPrefectClient":
        if self._client is None:
            from prefect.client.orchestration import get_client

            self._client = get_client(sync_client=True).__enter__()
        return self._client

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                client.__exit__(None, None, None)


def begin_run(run: str, flow: str) -> None:
    """A process for a run, as the worker here would begin it. Its end is seen as that of any run."""
    given = {"PREFECT__FLOW_RUN_ID": run, "PREFECT__FLOW_NAME": flow, "PREFECT__WORKER_NAME": machine()}
    processes.launch("worker", [str(home() / "run" / "bin" / "lockgate-flow-run")], {**_worker_environment(), **given})


def programs() -> tuple[KeptProgram, ...]:
    """What the supervisor keeps running. Settings are read at each start: the port is chosen by `up`."""
    mine = roles()
    server = [PYTHON, "-m", "station.server", "start", "--host", settings.server_host(), "--port", str(settings.port())]
    worker = [
        PYTHON,
        "-m",
        "station.worker",
        "start",
        "--pool",
        settings.POOL,
        "--type",
        "process",
        "--name",
        machine(),
    ]
    for queue in queues():
        worker += ["--work-queue", queue]
    found: list[KeptProgram] = []
    if StationRole.SERVER in mine:
        alone = [] if StationRole.SERVICES in mine else ["--no-services"]
        found += [
            KeptProgram("server", [*server, *alone], _server_environment, home(), ask_server, silent_for_s=90),
            KeptProgram("door", [PYTHON, "-m", "station.door"], _client_environment, settings.PROJECT, ask_door),
        ]
    elif StationRole.SERVICES in mine:
        services = [PYTHON, "-m", "station.server", "services", "start"]
        found.append(KeptProgram("services", services, _server_environment, home(), lambda: None))
    if mine & {StationRole.SERVICES, StationRole.WORKER}:
        zygote = [PYTHON, "-m", "station.warm.zygote"]
        found += [
            KeptProgram(
                "gateway", [PYTHON, "-m", "station.gateway"], _client_environment, settings.PROJECT, ask_gateway
            ),
            KeptProgram("zygote", zygote, _worker_environment, settings.PROJECT, ask_zygote),
            # Runs go on without the worker that has started them, and are found by the next one.
            KeptProgram("worker", worker, _workers_own_environment, settings.PROJECT, ask_worker, 240, 20, alone=True),
        ]
    return tuple(found)


def queues() -> tuple[str, ...]:
    """The work queues that this machine takes runs from."""
    station = ("station",) if StationRole.SERVICES in roles() else ()  # what looks after the station's own home
    return ("default", *station) if StationRole.WORKER in roles() else station


def ask_server() -> str | None:
    """Whether it answers HTTP; that it wants a credential is an answer."""
    try:
        with urllib.request.urlopen(f"{settings.url()}/api/health", timeout=10):  # noqa: S310 - loopback
            return None
    except urllib.error.HTTPError as err:
        return None if err.code == 401 else str(err)
    except OSError as err:
        return str(err)


def ask_door() -> str | None:
    """Whether it answers HTTP, whatever the server behind it does."""
    try:
        with urllib.request.urlopen(f"{settings.door_url()}/door/health", timeout=10):  # noqa: S310 - our own
            return None
    except OSError as err:
        return str(err)


def ask_gateway() -> str | None:
    """A ping over its control socket."""
    from blocks.gateway.gateway import EgressGateway

    return EgressGateway().doctor()


def ask_zygote() -> str | None:
    """Its greeting; one that is stale says so, and ends by itself."""
    place = os.open(home() / "run", os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(f"/proc/self/fd/{place}/zygote.sock")
            return None if connection.recv(1) else "it hung up"
    except OSError as err:
        return str(err)
    finally:
        os.close(place)


def ask_worker() -> str | None:
    """The age of its last heartbeat at the server. While the server does not answer, the worker is not to blame."""
    from station import api

    try:
        found = api.post(f"/work_pools/{settings.POOL}/workers/filter", {})
    except api.NoAnswer:
        return None
    beats = [one["last_heartbeat_time"] for one in found or () if one["name"] == machine()]
    ages = [datetime.now(UTC) - datetime.fromisoformat(beat.replace("Z", "+00:00")) for beat in beats]
    if not ages:
        return "it has never sent a heartbeat"
    late_s = min(ages).total_seconds()
    return f"its last heartbeat was {late_s:.0f} s ago" if late_s > 4 * HEARTBEAT_S else None


def _tell_init(state: str) -> None:
    """systemd, if it has started us and wants to know: https://www.freedesktop.org/software/systemd/man/sd_notify.html"""
    if place := os.environ.get("NOTIFY_SOCKET"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.sendto(state.encode(), f"\0{place[1:]}" if place.startswith("@") else place)


def keep_blocks() -> None:
    """A copy of the blocks in the home, for watching releases, and for a rollback while the server is down."""
    from station import api

    kept.keep(api.blocks())


def sweep_runners(temporary: Path) -> None:
    """Remove what a killed worker's runners left: files with the API credential in them. A live process names its own.

    https://github.com/PrefectHQ/prefect/blob/main/src/prefect/runner/_workspace_starter.py
    """
    commands = {process: _command(process) for process in Path("/proc").glob("[0-9]*")}
    time.sleep(0.2)  # what is just being executed has no arguments for a moment, as kernel threads never have
    told = b"".join(command or _command(process) for process, command in commands.items())
    for left in temporary.glob("prefect-workspace-attempt-*"):
        if os.fsencode(left.name) not in told:
            shutil.rmtree(left, ignore_errors=True)


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # it ended
        return b""


def _is_ready() -> bool:
    return (home() / "run" / "ready").exists() and ask_server() is None


def _client_environment() -> dict[str, str]:
    return {**_system_environment(), **settings.client_environment()}


def _server_environment() -> dict[str, str]:
    return {**_system_environment(), **settings.server_environment(StationRole.SERVICES in roles())}


def _workers_own_environment() -> dict[str, str]:
    from station import bootstrap

    sweep_runners(home() / "tmp")
    folder = home() / "run" / "bin"
    bootstrap.write_command(folder)
    environment = _worker_environment()
    return {**environment, "PATH": f"{folder}:{environment.get('PATH', os.defpath)}"}


def _worker_environment() -> dict[str, str]:
    """The worker's, and with it that of flow runs and of the zygote that they are forks of."""
    temporary = home() / "tmp"  # Prefect's runner uses one fixed name in there: in /tmp another user may own it
    temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {**_client_environment(), "TMPDIR": str(temporary), "PREFECT_WORKER_HEARTBEAT_SECONDS": str(HEARTBEAT_S)}


def _system_environment() -> dict[str, str]:
    """What a process needs of ours: where things are, how networks are reached; nothing that only we know."""
    kept = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR",
            "CI", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
            "DOCKER_HOST", "NPM_CONFIG_REGISTRY", "npm_config_registry")  # fmt: skip
    prefixes = ("UV_", "PIP_", "LOCKGATE_", "HTTP_", "HTTPS_", "NO_PROXY", "http_", "https_", "no_proxy")
    return {name: value for name, value in os.environ.items() if name in kept or name.startswith(prefixes)}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    for noisy in ("httpx", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if forked := Supervisor().run():
        ahead.be(forked)
