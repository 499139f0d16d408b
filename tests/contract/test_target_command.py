"""What holds of command alone: what commands answer, what they are told, and who may run them.

What holds for every target is in test_targets.py.
"""

import contextlib
import datetime
import functools
import http.server
import ipaddress
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from blocks.host.run import is_group_alive
from blocks.targets.asking import connection_to
from blocks.targets.command.calls import CommandRun, mark_of
from blocks.targets.command.target import CommandTarget
from blocks.targets.command.words import Commands
from blocks.targets.health_probe import probe_by
from domain.errors import Fenced, TargetError
from domain.health import HealthCheck, HealthState
from domain.ports import ReleaseBuild
from domain.rollout import Numbers
from kits.tiny_service import CANARY, SERVICE, tiny_build
from kits.users import ask
from tests.contract.command_platform import Playground

ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Playground]:
    playground = Playground(tmp_path)
    yield playground
    playground.close()


@pytest.fixture
def make(platform: Playground, tmp_path: Path) -> Callable[..., CommandTarget]:
    """Makes targets: `make(without=("shift",), timeout_s=1)`."""
    return functools.partial(platform.target, tmp_path / "targets")


@pytest.fixture
def target(make: Callable[..., CommandTarget]) -> CommandTarget:
    return make()


def build(previous: str | None = None, **how: Any) -> ReleaseBuild:
    return tiny_build(**how)._replace(previous=previous)


def release(target: CommandTarget, revision: str, previous: str | None = None) -> None:
    target.prepare(revision, build(previous))
    assert target.migrate(revision) is None
    assert target.start(revision) is None
    target.promote(revision)


def serving(target: CommandTarget) -> str | None:
    """Who answers users, asked without the target."""
    return ask(target)[1].get("releaseId")


def test_a_command_is_told_who_acts_on_what(target: CommandTarget, platform: Playground) -> None:
    said: list[str] = []
    target = target.under(7, said.append)
    release(target, ONE)
    target.prepare(TWO, build(previous=ONE))
    assert target.start(TWO) is None
    target.shift(TWO, 10)
    assert (platform.state / "share").read_text() == f"10 {TWO}"
    target.promote(TWO)
    target.rollback(ONE)
    assert (platform.state / "share").read_text() == ""
    assert any("`promote` ended with exit code 0" in line for line in said)
    rolled = platform.calls("rollback")[0]
    assert (rolled["LOCKGATE_REVISION"], rolled["LOCKGATE_PREVIOUS"], rolled["LOCKGATE_TOKEN"]) == (ONE, TWO, "7")


def test_without_current_nothing_is_released_by_itself(
    make: Callable[..., CommandTarget], platform: Playground
) -> None:
    target = make(without=("current",))
    assert "there is no `current` command" in str(target.preflight())
    acts: list[Callable[[], object]] = [
        lambda: target.prepare(ONE, build()),
        lambda: target.promote(ONE),
        lambda: target.rollback(ONE),
        lambda: target.pointed(),
    ]
    for act in acts:
        with pytest.raises(TargetError, match="there is no `current` command"):
            act()
    assert platform.calls() == []


def test_preflight_says_what_does_not_work(make: Callable[..., CommandTarget], platform: Playground) -> None:
    nowhere = Commands(promote=("no-such-program",), rollback=("true",), current=("true",))
    assert "program of `promote` is not found: no-such-program" in str(make(commands=nowhere).preflight())
    platform.trick("current", "print('all fine'); sys.exit(0)")
    assert "`current` does not work" in str(make().preflight())


def test_only_what_is_set_is_run(make: Callable[..., CommandTarget], platform: Playground) -> None:
    target = make(without=("prepare", "migrate", "start", "address", "shift", "numbers", "logs", "cleanup", "stop"))
    assert not target.splits
    target.prepare(ONE, build())
    assert target.migrate(ONE) is None and target.start(ONE) is None and target.logs(ONE) == ""
    assert not target.probe(ONE).is_healthy
    assert {call["verb"] for call in platform.calls()} == set()
    with pytest.raises(TargetError, match="no `stop` command"):
        target.rollback(None)
    assert target.stop() is False


