"""Who is told of what, and whether they got it: by a real SMTP server and by real HTTP servers."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from blocks import kept
from blocks.ledger.ledger import Ledger
from domain.access import Holding
from domain.brief import Acceptance, Brief, Budget
from domain.models import Metered
from domain.notices import Class, Message, Notices, Notified, Notifying
from domain.project import ProjectSettings
from domain.task import Answer, Approval, BillLine, End, Outcome, Prepared, Question, Release, RolledBack
from flows import notices
from flows.notices import Notifier
from tasks.people import pager

MARK = "f" * 64


class Hook(ThreadingHTTPServer):
    """A server that answers each request as it is told: a status, a redirect, or nothing at all."""

    daemon_threads = True

    def __init__(self, answer: int | str = 202) -> None:
        self.answer, self.told, self.over = answer, list[dict[str, Any]](), threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if self.server.answer == "hang":
            self.server.over.wait(30)
            return
        where = self.server.answer if isinstance(self.server.answer, str) else None
        self.send_response(302 if where else int(self.server.answer))
        if where:
            self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.told.append({"followed": self.path})
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


@contextmanager
def hook(answer: int | str = 202) -> Iterator[Hook]:
    with Hook(answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


class Inbox:
    """What a mail server took."""

    def __init__(self) -> None:
        self.mails: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(envelope.content.decode())
        return "250 OK"


@contextmanager
def mail_server() -> Iterator[tuple[Inbox, dict[str, Any]]]:
    inbox = Inbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(inbox, hostname="127.0.0.1", port=port, ready_timeout=60)
    controller.start()
    fields = {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "sender": "gate@example.org",
        "to": ["ann@example.org"],
    }
    try:
        yield inbox, fields
    finally:
        controller.stop()


class Shop:
    """A workshop as notices see it."""

    def __init__(self, ledger: Ledger, policy: Notices) -> None:
        self.ledger, self.notices, self.targets = ledger, policy, {"shop": "process-target/shop"}


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Keeps what blocks hold as the supervisor does."""
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(kept.OFFLINE, "1")
    (tmp_path / "home" / "credentials").mkdir(parents=True)
    (tmp_path / "home" / "credentials" / "encryption-key").write_text(Fernet.generate_key().decode())
    return kept.keep


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(url=f"sqlite:///{tmp_path}/ledger.db")


def duty(server: Hook) -> dict[str, Any]:
    return {"routing_key": "secret-key", "url": server.url}


def ask(ledger: Ledger, run: str = "run-1", text: str = "") -> None:
    ledger.record(run, "question", MARK, Question(fingerprint=MARK, attempt=1, commit="c" * 40, text=text))


def answer(ledger: Ledger, run: str = "run-1") -> None:
    ledger.record(run, "approval", MARK, Approval(answer=Answer.APPROVE, reviewer="ann", fingerprint=MARK))


def freeze(ledger: Ledger, run: str = "run-1", why: str = "the ledger is away") -> None:
    made = Outcome(run_id=run, title="Search", end=End.FROZEN, sentence=f"frozen: {why}", reasons=(why,))
    ledger.record(run, "outcome", "outcome", made)


def told(ledger: Ledger) -> list[tuple[str, str, bool]]:
    """(step, channel, whether it was taken) of each message."""
    found = [Notified.model_validate(entry.body) for entry in ledger.entries(kind="notified")]
    return [(one.step, one.channel, one.problem is None) for one in found]


def test_an_incident_is_opened_once_and_resolved_with_the_same_key(blocks: Any, ledger: Ledger) -> None:
    with hook() as server:
        blocks({"lockgate-pagerduty/x": duty(server)})
        shops: Any = {"default": Shop(ledger, Notices(otherwise=("lockgate-pagerduty/x",)))}
        one = Notifier(print, "http://desk/")
        ask(ledger)
        one.look(shops)
        one.look(shops)
        Notifier(print, "http://desk/").look(shops)  # as after a restart
        answer(ledger)
        one.look(shops)
        one.look(shops)
        ledger.record("people", "held", "1", Holding(environment="shop", by="ann", reason="a fire"))
        one.look(shops)
        ledger.record("people", "opened", "1", Holding(environment="shop", by="ann", reason="it is out"))
        one.look(shops)
    events = [(event["event_action"], event["dedup_key"].partition("/")[0]) for event in server.told]
    assert events == [("trigger", "review"), ("resolve", "review"), ("trigger", "held"), ("resolve", "held")]
    assert server.told[0]["dedup_key"] == server.told[1]["dedup_key"]
    assert "http://desk/review/run-1" in server.told[0]["payload"]["custom_details"]["text"]
    assert server.told[2]["payload"]["severity"] == "critical"
    assert ledger.verify() is None


