"""One health answer, one reading."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from domain.health import HealthCheck, HealthState, HttpAnswer, IdentitySource, Sight, read_health, said_release

REVISION = "a" * 40
UNSEEN = ", but it does not say its releaseId, and nobody can see which release answered here"
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
        (200, said(status="pass", releaseId=None), SICK, f"status pass{UNSEEN}"),
        (200, said(status="pass", releaseId=7), SICK, f"status pass{UNSEEN}"),
        (200, said(status="pass", releaseId="\ud800"), SICK, f"status pass{UNSEEN}"),
        (200, said(status="pass", releaseId="b" * 8), ANOTHER, f"'bbbbbbbb' answers, not {REVISION}"),
        (503, said(status="fail", releaseId="b" * 8), ANOTHER, f"'bbbbbbbb' answers, not {REVISION}"),
        (200, b"", SICK, f"HTTP 200{UNSEEN}"),
        (200, b"OK\n", SICK, f"HTTP 200{UNSEEN}"),
        (200, b"\xff\xfe\xfd", SICK, None),
        (200, b"[" * 100_000, SICK, None),
        (200, b'["pass"]', SICK, f"HTTP 200{UNSEEN}"),
    ],
)
def test_each_answer_has_one_meaning(code: int, body: bytes, state: HealthState, reason: str | None) -> None:
    reading = read_health(HttpAnswer(code, body), HealthCheck(), REVISION)

    assert reading.state is state
    assert reason in (None, reading.reason)


def test_the_check_that_fails_is_named() -> None:
    checks = {"cache": [{"status": "pass"}], "database:products": [{"status": "fail", "output": "no such table"}]}

    reading = read_health(HttpAnswer(503, said(status="fail", checks=checks)), HealthCheck(), REVISION)

    assert reading.reason == "status fail: 'database:products: no such table'"


@pytest.mark.parametrize("checks", [None, [], {"a": None}, {"a": ["x"]}, {"a": [{"status": {}}]}])
def test_checks_of_any_shape_are_no_trouble(checks: Any) -> None:
    assert read_health(HttpAnswer(200, said(status="pass", checks=checks)), HealthCheck(), REVISION).is_healthy


def test_what_the_service_says_is_shown_short_and_without_control_characters() -> None:
    reason = read_health(
        HttpAnswer(503, said(status="fail", output="\x1b[2J\n" + "x" * 5_000)), HealthCheck(), REVISION
    ).reason

    assert len(reason) < 300
    assert reason.isprintable()


def test_a_secret_is_taken_out_before_the_text_is_shortened() -> None:
    output = "x" * 190 + "the-secret-of-all"

    reason = read_health(
        HttpAnswer(503, said(status="fail", output=output)),
        HealthCheck(),
        REVISION,
        lambda s: s.replace("the-secret", "[S]"),
    ).reason

    assert "the" not in reason
    assert "[S]" in reason


def test_the_release_is_read_from_a_sick_answer_too() -> None:
    assert said_release(said(status="fail")) == REVISION
    assert said_release(b"nothing") is None


SEEN, OTHER = Sight(is_it=True, how="from here"), Sight(is_it=False, how="from there")
JSON, TEXT, FORMAT = ({"content-type": kind} for kind in ("application/json", "text/plain", "application/health+json"))


@pytest.mark.parametrize(
    ("check", "answer", "sight", "state", "reason"),
    [
        ("/", (200, b"OK", TEXT), SEEN, HEALTHY, "HTTP 200"),
        ("/", (204, b""), SEEN, HEALTHY, "HTTP 204"),
        ("/", (200, b'{"status": "running"}', JSON), SEEN, HEALTHY, "HTTP 200"),
        ("/", (200, b'{"status": "UP"}', JSON), SEEN, HEALTHY, "status up"),
        ("/", (200, b'{"status": "DOWN"}', JSON), SEEN, SICK, "status down, with HTTP 200 that says otherwise"),
        ("/", (200, b'{"status": "unhealthy"}', JSON), SEEN, SICK, "unhealthy"),
        ("/", (503, b'{"status": "ok"}', JSON), SEEN, SICK, "HTTP 503"),
        ("/", (500, b"<h1>Server Error</h1>"), SEEN, SICK, "HTTP 500"),
        ("/", (200, b'{"status": "fine"}', FORMAT), SEEN, SICK, "none of the format"),
        ("/", (200, b"OK", TEXT), OTHER, ANOTHER, "it says no releaseId, and the answer came from there"),
        ("/", (200, said(status="pass"), FORMAT), OTHER, ANOTHER, f"it says releaseId {REVISION}, but the answer came"),
        ("/", (200, said(status="pass", releaseId="b"), FORMAT), SEEN, ANOTHER, "'b' answers"),
        ("/", (302, b"", {"location": "/login"}), SEEN, SICK, "HTTP 302 to '/login': no redirect is followed"),
        ("/", (301, b"", {"location": "https://a.example/"}), SEEN, SICK, 'set health.scheme = "https"'),
        ("/", (400, b"Invalid host header"), SEEN, SICK, "needs health.host"),
        ({"host": "a.example"}, (400, b"no"), SEEN, SICK, "HTTP 400"),
        ({"status": 302}, (302, b"", {"location": "/login"}), SEEN, HEALTHY, "HTTP 302"),
        ({"status": [200, 401]}, (401, b""), SEEN, HEALTHY, "HTTP 401"),
        ({"status": 204}, (200, b""), SEEN, SICK, "HTTP 200, and 204 is expected"),
        ({"status": 204}, (200, said(status="pass"), FORMAT), SEEN, SICK, "204 is expected"),
        ({"text": "ready"}, (200, b"it is ready now"), SEEN, HEALTHY, "HTTP 200"),
        ({"text": "ready"}, (200, b"not yet"), SEEN, SICK, "'ready' is not in the answer: 'not yet'"),
        ({"format": "health+json"}, (200, b"OK"), SEEN, SICK, "no JSON object"),
        ({"format": "health+json"}, (200, b'{"status": "pass"}'), SEEN, SICK, "does not say its releaseId"),
        ({"format": "health+json"}, (200, said(status="pass")), None, HEALTHY, "status pass"),
    ],
)
def test_an_answer_is_judged_by_what_was_asked_for(
    check: Any, answer: Any, sight: Sight | None, state: HealthState, reason: str
) -> None:
    reading = read_health(HttpAnswer(*answer), HealthCheck.model_validate(check), REVISION, sight=sight)

    assert (reading.state, reason in reading.reason) == (state, True), reading
    wanted = IdentitySource.SAID if reading.release == REVISION else IdentitySource.SEEN
    assert reading.identity is (None if state is ANOTHER else wanted)


@pytest.mark.parametrize("wrong", ["health", "/a b", {"path": ""}, {"host": "a\r\nb"}, {"status": 7}, {"follow": True}])
def test_a_health_check_that_cannot_be_asked_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        HealthCheck.model_validate(wrong)