WRONG = {
    "it crashes": ("raise SystemExit('no space left on device')", "nothing on stdout; stderr:.*no space left"),
    "it prints rubbish": ("print('deployed!'); sys.exit(0)", "it is not one JSON object"),
    "it prints a list": ("print('[true]'); sys.exit(0)", "is no answer"),
    "it prints half": ("print('{\"ok\": tr'); sys.exit(0)", "it is not one JSON object"),
    "it prints nothing": ("sys.exit(0)", "exit code 0 and nothing on stdout"),
    "it says ok and fails": ("say(); sys.exit(1)", "says ok true and ends with exit code 1"),
    "it fails and says fine": ("say(ok=False, problem='x'); sys.exit(0)", "says ok false and ends with exit code 0"),
    "it says no without a reason": ("say(ok=False); sys.exit(1)", "ok false with one"),
    "it says yes and no": ("say(problem='but'); sys.exit(0)", "ok true comes without a problem"),
    "it says ok by a word": ('print(\'{"ok": "yes"}\'); sys.exit(0)', "ok: Input should be a valid boolean"),
    "it says what nobody asked": ("say(okay=1); sys.exit(0)", "okay: Extra inputs are not permitted"),
    "it cannot": ("say(ok=False, problem='quota used up'); sys.exit(3)", "`promote`: quota used up"),
    "it is killed": ("os.kill(os.getpid(), 9)", "exit code 137 and nothing on stdout"),
    "it prints without end": ("print('x' * 5_000_000); sys.exit(0)", "is no answer|nothing on stdout"),
    "it nests without end": ("print('[' * 50_000); sys.exit(0)", "it is not one JSON object"),
    "it talks after its answer": ("say(); print('bye'); sys.exit(0)", "it is not one JSON object: 'bye'|'bye'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_answer_is_no(target: CommandTarget, platform: Playground, wrong: str) -> None:
    trick, reason = WRONG[wrong]
    release(target, ONE)
    target.prepare(TWO, build(ONE))
    platform.trick("promote", trick)
    with pytest.raises(TargetError, match=f"(?s){reason}") as raised:
        target.promote(TWO)
    assert len(str(raised.value)) < 3000
    assert serving(target) == target.current() == ONE


@pytest.mark.parametrize("verb", ["promote", "rollback"])
def test_a_lie_is_seen(make: Callable[..., CommandTarget], platform: Playground, verb: str) -> None:
    target = make()
    release(target, ONE)
    release(target, TWO, ONE)
    target.start_timeout_s = 0.3
    platform.trick(verb, "say(); sys.exit(0)")
    target.prepare(THREE, build(TWO))
    with pytest.raises(TargetError, match=f"`{verb}` said ok, but `current` says {TWO} and not"):
        target.promote(THREE) if verb == "promote" else target.rollback(ONE)
    assert platform.pid(TWO), "what serves was not stopped"


def test_a_switch_may_take_a_while(target: CommandTarget, platform: Playground) -> None:
    slow = f"subprocess.Popen(['sh', '-c', 'sleep 0.7; printf {TWO} > {platform.state}/current']); say(); sys.exit(0)"
    release(target, ONE)
    target.prepare(TWO, build(ONE))
    assert target.start(TWO) is None
    platform.trick("promote", slow)
    target.promote(TWO)
    assert serving(target) == TWO


def test_a_command_that_hangs_is_killed_with_all_that_it_started(
    make: Callable[..., CommandTarget], platform: Playground
) -> None:
    target = make(timeout_s=1)
    release(target, ONE)
    target.prepare(TWO, build(ONE))
    hang = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); subprocess.Popen(['sleep', '60']);"
        "put('group', str(os.getpgrp())); time.sleep(60)"
    )
    platform.trick("promote", hang)
    with pytest.raises(TargetError, match="did not end within"):
        target.promote(TWO)
    assert not is_group_alive(int((platform.state / "group").read_text()))
    assert target.current() == ONE


def test_a_release_that_cannot_start_says_why_and_is_removed(target: CommandTarget, platform: Playground) -> None:
    target.prepare(ONE, build())
    platform.trick("start", "say(ok=False, problem='image not found'); sys.exit(1)")
    assert target.start(ONE) == "image not found"
    assert [call["LOCKGATE_REVISION"] for call in platform.calls("cleanup")] == [ONE]


def test_promote_looks_before_it_acts(target: CommandTarget, platform: Playground) -> None:
    release(target, ONE)
    target.promote(ONE)
    target.promote(ONE)
    assert len(platform.calls("promote")) == 1


def test_a_command_is_told_the_same_key_each_time(target: CommandTarget, platform: Playground) -> None:
    for _ in range(2):
        target.prepare(ONE, build())
        target.start(ONE)
        target.shift(ONE, 25)
    assert {call["LOCKGATE_KEY"] for call in platform.calls("prepare", "start", "shift")} == {
        f"shop-prepare-{ONE}",
        f"shop-start-{ONE}",
        f"shop-shift-{ONE}-25",
    }
    assert platform.calls("shift")[0]["LOCKGATE_SHARE"] == "25"