@pytest.mark.parametrize("broken", [500, "hang", "redirect", "refused"])
def test_what_the_first_channel_does_not_take_goes_to_the_second_and_is_on_record(
    blocks: Any, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, broken: int | str
) -> None:
    if broken == "hang":
        monkeypatch.setattr(pager, "SEND_S", 2.0)
    with hook(200) as elsewhere, mail_server() as (inbox, mail):
        with hook(elsewhere.url if broken == "redirect" else 500 if broken == "refused" else broken) as server:
            if broken == "refused":
                server.server_close()
            blocks({
                "slack-webhook/x": {"url": f"json://127.0.0.1:{server.server_port}/"},
                "lockgate-pagerduty/x": duty(server),
                "lockgate-email/x": mail,
            })  # fmt: skip
            for number, first in enumerate(("slack-webhook/x", "lockgate-pagerduty/x")):
                shops: Any = {"default": Shop(ledger, Notices(otherwise=(first, "lockgate-email/x")))}
                freeze(ledger, f"run-{number}")
                Notifier(print, "").look(shops)
        assert elsewhere.told == [], "who is redirected to is not told, and its answer is none"
    taken = [(channel, was) for step, channel, was in told(ledger) if step == "first"]
    assert ("slack-webhook/x", False) in taken and ("lockgate-pagerduty/x", False) in taken
    assert sum("frozen" in one for one in inbox.mails) == 2
    assert not any("json://" in str(entry.body) or "secret-key" in str(entry.body) for entry in ledger.entries())


