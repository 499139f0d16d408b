"""One health answer, one reading."""

import json
from typing import Any

import pytest

from domain.health import HealthState, read_health, said_release

REVISION = "a" * 40
HEALTHY, SICK, ANOTHER = HealthState.HEALTHY, HealthState.SICK, HealthState.ANOTHER


def said(**fields: Any) -> bytes:
    return json.dumps({"releaseId": REVISION, **fields}).encode()


@pytest.mark.parametrize(
    ("code", "body", "state", "reason"),
    [
        (200, said(status="pass"), HEALTHY, "status pass"),
        (204, said(status="ok"), HEALTHY, "status ok"),
        (302, said(status="up"), HEALTHY, "status up"),
        (200, said(status="UP"), HEALTHY, "status up"),
        (200, said(status="warn", output="disk 90 %"), HEALTHY, "status warn: 'disk 90 %'"),
        (503, said(status="fail"), SICK, "status fail"),
        (500, said(status="error", output="no table"), SICK, "status error: 'no table'"),
        (503, said(status="Down"), SICK, "status down"),
        (200, said(status="fail"), SICK, "status fail, with HTTP 200 that says otherwise"),
        (503, said(status="pass"), SICK, "status pass, but HTTP 503 says otherwise"),
        (404, said(status="warn"), SICK, "status warn, but HTTP 404 says otherwise"),
        (101, said(status="pass"), SICK, "status pass, but HTTP 101 says otherwise"),
        (200, said(status="great"), SICK, "HTTP 200 and status '\"great\"' is none of the format"),
        (200, said(status=None), SICK, "HTTP 200 and status 'null' is none of the format"),
        (200, said(), SICK, "HTTP 200 and status 'null' is none of the format"),
        (200, said(status=["pass"]), SICK, "HTTP 200 and status '[\"pass\"]' is none of the format"),
        (200, said(status="pass", releaseId=None), SICK, "status pass, but it does not say its releaseId"),
        (200, said(status="pass", releaseId=7), SICK, "status pass, but it does not say its releaseId"),
        (200, said(status="pass", releaseId="\ud800"), SICK, "status pass, but it does not say its releaseId"),
        (200, said(status="pass", releaseId="b" * 8), ANOTHER, f"'bbbbbbbb' answers, not {REVISION}"),
        (503, said(status="fail", releaseId="b" * 8), ANOTHER, f"'bbbbbbbb' answers, not {REVISION}"),
        (200, b"", SICK, "HTTP 200 and the body is not JSON: ''"),
        (200, b"OK\n", SICK, "HTTP 200 and the body is not JSON: 'OK '"),
        (200, b"\xff\xfe\xfd", SICK, None),
        (200, b"[" * 100_000, SICK, None),
        (200, b'["pass"]', SICK, "HTTP 200 and the body is not a JSON object"),
    ],
)
def test_each_answer_has_one_meaning(code: int, body: bytes, state: HealthState, reason: str | None) -> None:
    reading = read_health(code, body, REVISION)

    assert reading.state is state
    assert reason in (None, reading.reason)


def test_the_check_that_fails_is_named() -> None:
    checks = {"cache": [{"status": "pass"}], "database:products": [{"status": "fail", "output": "no such table"}]}

    reading = read_health(503, said(status="fail", checks=checks), REVISION)

    assert reading.reason == "status fail: 'database:products: no such table'"


@pytest.mark.parametrize("checks", [None, [], {"a": None}, {"a": ["x"]}, {"a": [{"status": {}}]}])
def test_checks_of_any_shape_are_no_trouble(checks: Any) -> None:
    assert read_health(200, said(status="pass", checks=checks), REVISION).is_healthy


def test_what_the_service_says_is_shown_short_and_without_control_characters() -> None:
    reason = read_health(503, said(status="fail", output="\x1b[2J\n" + "x" * 5_000), REVISION).reason

    assert len(reason) < 300
    assert reason.isprintable()


def test_a_secret_is_taken_out_before_the_text_is_shortened() -> None:
    output = "x" * 190 + "the-secret-of-all"

    reason = read_health(
        503, said(status="fail", output=output), REVISION, lambda s: s.replace("the-secret", "[S]")
    ).reason

    assert "the" not in reason
    assert "[S]" in reason


def test_the_release_is_read_from_a_sick_answer_too() -> None:
    assert said_release(said(status="fail")) == REVISION
    assert said_release(b"nothing") is None
