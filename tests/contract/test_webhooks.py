"""Webhooks at the door: who is believed that something happened, and what becomes of everything else."""

import asyncio
import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import SecretStr, ValidationError

from blocks import kept
from blocks.forges.github import GitHub
from kits.fake_forge import FakeGitHub
from station import forge_news
from station.door import webhooks
from station.door.webhooks import LARGEST, MOST, WINDOW_S, Webhooks
from tests.contract.door import Answer, FakeDoor

SECRET, OLD = "s3cret-of-the-webhook", "s3cret-before-it-was-changed"
BODY = b'{"action": "labeled", "repository": {"full_name": "acme/shop"}}'
AT = "/door/webhooks/github/acme"


def sign(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


SIGNING = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, truly").decode()
AT_S = 1_800_000_000.0


def known(secrets: dict[tuple[str, str], str]) -> Callable[[str, str], str | None]:
    return lambda kind, name: secrets.get((kind, name))


class Receiver:
    """The door, for a block `acme` with a secret; `told` counts how often the forge is to be asked."""

    def __init__(self, folder: Path) -> None:
        self.door, self.told, self.now = FakeDoor(folder), 0, 0.0
        secrets = {(kind, "acme"): SECRET for kind in ("github", "forgejo", "gitlab")} | {("gitlab", "new"): SIGNING}
        self.door.app.webhooks = Webhooks(known(secrets), self._note, lambda: self.now, lambda: AT_S + self.now)

    def _note(self) -> None:
        self.told += 1

    def gets(self, body: bytes = BODY, at: str = AT, method: str = "POST", **headers: str | None) -> Answer:
        """A delivery as GitHub sends it, but for what is given: None leaves a header out."""
        usual: dict[str, str | None] = {
            "content-type": "application/json",
            "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
            "x-github-event": "issues",
            "x-hub-signature-256": sign(body),
        }
        given = usual | {name.replace("_", "-"): value for name, value in headers.items()}
        sent = [(name, value) for name, value in given.items() if value is not None]
        return self.door.ask(method, at, headers=sent, content=body)

    def gets_of(self, kind: str, body: bytes = BODY, **headers: str | None) -> int:
        """The same as another forge sends it; the status. `kind`: new is GitLab's with a signing token."""
        at = f"/door/webhooks/{'gitlab' if kind == 'new' else kind}/{'new' if kind == 'new' else 'acme'}"
        theirs: dict[str, Any] = {"x_github_delivery": None, "x_hub_signature_256": None}
        return self.gets(body, at, **(theirs | OF[kind](body) | headers)).status


def signed_at(body: bytes, moment: float, key: bytes = b"a key of thirty-two bytes, truly") -> dict[str, Any]:
    """As GitLab signs with a signing token."""
    identity = "9b1f6c2e-cc78-11e3-81ab-4c9367dc0958"
    text = f"{identity}.{moment:.0f}.".encode() + body
    made = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    return {"webhook_id": identity, "webhook_timestamp": f"{moment:.0f}", "webhook_signature": f"v1,{made}"}


OF: dict[str, Callable[[bytes], dict[str, Any]]] = {
    "forgejo": lambda body: {
        "x_forgejo_delivery": "1b1f6c2e-cc78-11e3-81ab-4c9367dc0958",
        "x_forgejo_signature": sign(body).removeprefix("sha256="),
    },
    "gitlab": lambda body: {
        "idempotency_key": "2b1f6c2e-cc78-11e3-81ab-4c9367dc0958", "x_gitlab_token": SECRET,
    },
    "new": lambda body: signed_at(body, AT_S),
}  # fmt: skip


@pytest.fixture
def receiver(tmp_path: Path) -> Receiver:
    return Receiver(tmp_path)


def test_a_signed_delivery_is_taken_without_a_token_and_the_forge_is_asked(receiver: Receiver) -> None:
    answer = receiver.gets()
    assert (answer.status, receiver.told) == (202, 1)
    assert not receiver.door.asked, "no server is behind it"


def test_a_delivery_that_comes_again_says_nothing_new(receiver: Receiver) -> None:
    other = "8a1f6c2e-cc78-11e3-81ab-4c9367dc0958"
    assert [receiver.gets().status, receiver.gets().status] == [202, 200]
    assert receiver.gets(x_github_delivery=other).status == 200, "its id is not signed: the body is the same"
    assert receiver.gets(b"{}", x_github_delivery="9b1f6c2e-cc78-11e3-81ab-4c9367dc0958").status == 202
    assert receiver.told == 2
    receiver.now += WINDOW_S + 1
    assert receiver.gets().status == 202, "an old one does no more than to ask once more"


def test_no_signature(receiver: Receiver) -> None:
    assert receiver.gets(x_hub_signature_256=None).status == 401
    sha1 = "sha1=" + hmac.new(SECRET.encode(), BODY, hashlib.sha1).hexdigest()
    assert receiver.gets(x_hub_signature_256=None, x_hub_signature=sha1).status == 401
    assert receiver.gets(x_hub_signature_256=sha1).status == 401
    assert receiver.told == 0


def test_a_wrong_signature(receiver: Receiver) -> None:
    wrong = (
        sign(BODY, "another secret of theirs"),
        sign(BODY + b" "),
        "sha256=" + "0" * 64,
        "sha256=",
        sign(BODY).upper(),
    )
    assert {receiver.gets(x_hub_signature_256=one).status for one in wrong} == {401}
    assert receiver.gets(BODY + b"\n", x_hub_signature_256=sign(BODY)).status == 401, "raw bytes, not what they mean"
    assert receiver.told == 0


def test_a_signature_by_the_secret_that_was_before(receiver: Receiver) -> None:
    assert receiver.gets(x_hub_signature_256=sign(BODY, OLD)).status == 401
    assert receiver.told == 0


def test_a_refused_delivery_does_not_keep_the_real_one_out(receiver: Receiver) -> None:
    assert receiver.gets(x_hub_signature_256=sign(BODY, OLD)).status == 401
    assert receiver.gets().status == 202


def test_another_blocks_secret_and_a_block_without_one(receiver: Receiver) -> None:
    receiver.door.app.webhooks = Webhooks(known({("github", "acme"): SECRET, ("github", "beta"): OLD}), receiver._note)
    assert receiver.gets(at="/door/webhooks/github/beta").status == 401
    for at in (
        "/door/webhooks/github/none",
        "/door/webhooks/github",
        "/door/webhooks/gitlab/beta",
        "/door/webhooks/gitea/acme",
        f"{AT}/x",
        "/door/webhooks",
    ):
        assert receiver.gets(at=at).status == 404
    assert receiver.gets(method="PUT").status == 404
    assert receiver.told == 0


def test_a_huge_body_is_refused_before_it_is_read_or_while_it_is(receiver: Receiver) -> None:
    assert receiver.gets(content_length=str(LARGEST + 1)).status == 413
    body = b" " * (LARGEST + 1)
    assert receiver.gets(body).status == 413
    assert receiver.gets(body[1:]).status == 202, "as large as GitHub sends them"


@pytest.mark.parametrize(
    "kind", [None, "application/x-www-form-urlencoded", "text/plain", "multipart/form-data", "application/json2"]
)
def test_a_wrong_content_type(receiver: Receiver, kind: str | None) -> None:
    assert receiver.gets(content_type=kind).status == 415
    assert receiver.gets(content_encoding="gzip").status == 415
    assert receiver.told == 0


@pytest.mark.parametrize("identity", [None, "", "x", "a" * 65, "72d3162e\x00cc78", "../../etc/passwd"])
def test_a_delivery_without_an_id(receiver: Receiver, identity: str | None) -> None:
    assert receiver.gets(x_github_delivery=identity).status == 400
    assert receiver.told == 0


def test_headers_that_stand_twice(receiver: Receiver) -> None:
    for name, value in (("x-hub-signature-256", sign(BODY)), ("content-type", "application/json")):
        sent = [
            ("content-type", "application/json"), ("x-github-delivery", "72d3162e-cc78"),
            ("x-hub-signature-256", sign(BODY)), (name, value),
        ]  # fmt: skip
        assert receiver.door.ask("POST", AT, headers=sent, content=BODY).status in (401, 415)
    assert receiver.told == 0


def test_what_is_remembered_has_an_end(receiver: Receiver) -> None:
    hooks = receiver.door.app.webhooks
    for n in range(MOST + 500):
        assert not hooks._is_known(str(n))
    assert len(hooks._seen) <= MOST + 1 and hooks._is_known(str(MOST))


@pytest.mark.parametrize("kind", sorted(OF))
def test_deliveries_of_other_forges_are_taken_by_their_own_signs_and_once(receiver: Receiver, kind: str) -> None:
    assert [receiver.gets_of(kind), receiver.gets_of(kind)] == [202, 200]
    assert receiver.told == 1
    if kind == "forgejo":
        gitea = {"x_gitea_delivery": "5b1f6c2e-cc78", "x_gitea_signature": sign(b"{}").removeprefix("sha256=")}
        assert receiver.gets_of(kind, b"{}", x_forgejo_delivery=None, x_forgejo_signature=None, **gitea) == 202
    if kind == "new":
        receiver.now += WINDOW_S + 1
        assert receiver.gets_of(kind) == 401, "what was signed a day ago is not signed now"


@pytest.mark.parametrize("kind", sorted(OF))
def test_hostile_deliveries_of_other_forges_say_nothing(receiver: Receiver, kind: str) -> None:
    (name,) = (name for name in OF[kind](BODY) if name.endswith(("signature", "token")))
    (identity,) = (name for name in OF[kind](BODY) if name.endswith(("delivery", "key", "_id")))
    right = OF[kind](BODY)[name] or ""
    wrong = {
        "forgejo": [sign(BODY, OLD).removeprefix("sha256="), sign(BODY), right.upper(), "0" * 64],
        "gitlab": [OLD, SECRET + " ", SECRET[:-1], SECRET.upper()],
        "new": [
            right.removeprefix("v1,"), right.replace("v1,", "v2,"), "v1,", "v1," + "A" * 44, SIGNING,
            str(signed_at(BODY, AT_S, SIGNING.encode())["webhook_signature"]),
            str(signed_at(BODY + b" ", AT_S)["webhook_signature"]),
        ],
    }[kind]  # fmt: skip
    assert {receiver.gets_of(kind, **dict[str, Any]({name: one})) for one in ("", None, *wrong)} == {401}
    assert {
        receiver.gets_of(kind, **dict[str, Any]({identity: one})) for one in ("", None, "x", "../../etc/passwd")
    } == {400}
    assert receiver.gets_of(kind, content_type="text/plain") == 415
    assert receiver.gets_of(kind, b" " * (LARGEST + 1)) == 413
    if kind == "new":
        for moment in (AT_S - 301, AT_S + 301):
            assert receiver.gets_of(kind, **signed_at(BODY, moment)) == 401, "replayed, or of a clock that is wrong"
        for said in ("", "now", "-1", "1e9", None):
            assert receiver.gets_of(kind, webhook_timestamp=said) == 401
        assert receiver.gets_of(kind, webhook_timestamp=f"{AT_S + 1:.0f}") == 401, "the moment is signed"
        assert receiver.gets_of(kind, x_gitlab_token=SIGNING, webhook_signature=None) == 401, "no way around it"
        assert receiver.gets_of(kind, webhook_signature=f"v1,{'A' * 44} {right}") == 202, (
            "one of several, as it is renewed"
        )
    elif kind == "forgejo":
        assert receiver.gets_of(kind, BODY + b"\n", **dict[str, Any]({name: right})) == 401, "raw bytes"
    assert receiver.told == (1 if kind == "new" else 0)


def test_a_disk_that_is_full_is_told_to_the_forge(receiver: Receiver) -> None:
    is_full = True

    def note() -> None:
        if is_full:
            raise OSError(28, "No space left on device")

    receiver.door.app.webhooks = Webhooks(known({("github", "acme"): SECRET}), note)
    assert receiver.gets().status == receiver.gets().status == 503
    is_full = False
    assert (receiver.gets().status, receiver.gets().status) == (202, 200), "what the forge sends again is news then"


def test_the_secret_is_in_the_block_alone_and_is_no_short_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        kept,
        "_known",
        lambda: {
            "lockgate-github/acme": {"webhook_secret": SECRET},
            "lockgate-github/b": {},
            "lockgate-forgejo/acme": {"webhook_secret": OLD},
        },
    )
    monkeypatch.setattr(kept, "_read", kept._known)
    assert [webhooks.secret_of("github", name) for name in ("acme", "b", "c", "../acme")] == [SECRET, None, None, None]
    assert [webhooks.secret_of(kind, "acme") for kind in ("forgejo", "gitlab", "local-forge")] == [OLD, None, None]
    block = GitHub(url="https://github.com/acme", token=SecretStr("t"), webhook_secret=SecretStr(SECRET))
    assert SECRET not in repr(block) and SECRET not in str(block.model_dump())
    with pytest.raises(ValidationError, match="16 characters"):
        GitHub(url="https://github.com/acme", token=SecretStr("t"), webhook_secret=SecretStr("short"))


