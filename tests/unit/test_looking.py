"""Runs by the beginning of their id, a log that is followed, and blocks that are made on the command line."""

import io
from typing import Any

import pytest

from blocks.base import LockgateBlock
from domain.errors import InputError
from station import adding, api, looking

IDS = ["0a1b2c3d-0000-4000-8000-000000000001", "0a1b2c3e-0000-4000-8000-000000000002"]


def test_a_run_is_known_by_any_beginning_that_no_other_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "in_short", lambda *_: [{"id": one} for one in IDS])
    assert [api.whole(given) for given in ("0a1b2c3d", "0A1B2C3E-00")] == IDS
    assert api.whole(IDS[0].replace("-", "").upper()) == IDS[0]
    assert api.whole("nonsense") == "nonsense", "who reads it says that it is none"
    with pytest.raises(InputError, match="2 runs begin so"):
        api.whole("0a1b")
    with pytest.raises(InputError, match="no run 'ffff'"):
        api.whole("ffff")
    monkeypatch.setattr(api, "in_short", lambda *_: [{"id": IDS[0]}])
    assert api.whole("0a1b") == IDS[0]
    with pytest.raises(InputError, match="at least the first 4 characters"):
        api.whole("0a1")


def test_a_log_is_followed_until_its_run_ends_and_no_line_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [{"timestamp": f"2026-11-30T07:00:{n:02}Z", "message": f"line {n}\x1b[2J"} for n in range(5)]
    there, states = [2], iter(["RUNNING", "RUNNING", "COMPLETED"])

    def asked(path: str, body: Any) -> list[Any]:
        return lines[body["offset"] : there[0]][:2]

    def grow(_: float) -> None:
        there[0] += 1

    def state(_: str) -> Any:
        found = next(states)
        if found == "COMPLETED":
            there[0] = 5
        return {"state_type": found}

    monkeypatch.setattr(api, "post", asked)
    monkeypatch.setattr(api, "run", state)
    monkeypatch.setattr(looking.time, "sleep", grow)
    looking.show_log("run", follow=True)
    told = capsys.readouterr().out
    assert all(f"line {n}" in told for n in range(5)) and len(told.splitlines()) == 5
    assert "\x1b" not in told


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def load(kind: type, name: str) -> Any:
        if name not in found:
            raise ValueError(name)
        return found[name]

    monkeypatch.setattr(LockgateBlock, "saved", classmethod(load))
    monkeypatch.setattr(LockgateBlock, "keep", lambda block, name: found.__setitem__(name, block))
    return found


def test_a_secret_comes_from_stdin_and_is_in_no_message(saved: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("s3cret\n"))
    told = adding.add_secret("NPM_TOKEN", ["registry.example.org"], "authorization", [], [])
    assert saved["npm-token"].value.get_secret_value() == "s3cret" and "s3cret" not in told
    with pytest.raises(InputError, match="already"):  # before a value is asked for
        adding.add_secret("NPM_TOKEN", ["registry.example.org"], "authorization", [], [])
    monkeypatch.setattr("sys.stdin", io.StringIO("s3cret"))
    with pytest.raises(InputError) as refused:
        adding.add_secret("NO-NAME!", [], "authorization", ["never"], [])
    assert "s3cret" not in str(refused.value)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(InputError, match="no value was given"):
        adding.add_provider("anthropic", "anthropic", "", True)


def test_an_agent_is_made_of_its_fields(saved: dict[str, Any]) -> None:
    assert adding.add_agent("mini-swe", "mine", ["model=anthropic/x", "command_timeout_s=60"]).startswith(
        "mini-swe/mine"
    )
    assert (saved["mine"].model, saved["mine"].command_timeout_s) == ("anthropic/x", 60)
    for kind, fields, wrong in (
        ("secret", [], "no agent of kind"), ("mini-swe", ["model"], "NAME=VALUE"),
        ("mini-swe", ["nothing=x"], "nothing"), ("replay", [], "recording"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=wrong):
            adding.add_agent(kind, "other", fields)
