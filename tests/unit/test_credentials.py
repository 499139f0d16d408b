"""Credentials are made once, for one reader."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from station import credentials

PROJECT = Path(__file__).parents[2]
BOTH = [credentials.api_credential, credentials.encryption_key]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["umask 000", "umask 022", "umask 077"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.parametrize("make", BOTH)
def test_a_credential_is_made_once_and_is_then_the_same(home: Path, make: Callable[[], str]) -> None:
    first = make()
    assert first == first.strip() != ""
    assert [make() for _ in range(3)] == [first] * 3


@pytest.mark.usefixtures("umask")
def test_only_the_owner_may_read_them_whatever_the_umask(home: Path) -> None:
    for make in BOTH:
        make()
    assert credentials.folder().stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in credentials.folder().iterdir()}
    assert modes == {"api-credential": 0o600, "encryption-key": 0o600}, "and no draft is left"


def test_they_are_of_the_kind_that_prefect_asks_for(home: Path) -> None:
    user, _, password = credentials.api_credential().partition(":")
    assert user == "lockgate"
    assert len(password) >= 32
    assert not any(c.isspace() or c == ":" for c in password)
    Fernet(credentials.encryption_key())


def test_another_home_has_others(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = [make() for make in BOTH]
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "another"))
    assert all(make() not in here for make in BOTH)


def test_what_a_person_put_there_is_used(home: Path) -> None:
    credentials.folder().mkdir(parents=True)
    (credentials.folder() / "api-credential").write_text("ann:of-her-own\n")
    assert credentials.api_credential() == "ann:of-her-own"


def test_a_draft_that_a_crash_left_is_in_nobodys_way(home: Path) -> None:
    credentials.folder().mkdir(parents=True)
    (credentials.folder() / f".api-credential.{os.getpid()}").write_text("half")
    assert credentials.api_credential().startswith("lockgate:")


def test_eight_at_once_agree_on_one(home: Path) -> None:
    code = (
        "import sys; from station import credentials; print('ready', flush=True); sys.stdin.read(1)\n"
        "print(credentials.api_credential(), credentials.encryption_key())"
    )
    env = {**os.environ, "LOCKGATE_HOME": str(home), "PYTHONPATH": str(PROJECT)}
    runners = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    for runner in runners:
        assert runner.stdout is not None
        assert runner.stdout.readline() == "ready\n"
    for runner in runners:
        assert runner.stdin is not None
        runner.stdin.write("x")
        runner.stdin.flush()
    answers = {runner.communicate(timeout=30)[0] for runner in runners}
    assert answers == {f"{credentials.api_credential()} {credentials.encryption_key()}\n"}
    assert sorted(path.name for path in credentials.folder().iterdir()) == ["api-credential", "encryption-key"]