def test_a_command_whose_worker_was_killed_ends_before_the_next_begins(
    target: CommandTarget, platform: Playground
) -> None:
    release(target, ONE)
    target.prepare(TWO, build(ONE))
    target.start(TWO)
    platform.trick("promote", "put('begun', 'yes'); time.sleep(2)")
    worker = os.fork()
    if worker == 0:
        target.promote(TWO)
        os._exit(0)
    while not (platform.state / "begun").exists():
        time.sleep(0.02)
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    assert target.pointed() == ONE, "it is under way"
    said: list[str] = []
    target.under(2, said.append).rollback(ONE)
    assert "waited for a command whose worker was killed" in said
    assert serving(target) == ONE, "the old command did not come after"
    assert [call["verb"] for call in platform.calls("promote", "rollback")] == ["promote", "promote", "rollback"]


def test_two_workers_do_not_act_at_once(target: CommandTarget, platform: Playground) -> None:
    target.prepare(ONE, build())
    target.start(ONE)
    platform.trick("promote", "time.sleep(0.5)")
    threads = [threading.Thread(target=target.promote, args=(ONE,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(platform.calls("promote")) == 1


def test_an_older_run_is_refused(target: CommandTarget, platform: Playground) -> None:
    target.under(3, lambda line: None).prepare(ONE, build())
    with pytest.raises(Fenced):
        target.under(2, lambda line: None).prepare(TWO, build())
    assert [call["LOCKGATE_TOKEN"] for call in platform.calls("prepare")] == ["3"]


def test_secrets_reach_the_command_and_nothing_else(
    target: CommandTarget, platform: Playground, tmp_path: Path
) -> None:
    said: list[str] = []
    target = target.under(1, said.append)
    spill = (
        "print('token', os.environ['TOKEN']); print(os.environ['TOKEN'], file=sys.stderr);"
        "put('cmdline', ''.join(pathlib.Path('/proc', str(os.getppid()), 'cmdline').read_text()));"
    )
    for verb in ("prepare", "logs"):
        platform.trick(verb, spill)
    for verb in ("start", "promote"):
        platform.trick(verb, spill + "say(ok=False, problem='bad token ' + os.environ['TOKEN']); sys.exit(1)")
    shown: list[object] = [target.prepare(ONE, build()), target.start(ONE), target.logs(ONE), target.evidence(ONE)]
    with pytest.raises(TargetError) as raised:
        target.promote(ONE)
    platform.trick("promote", spill + "print({'ok': os.environ['TOKEN']}); sys.exit(1)")
    with pytest.raises(TargetError) as again:
        target.promote(ONE)
    platform.trick("current", spill + "say(ok=False, problem=os.environ['TOKEN']); sys.exit(1)")
    shown += [target.preflight(), target.probe(ONE), target.evidence(ONE), str(raised.value), str(again.value), said]
    assert platform.calls("prepare")[0]["environment"]["TOKEN"] == CANARY, "the command has it"
    assert "[TOKEN]" in str(shown[1]) and CANARY not in repr(shown) and CANARY not in repr(target)
    assert CANARY not in (platform.state / "cmdline").read_text()
    for file in (tmp_path / "targets").rglob("*"):
        assert not file.is_file() or CANARY.encode() not in file.read_bytes(), file


def test_a_command_does_not_see_the_workers_credentials(
    target: CommandTarget, platform: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "user:password")
    target.prepare(ONE, build())
    assert "PREFECT_API_AUTH_STRING" not in platform.calls("prepare")[0]["environment"]


def test_a_command_does_not_run_in_the_repository(target: CommandTarget, platform: Playground) -> None:
    target.prepare(ONE, build())
    called = platform.calls("prepare")[0]
    assert Path(called["LOCKGATE_TREE"], "service.py").read_text() == SERVICE
    assert os.listdir(called["cwd"]) == []


def test_numbers_are_the_platforms_and_unknown_ones_are_none(target: CommandTarget, platform: Playground) -> None:
    release(target, ONE)
    watch = target.observe(ONE)
    (platform.state / "new").write_text('{"requests": 40, "errors": 3, "p95_ms": 12.5}')
    look = watch.look()
    assert look.public.is_healthy and look.private is not None and look.private.is_healthy
    assert look.new == Numbers(requests=40, errors=3, p95_ms=12.5) and look.old is None
    assert float(platform.calls("numbers")[0]["LOCKGATE_SINCE"]) <= time.time()
    for nonsense in ('{"requests": 2, "errors": 3}', '{"requests": -1, "errors": 0}', '{"requests": "many"}'):
        (platform.state / "new").write_text(nonsense)
        assert watch.look().new is None, nonsense
    watch.close()


def test_another_deploy_in_the_window_is_seen(target: CommandTarget, platform: Playground) -> None:
    release(target, ONE)
    release(target, TWO, ONE)
    watch = target.observe(TWO)
    assert watch.look().problem is None
    platform.trick("current", "raise SystemExit('a flake')")
    assert watch.look().problem is None
    platform.trick("current", "")
    (platform.state / "current").write_text(ONE)
    look = watch.look()
    assert look.problem == f"the traffic went from {TWO} to {ONE}, and not by this release"
    assert look.public.state is HealthState.ANOTHER


def test_what_runs_is_what_current_says_it_is(target: CommandTarget, platform: Playground) -> None:
    platform.trick("prepare", "say(artifact='sha256:aaaa'); sys.exit(0)")
    assert target.artifact(ONE) is None
    assert target.prepare(ONE, build()) == "sha256:aaaa" == target.artifact(ONE)
    target.start(ONE)
    target.promote(ONE)
    assert platform.calls("promote")[0]["LOCKGATE_ARTIFACT"] == "sha256:aaaa"
    (platform.state / "running-artifact").write_text("sha256:bbbb")
    assert target.artifact(ONE) == "sha256:bbbb"


def test_old_releases_are_cleaned_up_once(make: Callable[..., CommandTarget], platform: Playground) -> None:
    target = make(keep_releases=2)
    for revision, previous in ((ONE, None), (TWO, ONE), (THREE, TWO)):
        release(target, revision, previous)
    for _ in range(2):
        target.cleanup({THREE, TWO})
    assert [call["LOCKGATE_REVISION"] for call in platform.calls("cleanup")] == [ONE]
    assert not platform.pid(ONE) and platform.pid(TWO) and target.artifact(ONE) is None


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        ({"promote": ("deploy", "{release}")}, "{release} is none of"),
        ({"promote": ("deploy", "--share={share}")}, "{share} is known only to `shift`"),
        ({"promote": ("{tree}/deploy.sh",)}, "the program itself cannot be filled in"),
        ({"promote": ()}, "promote"),
        ({"deploy": ("deploy",)}, "Extra inputs"),
    ],
)
def test_a_misspelt_command_is_refused(commands: dict[str, tuple[str, ...]], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Commands.model_validate({"promote": ("true",), "rollback": ("true",), **commands})


def test_no_shell_reads_the_words(make: Callable[..., CommandTarget], tmp_path: Path) -> None:
    echo = ("sh", "-c", 'printf "%s|" "$@" > out; echo "{\\"ok\\": true}"', "sh")
    words = ("$(touch x)", "; touch x", "{revision} {{.Name}} {.items}", "", "a b")
    current = ("echo", '{"ok": true}')
    target = make(commands=Commands(prepare=(*echo, *words), promote=("true",), rollback=("true",), current=current))
    target.prepare(ONE, build())
    out = tmp_path / "targets/shop/empty/out"
    assert out.read_text() == f"$(touch x)|; touch x|{ONE} {{{{.Name}}}} {{.items}}||a b|"


def test_its_block_can_be_saved_and_shows_no_secret(target: CommandTarget) -> None:
    assert CANARY not in target.model_dump_json()
    assert mark_of(Path("/a")) != mark_of(Path("/b"))


def test_an_answer_says_no_more_than_it_may() -> None:
    ran = CommandRun(("x",), 0, '{"ok": true, "revision": "../../etc"}\n', "", 0.1)
    with pytest.raises(TargetError, match="revision: String should match pattern"):
        ran.answer(str)


def test_health_is_asked_over_tls_and_only_of_whom_the_machine_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = self_signed(tmp_path)

    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"status": "pass", "releaseId": ONE}).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Healthy)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"https://127.0.0.1:{server.server_address[1]}"
    to_it = functools.partial(connection_to, url)
    assert "certificate verify failed" in probe_by(to_it, url, HealthCheck(), ONE, str).reason
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert probe_by(to_it, url, HealthCheck(), ONE, str).is_healthy
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("hangs", ["after the connection", "in the TLS handshake"])
def test_who_answers_byte_by_byte_is_given_up_on(hangs: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        scheme = "https" if "TLS" in hangs else "http"
        url = f"{scheme}://127.0.0.1:{server.getsockname()[1]}"

        def drip() -> None:
            with contextlib.suppress(OSError):
                line, _ = server.accept()
                line.send(b"\x16\x03\x03\x40\x00\x02" if "TLS" in hangs else b"HTTP/1.1 200 OK\r\nX: ")
                for _ in range(600):
                    line.send(b"\x00")
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        reading = probe_by(lambda: connection_to(url), url, HealthCheck(), ONE, str)
    assert reading.state is HealthState.SICK and "no whole answer within 2 s" in reading.reason


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files