def test_a_channel_that_fails_is_left_alone_longer_and_longer_and_the_broken_pager_is_told(
    blocks: Any, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(notices.time, "monotonic", lambda: now[0])
    with hook(500) as server, mail_server() as (inbox, mail):
        blocks({"lockgate-pagerduty/x": duty(server), "lockgate-email/x": mail})
        routes = {Class.FROZEN: ("lockgate-pagerduty/x",), Class.PAGER: ("lockgate-pagerduty/x", "lockgate-email/x")}
        shops: Any = {"default": Shop(ledger, Notices(routes=routes))}
        one = Notifier(print, "")
        freeze(ledger)
        for _ in range(200):  # an hour
            one.look(shops)
            now[0] += 18.0
        assert [len(server.told), len(inbox.mails)] == [7, 1], "after 0, 30, 90, 210 … seconds"
        assert "lockgate-pagerduty/x could not be reached" in inbox.mails[0]
        server.answer = 202
        now[0] += 3600
        one.look(shops)
        one.look(shops)
    assert {event["dedup_key"] for event in server.told} == {"frozen/run-1/outcome"}
    assert len(server.told) == 8


def test_who_is_killed_between_sending_and_recording_sends_it_twice_at_most(
    blocks: Any, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hook() as server:
        blocks({"lockgate-pagerduty/x": duty(server)})
        shops: Any = {"default": Shop(ledger, Notices(otherwise=("lockgate-pagerduty/x",)))}
        freeze(ledger)

        def send(channel: str, message: Message) -> str | None:
            assert pager.send(channel, message) is None
            raise KeyboardInterrupt  # nothing of ours runs after it, as after kill -9

        monkeypatch.setattr(notices, "send", send)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                Notifier(print, "").look(shops)
        monkeypatch.setattr(notices, "send", pager.send)
        for _ in range(2):
            Notifier(print, "").look(shops)
    assert [event["dedup_key"] for event in server.told] == ["frozen/run-1/outcome"] * 2
    assert len([Notifying.model_validate(entry.body) for entry in ledger.entries(kind="notifying")]) == 2


def test_a_review_that_waits_is_reminded_and_escalated_once(blocks: Any, ledger: Ledger) -> None:
    with mail_server() as (inbox, mail):
        blocks({"lockgate-email/x": mail, "lockgate-email/boss": {**mail, "to": ["boss@example.org"]}})
        policy = Notices(otherwise=("lockgate-email/x",), escalate_to=("lockgate-email/boss",))
        shops: Any = {"default": Shop(ledger, policy)}
        ask(ledger)
        one, now = Notifier(print, ""), datetime.now(UTC)
        for hours in (0, 1, 5, 6, 25, 26, 100):
            one.look(shops, now + timedelta(hours=hours))
    assert [step for step, _, _ in told(ledger)] == ["first", "reminder", "escalation"]
    assert ["To: ann" in mail or "To: boss" in mail for mail in inbox.mails] == [True] * 3
    assert "To: boss@example.org" in inbox.mails[2] and "nobody answered" in inbox.mails[2]


def test_quiet_hours_hold_back_what_is_not_urgent_and_end_with_a_digest(blocks: Any, ledger: Ledger) -> None:
    with mail_server() as (inbox, mail):
        blocks({"lockgate-email/x": mail})
        night, hour = datetime.now(UTC), timedelta(hours=1)
        there = night.astimezone(ZoneInfo("Europe/Berlin"))
        policy = Notices(
            otherwise=("lockgate-email/x",), zone="Europe/Berlin",
            quiet_from=(there - 8 * hour).time(), quiet_until=(there + hour).time(),
        )  # fmt: skip
        shops: Any = {"default": Shop(ledger, policy)}
        for number in range(5):
            ask(ledger, f"run-{number}")
        freeze(ledger, "run-9")
        one = Notifier(print, "http://desk/")
        one.look(shops, night)
        assert len(inbox.mails) == 1 and "frozen" in inbox.mails[0]
        one.look(shops, night + 2.5 * hour)
        one.look(shops, night + 3 * hour)  # before the first reminder
    assert len(inbox.mails) == 2 and "Subject: Lockgate: 5 things to hear of" in inbox.mails[1]


def test_what_agents_write_neither_makes_a_header_nor_calls_a_channel(blocks: Any, ledger: Ledger) -> None:
    evil = "x\r\nBcc: eve@example.org\r\n\r\n<!channel> @here <https://evil.example|click>\ud800"
    with hook(200) as server, mail_server() as (inbox, mail):
        blocks({"slack-webhook/x": {"url": f"json://127.0.0.1:{server.server_port}/"}, "lockgate-email/x": mail})
        for channel in ("slack-webhook/x", "lockgate-email/x"):
            assert pager.send(channel, Message(key=evil, subject=evil, body=evil)) is None
    head = inbox.mails[0].partition("\r\n\r\n")[0]
    assert "\r\nBcc" not in head and "To: ann@example.org" in head
    assert "<" not in str(server.told[0]) and "@" not in str(server.told[0])


def test_old_news_is_not_told_when_notices_are_turned_on_and_a_live_release_ends_a_rollback(
    blocks: Any, ledger: Ledger
) -> None:
    with hook() as server:
        blocks({"lockgate-pagerduty/x": duty(server)})
        shops: Any = {"default": Shop(ledger, Notices(otherwise=("lockgate-pagerduty/x",)))}
        back = RolledBack(environment="shop", failed="a" * 40, serving=None, revert=None, bundle="x")
        ledger.record("run-1", "rolled_back", "a" * 40, back)
        Notifier(print, "").look(shops, datetime.now(UTC) + timedelta(days=2))
        assert server.told == []
        one = Notifier(print, "")
        one.look(shops)
        release = Release(environment="shop", revision="b" * 40, artifact="x", url="http://x")
        ledger.record("run-2", "live", "b" * 40, release)
        one.look(shops)
    assert [event["event_action"] for event in server.told] == ["trigger", "resolve"]


def test_a_dead_channel_keeps_no_caller(blocks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pager, "SEND_S", 0.2)
    with hook("hang") as server:
        blocks({"lockgate-pagerduty/x": duty(server)})
        began = time.monotonic()
        assert not pager.page("lockgate-pagerduty/x", "down", "it is")
        assert not server.over.is_set() and time.monotonic() - began < 9, "before its own time was up"


def test_a_budget_that_is_nearly_used_up_is_told_once_and_is_over_with_the_run(blocks: Any, ledger: Ledger) -> None:
    """By money, as calls are metered, and by minutes of sandbox time."""
    for run in ("money", "minutes", "little"):
        brief = Brief(
            title=f"Search by {run}", goal="g", repository="/srv/a.git", agent="codex/x",
            acceptance=Acceptance(command="make check"), budget=Budget(usd=1.0, minutes=10),
        )  # fmt: skip
        ledger.record(run, "prepared", "prepared", Prepared(
            run_id=run, brief=brief, base="b" * 40, settings=ProjectSettings(), settings_source="detected",
            contract="c", requirements=(),
        ))  # fmt: skip

    def spend(run: str, call: int, usd: float = 0.0, sandbox_s: float = 0.0) -> None:
        if sandbox_s:
            line = BillLine(run_id=run, step="edit", attempt=1, sandbox_s=sandbox_s)
            ledger.record(run, "bill", f"edit-{call}", line)
            return
        used = Metered(
            run_id=run,
            call=f"{call}",
            step="edit",
            attempt=1,
            agent="codex",
            environment=None,
            model="x/large",
            usd=usd,
        )
        ledger.record(run, "metered", f"{call}", used)

    with hook() as server:
        blocks({"lockgate-pagerduty/x": duty(server)})
        shops: Any = {"default": Shop(ledger, Notices(otherwise=("lockgate-pagerduty/x",)))}
        one = Notifier(print, "http://desk/")
        one.look(shops)
        spend("money", 1, usd=0.5)
        spend("minutes", 1, sandbox_s=7.9 * 60)
        spend("little", 1, usd=0.79)
        one.look(shops)
        assert server.told == [], "less than four fifths"
        spend("money", 2, usd=0.3)
        spend("minutes", 2, sandbox_s=0.2 * 60)
        one.look(shops)
        spend("money", 3, usd=0.1)
        one.look(shops)
        later = Notifier(print, "http://desk/")  # as after a restart
        later.look(shops)
        spend("money", 4, usd=0.05)
        later.look(shops)
        texts = {event["dedup_key"]: event["payload"]["custom_details"]["text"] for event in server.told}
        assert len(server.told) == 2 and sorted(texts) == ["budget/minutes", "budget/money"], texts
        assert "0.80 of 1.00 USD" in texts["budget/money"] and "8 of 10 minutes" in texts["budget/minutes"]
        ended = Outcome(run_id="money", title="Search", end=End.GAVE_UP, sentence="gave up: the budget is used up")
        ledger.record("money", "outcome", "outcome", ended)
        later.look(shops)
    assert ("resolve", "budget/money") in [(event["event_action"], event["dedup_key"]) for event in server.told]


SIGN_IN: tuple[tuple[str, dict[str, Any], dict[str, Any], str | None], ...] = (
    ("starttls", {"security": "starttls"}, {}, None),
    ("tls", {"security": "tls"}, {"implicit": True}, None),
    ("a wrong password", {"security": "starttls", "password": "wrong-secret"}, {}, "535"),
    ("a wrong password over tls", {"security": "tls", "password": "wrong-secret"}, {"implicit": True}, "535"),
    ("a certificate that nobody signed", {"security": "starttls"}, {"trusted": False}, "CERTIFICATE_VERIFY_FAILED"),
    ("the same over tls", {"security": "tls"}, {"implicit": True, "trusted": False}, "CERTIFICATE_VERIFY_FAILED"),
    ("another host's certificate", {"security": "starttls"}, {"of": "127.0.0.9"}, "CERTIFICATE_VERIFY_FAILED"),
    ("a server that speaks no TLS", {"security": "starttls"}, {"tls": False}, "STARTTLS"),
)


@pytest.mark.parametrize(
    ("fields", "server", "problem"), [each[1:] for each in SIGN_IN], ids=[each[0] for each in SIGN_IN]
)
def test_mail_signs_in_over_tls_and_the_password_goes_nowhere_else(
    blocks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], server: dict[str, Any],
    problem: str | None,
) -> None:  # fmt: skip
    certificate = _certificate(tmp_path, str(server.get("of", "127.0.0.1")))
    if server.get("trusted", True):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    offered: list[bytes] = []

    def authenticate(_server: Any, session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        assert session.ssl is not None or server.get("implicit"), "never in the clear"
        offered.append(data.password)
        return AuthResult(success=(data.login, data.password) == (b"gate", b"right-secret"), handled=False)

    inbox, context = Inbox(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tls: dict[str, Any] = {"ssl_context": context} if server.get("implicit") else {"tls_context": context}
    controller = Controller(
        inbox, hostname="127.0.0.1", port=port, ready_timeout=60, authenticator=authenticate, auth_required=True,
        auth_require_tls=not server.get("implicit"), **(tls if server.get("tls", True) else {}),
    )  # fmt: skip
    controller.start()
    try:
        blocks({"lockgate-email/x": {
            "host": "127.0.0.1", "port": port, "user": "gate", "password": "right-secret", "sender": "gate@example.org",
            "to": ["ann@example.org"], **fields,
        }})  # fmt: skip
        why = pager.send("lockgate-email/x", Message(key="k", subject="Something waits", body="Look at it."))
    finally:
        controller.stop()
    if problem is None:
        assert why is None and "Something waits" in inbox.mails[0] and offered == [b"right-secret"]
        return
    assert why is not None and problem in why and "secret" not in why and inbox.mails == []
    assert set(offered) == ({b"wrong-secret"} if problem == "535" else set())


def _certificate(folder: Path, address: str) -> Path:
    """Key and certificate of a server at an address, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    at = folder / "mail.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    at.write_bytes(pem + made.public_bytes(Encoding.PEM))
    return at
