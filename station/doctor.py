"""What works on this machine, what is missing, and the fix."""

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING, NamedTuple, cast

from blocks.home import home
from blocks.host import accounts
from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.sandboxes.docker import Docker
from blocks.scanners import Bandit, Dependencies, Gitleaks, Kingfisher, Ruff, Semgrep, Squawk, Zizmor
from blocks.targets.machine.caddy import caddy_binary
from domain.errors import LockgateError
from station import api, moved, processes, settings, sign_in
from station.supervisor import ask_zygote

if TYPE_CHECKING:
    from blocks.trackers.tracker import TrackerBlock
    from blocks.workshop import Workshop


class Check(NamedTuple):
    """One thing that was looked at. What is not `needed` may be missing: something else stands in for it."""

    name: str
    problem: str | None
    """With its fix; None if it works."""
    needed: bool = True


def checks() -> Iterator[Check]:
    """One by one as they are looked at."""
    yield Check("git ≥ 2.38", _git())
    yield Check("home", moved.problem())
    yield Check("sandbox (bubblewrap)", Bubblewrap().doctor())
    yield Check("sandboxes do not share the kernel's limits for one user", accounts.problem(), needed=False)
    yield Check("sandbox (docker; bubblewrap stands in for it)", Docker().doctor(), needed=False)
    yield Check("proxy (caddy)", _caddy())
    for scanner in (Kingfisher(), Gitleaks(), Ruff(), Bandit(), Semgrep(), Zizmor(), Squawk()):
        yield Check(f"scanner {scanner.name}", scanner.doctor())
    silent = "scanner dependencies (what a silent service leaves open goes to a person)"
    yield Check(silent, Dependencies().doctor(), needed=False)
    yield Check(f"disk at {home()}", _disk())
    for name in ("supervisor", "server", "gateway", "worker"):
        yield Check(name, None if processes.running(name) else "not running: `lockgate up` starts it")
    yield Check("zygote (warm starts; without it each run starts a Python of its own)", _zygote(), needed=False)
    problem = _api()
    yield Check("API", problem)
    if problem is None:
        from blocks.workshop import Workshop

        yield Check("ledger, beside what was signed about it", _ledger())
        yield from _databases()
        for name in sorted(api.ledger_urls()):
            yield from of_trackers(name, Workshop.saved(name))
    yield from of_sign_in()


def of_sign_in() -> Iterator[Check]:
    """What `sign-in.toml` sets up; nothing without that file."""
    try:
        found = sign_in.known()
    except LockgateError as err:
        yield Check(f"{sign_in.FILE} (nobody signs in by it)", str(err))
        return
    if found.openid:
        from station.door.openid import why_no_provider

        yield Check(f"people sign in at {found.openid.issuer}", why_no_provider(found.openid))
    if found.proxy:
        here = [each for each in found.proxy.addresses if ip_network(each).is_loopback]
        why = f"every program of this machine can claim any name at the desk, since {', '.join(here)} is its own"
        name = f"the header {found.proxy.header} is believed of a proxy alone"
        yield Check(name, f"{why}: name an address that only the proxy has" if here else None, needed=False)


def of_trackers(name: str, shop: "Workshop") -> Iterator[Check]:
    """Each project whose tickets become runs, once: whether its tracker answers, takes the token and knows it."""
    for reference, project in dict.fromkeys((one.tracker, one.project) for one in shop.tickets):
        try:
            problem = cast("TrackerBlock", shop.tracker(reference)).doctor(project)
        except LockgateError as err:
            problem = str(err)
        yield Check(f"workshop {name}: tickets of {project} at {reference}", problem)


def page() -> Iterator[Check]:
    """A test message by each channel that a workshop names; whether it was taken."""
    from blocks.workshop import Workshop
    from domain.notices import Message
    from tasks.people.pager import resolves, send

    test = Message(
        key=f"lockgate-test-{datetime.now(UTC):%Y%m%d%H%M%S}", subject="Lockgate: a test",
        body="This is a test by `lockgate doctor --page`: nothing has happened, and nothing is to be done.",
    )  # fmt: skip
    for name in sorted(api.ledger_urls()):
        shop = Workshop.saved(name)
        channels = dict.fromkeys((*shop.notices.channels, *([shop.pager] if shop.pager else [])))
        if not channels:
            yield Check(f"workshop {name}", "nobody is told of anything: give it `notices` or a `pager`")
        for channel in channels:
            problem = send(channel, test)
            if problem is None and resolves(channel):
                problem = send(channel, test.model_copy(update={"is_over": True}))
            yield Check(f"workshop {name}: {channel}", problem)


def _ledger() -> str | None:
    from blocks.workshop import workshop
    from tasks.releasing import checkpoint

    try:
        return "; ".join(checkpoint.compare(workshop("default")).problems) or None
    except LockgateError as err:
        return str(err)


def _databases() -> Iterator[Check]:
    from blocks.workshop import Workshop

    shop = Workshop.saved("default")
    for environment in shop.databases:
        try:
            database = shop.database(environment)
            yield Check(f"database of {environment}", database.doctor() if database else None)
        except LockgateError as err:
            yield Check(f"database of {environment}", str(err))


def _git() -> str | None:
    path = shutil.which("git")
    if path is None:
        return "not installed: apt-get install git"
    words = subprocess.run([path, "--version"], capture_output=True, text=True).stdout.split()
    version = tuple(int(part) for part in words[2].split(".")[:2])
    return (
        None if version >= (2, 38) else f"{words[2]} is too old for merges without a work tree: install 2.38 or newer"
    )


def _caddy() -> str | None:
    try:
        caddy_binary()
    except LockgateError as err:
        return str(err)
    return None


def _disk() -> str | None:
    home().mkdir(parents=True, exist_ok=True)
    free_gb = shutil.disk_usage(home()).free / 1e9
    return None if free_gb > 2 else f"only {free_gb:.1f} GB free: clean up, or set LOCKGATE_HOME to another disk"


def _zygote() -> str | None:
    if not processes.running("zygote"):
        return "not running: `lockgate up` starts it"
    problem = ask_zygote()
    return (
        f"it does not answer ({problem}): the supervisor replaces it within minutes, see run/zygote.log"
        if problem
        else None
    )


def _api() -> str | None:
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            client.hello()
            client.read_deployment_by_name("agent-task/agent-task")
    except Exception as err:  # whatever it is, it is the answer
        return f"{settings.url()}: {err or type(err).__name__}: `lockgate up` starts it"
    return None
