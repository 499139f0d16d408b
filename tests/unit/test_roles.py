"""What a machine does for its station: told at the start, kept in the home, refused where it cannot be."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from blocks.home import JOINED, STATION, machine, places
from domain.errors import InputError
from station import cli, credentials, processes, settings, supervisor
from station.credentials import Shared
from station.roles import ALL, StationRole, roles, take

SHARED = Shared("postgresql://lockgate:s3cret@db.internal/prefect", "redis://redis.internal:6379")
SERVER, SERVICES, WORKER = StationRole.SERVER, StationRole.SERVICES, StationRole.WORKER


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    return tmp_path


PARTS = {
    ("alone", ()): ({"server", "door", "gateway", "zygote", "worker"}, ("default", "station")),
    ("alone", (SERVER, SERVICES)): ({"server", "door", "gateway", "zygote", "worker"}, ("station",)),
    ("alone", (SERVER,)): ({"server", "door"}, ()),
    ("alone", (SERVER, WORKER)): ({"server", "door", "gateway", "zygote", "worker"}, ("default",)),
    ("joined", ()): ({"gateway", "zygote", "worker"}, ("default",)),
    ("joined", (SERVICES,)): ({"services", "gateway", "zygote", "worker"}, ("station",)),
    ("joined", (SERVICES, WORKER)): ({"services", "gateway", "zygote", "worker"}, ("default", "station")),
}


@pytest.mark.parametrize(("where", "given"), PARTS)
def test_a_machine_runs_what_its_roles_need_and_takes_their_runs(
    where: str, given: tuple[StationRole, ...], home: Path
) -> None:
    credentials.share(SHARED)
    if where == "joined":
        (home / JOINED).write_text("http://station.internal:4200\n")
    take(given)
    take(())
    found = {program.name: program for program in supervisor.programs()}
    names, queues = PARTS[where, given]
    assert (set(found), supervisor.queues()) == (names, queues)
    is_first = SERVICES in given or (where, given) == ("alone", ())
    if "server" in found:
        assert ("--no-services" in found["server"].argv) is not is_first, "services run once"
    assert places() == {machine(), *([STATION] if is_first else [])}, "one machine looks after what lives nowhere else"


def test_what_a_role_needs_is_asked_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, why in {(WORKER,): "lockgate join", (SERVICES,): "lockgate join", (SERVER,): "PostgreSQL"}.items():
        with pytest.raises(InputError, match=why):
            take(given)
    assert roles() == ALL, "and nothing is kept of what was refused"
    monkeypatch.setattr(processes, "running", lambda name: 1)
    with pytest.raises(InputError, match="lockgate down"):
        take((SERVER, SERVICES))
    (home / JOINED).write_text("http://station.internal:4200\n")
    monkeypatch.setattr(processes, "running", lambda name: None)
    with pytest.raises(InputError, match="a home of its own"):
        take((SERVER,))


def test_where_a_server_shares_what_it_knows_is_kept_for_its_owner_and_told_to_the_server_alone(home: Path) -> None:
    for database, redis in (("sqlite:///x", SHARED.redis), (SHARED.database, "http://x"), ("", "")):
        with pytest.raises(InputError, match="postgresql://"):
            credentials.share(Shared(database, redis))
    assert credentials.shared() is None and "PREFECT_SERVER_DOCKET_URL" not in settings.server_environment()
    credentials.share(SHARED)
    assert credentials.shared() == SHARED
    assert {(credentials.folder() / name).stat().st_mode & 0o777 for name in Shared._fields} == {0o600}
    told = settings.server_environment()
    assert told["PREFECT_SERVER_DATABASE_CONNECTION_URL"].startswith("postgresql+asyncpg://lockgate:s3cret@db.internal")
    assert told["PREFECT_SERVER_DOCKET_URL"] == f"{SHARED.redis}/1"
    assert "s3cret" not in str(settings.client_environment())


def test_tls_is_told_to_each_driver_in_a_word_that_it_knows(home: Path) -> None:
    asked = f"{SHARED.database}?sslmode=verify-full&sslrootcert=/etc/ca%20s.pem"
    credentials.share(Shared(asked, SHARED.redis))
    told = settings.server_environment()
    assert told["PREFECT_SERVER_DATABASE_CONNECTION_URL"].partition("://")[2] == SHARED.database.partition("://")[2]
    assert (told["PGSSLMODE"], told["PGSSLROOTCERT"]) == ("verify-full", "/etc/ca s.pem")
    assert credentials.shared() == Shared(asked, SHARED.redis), "psycopg is given it as it was"


@pytest.mark.parametrize(
    ("database", "redis", "why"),
    [
        (f"{SHARED.database}?ssl=require", SHARED.redis, "says 'ssl'"),
        (f"{SHARED.database}?sslmode=require&channel_binding=require", SHARED.redis, "says 'channel_binding'"),
        (SHARED.database, f"{SHARED.redis}/2", "ends with its port"),
        (SHARED.database, "rediss://redis.internal:6379?ssl_cert_reqs=none", "ends with its port"),
    ],
)
def test_what_the_server_could_not_use_is_refused_with_the_reason(
    database: str, redis: str, why: str, home: Path
) -> None:
    with pytest.raises(InputError, match=why) as told:
        credentials.share(Shared(database, redis))
    assert credentials.shared() is None and "s3cret" not in str(told.value)


def test_urls_are_kept_once_and_others_are_never_passed_over(home: Path) -> None:
    (home / "database").write_text(SHARED.database)
    (home / "redis").write_text(SHARED.redis)
    given = ("up", "--database", str(home / "database"), "--redis", str(home / "redis"))
    refused = CliRunner().invoke(cli.app, [*given, "--role", "worker"])
    assert isinstance(refused.exception, InputError) and "lockgate join" in str(refused.exception)
    assert credentials.shared() is None, "nothing is kept of what was refused"
    credentials.share(SHARED)
    credentials.share(SHARED)
    (home / "database").write_text(SHARED.database.replace("s3cret", "changed"))
    refused = CliRunner().invoke(cli.app, list(given))
    assert f"another URL in {credentials.folder() / 'database'}:" in str(refused.exception)
    assert "changed" not in str(refused.exception)
    (credentials.folder() / "redis").unlink()
    with pytest.raises(InputError, match="has database alone"):
        settings.server_environment()


def test_a_server_that_began_on_sqlite_stays_there(home: Path) -> None:
    (home / "prefect").mkdir()
    (home / "prefect" / "prefect.db").touch()
    with pytest.raises(InputError, match="began on SQLite"):
        credentials.share(SHARED)
