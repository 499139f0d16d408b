"""Where this machine's Prefect server is, and what its processes are told. Import before `prefect`."""

import getpass
import os
from pathlib import Path
from urllib.parse import parse_qsl

from blocks.home import home, joined
from domain.errors import InputError
from station import credentials

PROJECT = Path(__file__).resolve().parent.parent
POOL = "lockgate"
COMMAND = "bin/lockgate" if (PROJECT / "bin" / "lockgate").is_file() else "lockgate"
"""How people call us: in a checkout there is a script, else an installation has put it on their PATH."""
_door = ""
"""Where this process is signed in."""


def port() -> int:
    """The server's port: what `up` chose and wrote down, else LOCKGATE_PORT, else 4200."""
    chosen = home() / "port"
    return int(chosen.read_text()) if chosen.is_file() else int(os.environ.get("LOCKGATE_PORT", "4200"))


def url() -> str:
    """Address of the UI: this machine's own, that of the station which it works for, or the door's where a person is
    signed in."""
    return _door or joined() or f"http://127.0.0.1:{port()}"


def door_host() -> str:
    """The address that the door listens on: LOCKGATE_DOOR_HOST, else this machine alone."""
    return os.environ.get("LOCKGATE_DOOR_HOST", "127.0.0.1")


def door_port() -> int:
    """The door's port: LOCKGATE_DOOR_PORT, else the one that it had, else the server's plus 10."""
    if is_door_port_fixed():
        return int(os.environ["LOCKGATE_DOOR_PORT"])
    chosen = home() / "run" / "door-port"
    return int(chosen.read_text()) if chosen.is_file() else port() + 10


def are_metrics_open() -> bool:
    """Whether the door tells its numbers to whoever reaches it: LOCKGATE_METRICS=open."""
    return os.environ.get("LOCKGATE_METRICS") == "open"


def is_door_port_fixed() -> bool:
    """Whether somebody has said which port it must be."""
    return bool(os.environ.get("LOCKGATE_DOOR_PORT"))


def door_url() -> str:
    """The address that people and programs are given."""
    host = "127.0.0.1" if door_host() in ("0.0.0.0", "::") else door_host()  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{door_port()}"


def desk_url() -> str:
    """Where people answer: at the door of this machine, or where a person is signed in."""
    return f"{_door or door_url()}/desk/"


def client_environment() -> dict[str, str]:
    """Prefect settings of everything that talks to the server: CLI, worker, flow runs."""
    return {
        "LOCKGATE_HOME": str(home()),
        "PREFECT_HOME": str(home() / "prefect"),
        "PREFECT_PROFILES_PATH": str(home() / "prefect" / "profiles.toml"),
        "PREFECT_API_URL": f"{url()}/api",
        "PREFECT_API_AUTH_STRING": credentials.api_credential(),
        "PREFECT_LOCAL_STORAGE_PATH": str(home() / "prefect" / "storage"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_WORKER_PREFETCH_SECONDS": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",  # our server asks for no such token: one request less a client
        "DO_NOT_TRACK": "1",
    }


def server_host() -> str:
    """The address that the server listens on: LOCKGATE_SERVER_HOST, else this machine alone. Other machines of the
    station must reach it, and nobody else."""
    return os.environ.get("LOCKGATE_SERVER_HOST", "127.0.0.1")


def server_environment(has_services: bool = True) -> dict[str, str]:
    """Settings of the server alone; only it knows the encryption key, and the database. `has_services`: it runs
    schedules and the like, too."""
    return {
        **client_environment(),
        "PREFECT_SERVER_API_HOST": server_host(),
        "PREFECT_SERVER_API_PORT": str(port()),
        "PREFECT_SERVER_API_AUTH_STRING": credentials.api_credential(),
        "PREFECT_SERVER_ENCRYPTION_KEY": credentials.encryption_key(),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Leases in memory are lost with the server, and a run whose lease cannot be renewed is stopped.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "15",
        # The supervisor gives a free slot to the oldest run at once. If all that wait asked every 30 s, fifty of them
        # would keep the server's SQLite busy, and starting another run would time out.
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "600",
        **_shared_environment(has_services),
    }


def _shared_environment(has_services: bool) -> dict[str, str]:
    """Of a server that shares what it knows with others: https://docs.prefect.io/v3/advanced/self-hosted"""
    shared = credentials.shared()
    if shared is None:
        return {}
    redis = shared.redis.rstrip("/")
    place, _, options = shared.database.partition("://")[2].partition("?")
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{place}",
        # In a URL each driver has another word for it; both read libpq's variables.
        **{f"PG{name.upper()}": value for name, value in parse_qsl(options) if name in credentials.TLS},
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",  # station/server.py does it, one machine at a time
        "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
        "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
        "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
        "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": "prefect_redis.cleanup_queue",
        "PREFECT_REDIS_MESSAGING_URL": f"{redis}/0",
        "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL": f"{redis}/0",
        "PREFECT_SERVER_DOCKET_URL": f"{redis}/1",
        # Whoever takes a task of the services and does not know it drops it: no schedule would make a run any more.
        # https://github.com/PrefectHQ/prefect/blob/main/src/prefect/server/api/background_workers.py
        "PREFECT_SERVER_DOCKET_NAME": "prefect-server" if has_services else "prefect-server-alone",
    }


def use(always: bool = False, door: bool = False) -> None:
    """Point this process at this machine's server, unless the person set another API, or, for a command that works
    through a `door`, is signed in there."""
    global _door
    if always or "PREFECT_API_URL" not in os.environ:
        os.environ.update(client_environment())
        if door and not always and (signed := _login()):
            _door, os.environ["PREFECT_API_URL"] = signed[0], f"{signed[0]}/api"
            os.environ["PREFECT_API_AUTH_STRING"] = signed[1]


def is_signed_in() -> bool:
    """Whether this process talks to a door with a person's token, and so has no ledger and no blocks."""
    return bool(_door)


def claimed(by: str | None) -> str:
    """The name that goes on record for who acts: what is given, else as this machine calls its user. At a door it is
    the token's, which is put in there."""
    if by or is_signed_in():
        return by or ""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def named(by: str | None) -> str:
    """The name that somebody gives. Raises InputError if none is given."""
    if not by:
        raise InputError("give your name with --as")
    return by


def need_station(what: str) -> None:
    """Raises InputError if this process is signed in at a door."""
    if is_signed_in():
        raise InputError(
            f"{what} needs the ledger: ask on the station's machine, or look in the UI at {url()} "
            "(`lockgate logout` turns back to this machine's own station)"
        )


def _login() -> tuple[str, str] | None:
    from station import login

    return login.known()
