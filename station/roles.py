"""What this machine does for its station: all of it, or a part. The home remembers it in `roles`, one a line."""

from collections.abc import Collection
from enum import StrEnum

from blocks.home import ROLES, home, joined
from blocks.home import SERVICES as DONE_ONCE
from domain.errors import InputError
from station import credentials, processes


class StationRole(StrEnum):
    """A part of a station. `up` without any is a machine that is all of it, or only works where it has joined one."""

    SERVER = "server"
    """Prefect's API and UI, and the door with the desk. There may be several, on one database."""
    SERVICES = DONE_ONCE
    """What is done once: schedules, notices, forges, housekeeping, rollbacks by hand. One machine."""
    WORKER = "worker"
    """Runs tasks, with a gateway and sandboxes of its own. Any number."""


ALL = frozenset(StationRole)


def roles() -> frozenset[StationRole]:
    """Of this machine."""
    try:
        return frozenset(StationRole(line) for line in (home() / ROLES).read_text().split())
    except FileNotFoundError:
        return frozenset({StationRole.WORKER}) if joined() else ALL


def take(given: Collection[StationRole], shares: bool = False) -> None:
    """This machine has these roles from its next start on; without any, those that it had. `shares`: it is about to
    share Prefect's database. Raises InputError if it cannot."""
    wanted = frozenset(given) or roles()
    if wanted != roles() and processes.running("supervisor"):
        raise InputError(
            f"this machine is {named(roles())} now: stop it first (`lockgate down`), then start it as {named(wanted)}"
        )
    if StationRole.SERVER in wanted and joined():
        raise InputError(f"{home()} works for the server at {joined()}: a server needs a home of its own")
    if StationRole.SERVER not in wanted and not joined():
        raise InputError(f"where is the server? `lockgate join URL` says it to {home()}, before it is {named(wanted)}")
    if wanted not in (ALL, {StationRole.WORKER}) and not shares and not credentials.shared():
        raise InputError(
            f"a machine that is only {named(wanted)} shares Prefect's database with others: "
            "give PostgreSQL and Redis (`--database` and `--redis`)"
        )
    if given:
        home().mkdir(mode=0o700, parents=True, exist_ok=True)
        (home() / ROLES).write_text("".join(f"{role}\n" for role in sorted(wanted)))


def named(some: Collection[StationRole]) -> str:
    """For people."""
    return " and ".join(sorted(some))
