"""What a machine does for its station: told at the start, kept in the home, refused where it cannot be."""

from pathlib import Path

import pytest

from blocks.home import JOINED
from domain.errors import InputError
from station import credentials, processes, settings, supervisor
from station.credentials import Shared
from station.roles import ALL, Role, roles, take

SHARED = Shared("postgresql://lockgate:s3cret@db.internal/prefect", "redis://redis.internal:6379")
SERVER, SERVICES, WORKER = Role.SERVER, Role.SERVICES, Role.WORKER


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    return tmp_path


PARTS = {
    ("alone", ()): ({"server", "door", "gateway", "zygote", "worker"}, ("default", "station")),
    ("alone", (SERVER, SERVICES)): ({"server", "door", "gateway", "zygote", "worker"}, ("station",)),
    ("alone", (SERVER,)): ({"server", "door"}, ()),
    ("joined", ()): ({"gateway", "zygote", "worker"}, ("default",)),
    ("joined", (SERVICES,)): ({"services", "gateway", "zygote", "worker"}, ("station",)),
    ("joined", (SERVICES, WORKER)): ({"services", "gateway", "zygote", "worker"}, ("default", "station")),
}


@pytest.mark.parametrize(("where", "given"), PARTS)
def test_a_machine_runs_what_its_roles_need_and_takes_their_runs(
    where: str, given: tuple[Role, ...], home: Path
) -> None:
    credentials.share(SHARED)
    if where == "joined":
        (home / JOINED).write_text("http://station.internal:4200\n")
    take(given)
    take(())
    found = {program.name: program for program in supervisor.programs()}
    names, queues = PARTS[where, given]
    assert (set(found), supervisor.queues()) == (names, queues)
    if "server" in found:
        assert ("--no-services" in found["server"].argv) is (given == (SERVER,)), "services run once"


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


def test_a_server_that_began_on_sqlite_stays_there(home: Path) -> None:
    (home / "prefect").mkdir()
    (home / "prefect" / "prefect.db").touch()
    with pytest.raises(InputError, match="began on SQLite"):
        credentials.share(SHARED)