def test_news_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    assert not forge_news.take()
    forge_news.note()
    forge_news.note()
    assert [forge_news.take(), forge_news.take()] == [True, False]


@contextmanager
def listening(app: Any) -> Iterator[int]:
    """The door at a port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def test_what_a_forge_really_sends_is_taken_and_once_more_when_it_is_sent_again(receiver: Receiver) -> None:
    """As a webhook of a repository and as an App's; a delivery that was lost is sent again by hand."""
    with FakeGitHub() as fake, listening(receiver.door.app) as port:
        fake.repository("acme/shop", files={"a": "b"})
        owner = httpx.Client(base_url=fake.url, headers={"Authorization": f"Bearer {fake.token('acme')}"}, timeout=30)
        url = f"http://127.0.0.1:{port}{AT}"
        config = {"url": url, "content_type": "json", "secret": SECRET}
        hook = owner.post("/repos/acme/shop/hooks", json={"config": config, "events": ["issues"]}).json()
        fake.app("lockgate", "acme", hook_url=url, hook_secret=SECRET, events=["issues"])
        at = f"/repos/acme/shop/hooks/{hook['id']}/deliveries"

        def codes(count: int) -> list[int]:
            found: list[int] = []
            for _ in range(400):
                found = [one["status_code"] for one in owner.get(at).json()]
                if len(found) >= count and all(found):
                    break
                time.sleep(0.05)
            return found

        assert codes(1) == [202], "the ping"
        owner.post("/repos/acme/shop/issues", json={"title": "Told"})
        assert codes(2) == [202, 202]
        newest = owner.get(at).json()[0]["id"]
        assert owner.post(f"{at}/{newest}/attempts").status_code == 202
        assert sorted(codes(3)) == [200, 202, 202], "sent again, and known"
        for _ in range(400):
            if receiver.told < 3:
                time.sleep(0.05)
        assert receiver.told == 3, "the ping, the issue by the repository's webhook, and by the App's"
