"""Signing in at the desk by an OpenID provider: who comes in, and what is tried and does not work."""

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from typer.testing import CliRunner

from blocks.home import home
from blocks.ledger.identities import Identities
from blocks.ledger.passwords import Passwords
from domain.access import Role
from domain.errors import InputError, LedgerError
from domain.policy.reviewers import may_approve
from domain.sign_in import OpenId
from domain.task import Need
from station import api, cli, credentials, doctor, sign_in
from station.door import openid as asking
from tests.contract.desk import Browser, FakeDesk
from tests.contract.door import Answer
from tests.contract.openid_provider import CLIENT, SECRET, Claims, Provider, new_key, provider, sent_on

ADDRESS, SUBJECT, BEGIN = "http://127.0.0.1:4210", "248289761001", "/desk/sign-in/openid"
HOST = [("host", "127.0.0.1:4210")]
OTHER_KEY = new_key("other")


@pytest.fixture(scope="module")
def idp() -> Iterator[Provider]:
    with provider() as made:
        made.returns_to = f"{ADDRESS}{BEGIN}/back"
        yield made


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, idp: Provider) -> Iterator[FakeDesk]:
    folder = tmp_path_factory.mktemp("desk")
    made = FakeDesk(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LOCKGATE_HOME", str(folder / "home"))
        patched.setattr(api, "_once", made.once)
        patched.setattr(asking, "KEYS_AGAIN_S", 0.0)
        sign_in.keep_openid(OpenId(issuer=idp.issuer, client_id=CLIENT, address=ADDRESS), SECRET)
        made.tokens.add("ann", {Role.REVIEW})
        yield made


@pytest.fixture(autouse=True)
def _anew(desk: FakeDesk, idp: Provider) -> None:
    idp.reset()
    desk.now += 1000
    desk.app.desk.signing_in._provider = None
    Identities(desk.tokens.url).set("ann", idp.issuer, SUBJECT)
    sign_in.keep_openid(OpenId(issuer=idp.issuer, client_id=CLIENT, address=ADDRESS), SECRET)


class Guest(Browser):
    """Somebody who goes to the provider and comes back."""

    def __init__(self, desk: FakeDesk, idp: Provider) -> None:
        super().__init__(desk)
        self.idp = idp

    def begin(self, asked: str = "") -> str:
        """Where the provider would lead the browser."""
        answer = self.get(BEGIN + (f"?next={asked}" if asked else ""), headers=HOST)
        assert answer.status == 303, answer.content
        return sent_on(self.idp, answer.headers["location"])

    def back(self, address: str, **changed: str | None) -> Answer:
        """There, with something else in the address; None: without it."""
        given = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        told = {name: value for name, value in {**given, **changed}.items() if value is not None}
        return self.get(f"{BEGIN}/back?{urlencode(told)}", headers=HOST)

    def comes_in(self, asked: str = "") -> Answer:
        return self.back(self.begin(asked))


def test_who_is_set_up_comes_in_as_that_person_and_the_ledger_says_by_what(desk: FakeDesk, idp: Provider) -> None:
    ann = Guest(desk, idp)
    ann.get("/desk/sign-in?next=/desk/team")
    assert f'href="{BEGIN}?next=/desk/team">Sign in at 127.0.0.1:{idp.server_port}' in ann.page
    came = ann.comes_in("/desk/team")
    assert came.status == 200 and 'href="/desk/team" data-go' in ann.page, "a page of our own leads the browser on"
    assert all("HttpOnly" in each for each in came.cookies)
    assert "SameSite=Strict" in next(each for each in came.cookies if each.startswith("lockgate_desk="))
    assert ann.get("/desk/").status == 200 and ">ann</span>" in ann.page
    (session,) = [one for one in desk.app.desk.sessions._known.values() if one.place == ann.place[len("/desk/") :]]
    assert session.way == "openid-connect"
    ann.get("/desk/environments")
    assert "lockgate_desk_openid=;" in "".join(came.cookies), "what was needed for the way is gone"


def test_who_is_not_set_up_is_told_the_subject_and_stays_out(desk: FakeDesk, idp: Provider) -> None:
    idp.person = {"sub": "another <b>", "preferred_username": "ann", "email": "ann@example.org"}
    bob = Guest(desk, idp)
    came = bob.comes_in()
    assert came.status == 401 and "lockgate person identity NAME another &lt;b&gt;" in bob.page
    assert not any(each.startswith("lockgate_desk=") for each in came.cookies)
    assert [token.name for token in desk.tokens.all()].count("ann") == 1


def test_whoever_comes_is_added_only_if_that_is_set_and_never_under_a_name_that_somebody_has(
    desk: FakeDesk, idp: Provider
) -> None:
    sign_in.keep_openid(OpenId(issuer=idp.issuer, client_id=CLIENT, address=ADDRESS, new_people=(Role.SUBMIT,)), SECRET)
    for name in ("gone", "late@@127.0.0.1", "over@@127.0.0.1"):
        desk.tokens.add(name, {Role.REVIEW})
    desk.tokens.revoke("gone")
    desk.tokens.revoke("over@@127.0.0.1")
    with desk.tokens._open(write=True) as session:
        session.connection().exec_driver_sql(
            "UPDATE lockgate_tokens SET expires_at = added_at WHERE name = 'late@@127.0.0.1'"
        )
    known = {token.id for token in desk.tokens.all()}
    for name in ("not a name", "", "x" * 63, "Late", "OVER"):
        idp.person = {"sub": "new-1", "preferred_username": name}
        stays = Guest(desk, idp)
        assert stays.comes_in().status == 401 and "lockgate person identity NAME new-1" in stays.page, name
    idp.person = {"sub": "no\nsubject", "preferred_username": "newt"}
    assert Guest(desk, idp).comes_in().status == 401
    assert {token.id for token in desk.tokens.all()} == known, "and no half of anybody is left"
    for subject, name in (("new-1", "Ann"), ("new-2", "gone"), ("new-3", "newt")):
        idp.person = {"sub": subject, "preferred_username": name}
        for _ in range(2):
            assert Guest(desk, idp).comes_in().status == 200
        made = Identities(desk.tokens.url).of(idp.issuer, subject).token
        assert made and (made.name, made.roles) == (f"{name}@@127.0.0.1", (Role.SUBMIT,)), "nobody that is here or was"
        assert not may_approve([Need(names=(name, f"{name}@127.0.0.1"), why="CODEOWNERS", paths=())], made.name)
    desk.tokens.revoke("newt@@127.0.0.1")
    assert Guest(desk, idp).comes_in().status == 401, "who was taken back stays so"
    assert desk.tokens.named("newt@@127.0.0.1") is None


def test_a_first_sign_in_that_is_cut_off_leaves_nothing(desk: FakeDesk, idp: Provider) -> None:
    identities = Identities(desk.tokens.url)
    with desk.tokens._open(write=True) as session:
        session.connection().exec_driver_sql(
            "CREATE TRIGGER cut BEFORE INSERT ON lockgate_identities WHEN NEW.subject = 'cut' "
            "BEGIN SELECT RAISE(ABORT, 'cut off'); END"
        )
    with pytest.raises(LedgerError, match="cut off"):
        identities.add("cut", {Role.SUBMIT}, idp.issuer, "cut")
    assert desk.tokens.named("cut") is None


@pytest.mark.parametrize(
    "what", ["revoked", "forgotten", "another password", "given to another", "no provider", "another client"]
)
def test_a_session_ends_with_what_it_was_begun_by(desk: FakeDesk, idp: Provider, what: str) -> None:
    name = f"one-{what.replace(' ', '-')}"
    desk.tokens.add(name, {Role.REVIEW})
    identities = Identities(desk.tokens.url)
    idp.person = {"sub": name}
    identities.set(name, idp.issuer, name)
    with pytest.raises(InputError, match=f"is {name} here"):
        identities.set("ann", idp.issuer, name)
    one, by_token = Guest(desk, idp), Browser(desk, Role.ANSWER)
    assert one.comes_in().status == 200 and one.get("/desk/").status == by_token.get("/desk/").status == 200
    match what:
        case "revoked":
            desk.tokens.revoke(name)
        case "forgotten":
            assert identities.forget(name) == 1
        case "another password":
            Passwords(desk.tokens.url).set(name, "four plain old words")
        case "no provider":
            (home() / sign_in.FILE).unlink()
        case "another client":
            sign_in.keep_openid(OpenId(issuer=idp.issuer, client_id="other", address=ADDRESS), SECRET)
        case _:
            identities.forget(name)
            identities.set("ann", idp.issuer, name)
    assert one.get("/desk/").status == 303 and by_token.get("/desk/").status == 200


def test_the_provider_may_change_its_key_and_a_key_that_it_took_back_opens_nothing(
    desk: FakeDesk, idp: Provider
) -> None:
    assert Guest(desk, idp).comes_in().status == 200
    first, second = idp.key, new_key("second")
    odd = {"kty": "EC", "crv": "brainpoolP256r1", "x": "AA", "y": "AA", "kid": "odd"}
    idp.published = [odd, {"kty": "RSA", "kid": "broken"}, {"kty": "OKP", "crv": "X"}, second.as_dict(private=False)]
    idp.sign = lambda claims: idp.signed(claims, second)
    assert Guest(desk, idp).comes_in().status == 200
    idp.sign = lambda claims: idp.signed(claims, first)
    assert Guest(desk, idp).comes_in().status == 401


def test_a_provider_that_is_away_or_answers_as_none_is_said_to_be_so(desk: FakeDesk, idp: Provider) -> None:
    for wrong in (
        {"issuer": "https://other.example.org"},
        {"issuer": f"{idp.issuer}/"},
        {"token_endpoint": "http://idp.example.org/token"},
        {"jwks_uri": None},
        {"authorization_endpoint": "javascript:alert(1)"},
    ):
        idp.described = wrong
        desk.app.desk.signing_in._provider = None
        ann = Guest(desk, idp)
        answer = ann.get(BEGIN, headers=HOST)
        assert (answer.status, "set-cookie" in answer.headers) == (503, False), wrong
        assert "does not answer as one" in ann.page
    sign_in.keep_openid(OpenId(issuer="http://127.0.0.1:9", client_id=CLIENT, address=ADDRESS), SECRET)
    assert Browser(desk).get(BEGIN, headers=HOST).status == 503


# ── what is tried ──

Tried = Callable[[FakeDesk, Provider], Answer]


def _says(**claims: Any) -> Tried:
    """A token with other claims; None: without it."""

    def tried(desk: FakeDesk, idp: Provider) -> Answer:
        idp.sign = lambda told: idp.signed({k: v for k, v in {**told, **claims}.items() if v is not None})
        return Guest(desk, idp).comes_in()

    return tried


def _signs(sign: Callable[[Provider, Claims], str]) -> Tried:
    def tried(desk: FakeDesk, idp: Provider) -> Answer:
        idp.sign = lambda claims: sign(idp, claims)
        return Guest(desk, idp).comes_in()

    return tried


def _by_hand(head: Claims, claims: Claims, seal: Callable[[bytes], bytes]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in (head, claims)]
    told = b".".join(parts)
    return (told + b"." + base64.urlsafe_b64encode(seal(told)).rstrip(b"=")).decode()


def _unsigned(idp: Provider, claims: Claims) -> str:
    return _by_hand({"alg": "none", "kid": idp.key.kid}, claims, lambda _: b"")


def _by_the_public_key(idp: Provider, claims: Claims) -> str:
    """As if what is published were a secret that both have."""
    secret = idp.key.as_pem(private=False)
    return _by_hand({"alg": "HS256", "kid": idp.key.kid}, claims, lambda told: hmac.digest(secret, told, "sha256"))


def _critical(idp: Provider, claims: Claims) -> str:
    head = {"alg": "RS256", "kid": idp.key.kid, "crit": ["x"], "x": 1}
    return _by_hand(head, claims, lambda told: idp.key.private_key.sign(told, padding.PKCS1v15(), hashes.SHA256()))


def _with_its_own_key(idp: Provider, claims: Claims) -> str:
    return idp.signed(claims, OTHER_KEY, kid=idp.key.kid, jwk=OTHER_KEY.as_dict(private=False))


def _changed(idp: Provider, claims: Claims) -> str:
    head, body, seal = idp.signed(claims).split(".")
    told = json.loads(base64.urlsafe_b64decode(body + "==")) | {"sub": SUBJECT, "admin": True}
    return ".".join((head, base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("="), seal))


def _answers(**told: Any) -> Tried:
    def tried(desk: FakeDesk, idp: Provider) -> Answer:
        idp.answers = lambda given: {k: v for k, v in {**given, **told}.items() if v is not None}
        return Guest(desk, idp).comes_in()

    return tried


def _back(**changed: str | None) -> Tried:
    def tried(desk: FakeDesk, idp: Provider) -> Answer:
        ann = Guest(desk, idp)
        return ann.back(ann.begin(), **changed)

    return tried


def _in_another_browser(desk: FakeDesk, idp: Provider) -> Answer:
    """Somebody leads a person to the end of a way that they began: as them, that person would be signed in."""
    return Guest(desk, idp).back(Guest(desk, idp).begin())


def _with_the_code_of_another(desk: FakeDesk, idp: Provider) -> Answer:
    """A code that was caught on its way, put into one's own way: the nonce and the verifier are another browser's."""
    ann, thief = Guest(desk, idp), Guest(desk, idp)
    caught = parse_qs(urlsplit(ann.begin()).query)["code"][0]
    return thief.back(thief.begin(), code=caught)


def _the_code_twice(desk: FakeDesk, idp: Provider) -> Answer:
    ann = Guest(desk, idp)
    address, kept = ann.begin(), dict(ann.cookies)
    assert ann.back(address).status == 200
    ann.cookies = kept
    return ann.back(address)


def _the_way_twice(desk: FakeDesk, idp: Provider) -> Answer:
    ann = Guest(desk, idp)
    address = ann.begin()
    assert ann.back(address).status == 200
    return ann.back(address)


def _without_a_cookie(desk: FakeDesk, idp: Provider) -> Answer:
    ann = Guest(desk, idp)
    address = ann.begin()
    ann.cookies.clear()
    return ann.back(address)


def _cookie(change: Callable[[str], str]) -> Tried:
    def tried(desk: FakeDesk, idp: Provider) -> Answer:
        ann = Guest(desk, idp)
        address = ann.begin()
        ann.cookies["lockgate_desk_openid"] = change(ann.cookies["lockgate_desk_openid"])
        return ann.back(address)

    return tried


def _another_place(value: str) -> str:
    told, at, _, seal = value.split(".")
    return ".".join((told, at, base64.urlsafe_b64encode(b"//evil.example").decode().rstrip("="), seal))


def _long_ago(desk: FakeDesk, idp: Provider) -> Answer:
    ann = Guest(desk, idp)
    signing_in = desk.app.desk.signing_in
    told = f"{'x' * 43}.{int(time.time()) - 700}.{base64.urlsafe_b64encode(b'/desk/').decode().rstrip('=')}"
    value = f"{told}.{signing_in._sessions.bound('openid flow', told)}"
    ann.cookies["lockgate_desk_openid"], ann.paths["lockgate_desk_openid"] = value, BEGIN
    return ann.back(f"{ADDRESS}?code=x", state=signing_in._sessions.bound("openid s", value))


def _twice_in_the_address(desk: FakeDesk, idp: Provider) -> Answer:
    ann = Guest(desk, idp)
    query = urlsplit(ann.begin()).query
    return ann.get(f"{BEGIN}/back?{query}&code=x", headers=HOST)


def _by_post(desk: FakeDesk, idp: Provider) -> Answer:
    ann = Guest(desk, idp)
    return ann.send(f"{BEGIN}/back", {"code": "x"})


def _elsewhere_afterwards(desk: FakeDesk, idp: Provider) -> Answer:
    ann = Guest(desk, idp)
    came = ann.comes_in("https://evil.example/")
    assert "evil" not in ann.page and 'href="/desk/" data-go' in ann.page
    return came._replace(status=0)


def _by_another_host(desk: FakeDesk, idp: Provider) -> Answer:
    """A forged Host leads to the address that is set, and to no other."""
    answer = Browser(desk).get(f"{BEGIN}?next=/desk/team", headers=[("host", "evil.example")])
    assert answer.headers["location"] == f"{ADDRESS}{BEGIN}?next=/desk/team&again=1" and not answer.cookies
    sent = answer.headers["location"].removeprefix(ADDRESS)
    proxied = Browser(desk)
    assert proxied.get(sent, headers=[("host", "10.0.0.9:80")]).status == 421, "and not for ever"
    assert "must hand on the header Host" in proxied.page
    assert Browser(desk).get(sent, headers=HOST).headers["location"].startswith(f"{idp.issuer}/authorize?")
    return answer


def _not_set_up(desk: FakeDesk, idp: Provider) -> Answer:
    (path := credentials.folder().parent / "sign-in.toml").unlink()
    answer = Browser(desk).get(BEGIN, headers=HOST)
    path.write_text("openid = 3\n")
    assert Browser(desk).get("/desk/sign-in").status == 200, "a file that is wrong keeps nobody out who has a token"
    assert Browser(desk).get(BEGIN, headers=HOST).status == 404
    path.unlink()
    return answer


NOW = int(time.time())
ATTACKS: tuple[tuple[str, Tried, int], ...] = (
    ("a token that nobody has signed", _signs(_unsigned), 401),
    ("a token signed by another key", _signs(lambda idp, claims: idp.signed(claims, OTHER_KEY)), 401),
    ("another key under the name of a known one", _signs(_with_its_own_key), 401),
    ("the published key as a shared secret", _signs(_by_the_public_key), 401),
    ("another algorithm of the right key", _signs(lambda idp, claims: idp.signed(claims, alg="RS512")), 401),
    ("PSS in place of PKCS 1", _signs(lambda idp, claims: idp.signed(claims, alg="PS256")), 401),
    ("claims that were changed afterwards", _signs(_changed), 401),
    ("no token at all", _signs(lambda idp, claims: "x"), 401),
    ("a header that nobody understands but must", _signs(_critical), 401),
    ("another issuer's token", _says(iss="https://other.example.org"), 401),
    ("a token for another client", _says(aud="other"), 401),
    ("a token for several, issued to another", _says(aud=[CLIENT, "other"], azp="other"), 401),
    ("a token for several, issued to nobody", _says(aud=[CLIENT, "other"]), 401),
    ("a token that is over", _says(exp=NOW - 3600), 401),
    ("a token that never ends", _says(exp=None), 401),
    ("a token of tomorrow", _says(iat=NOW + 90_000, nbf=NOW + 90_000), 401),
    ("a token for another question", _says(nonce="x" * 64), 401),
    ("a token for no question", _says(nonce=None), 401),
    ("a token of nobody", _says(sub=None), 401),
    ("a token of an empty subject", _says(sub=""), 401),
    ("a subject that is a list", _says(sub=[SUBJECT]), 401),
    ("a subject with a space more", _says(sub=f"{SUBJECT} "), 401),
    ("a subject in other letters", _says(sub="ANN"), 401),
    ("the name of a person in place of the subject", _says(sub="ann"), 401),
    ("no ID token", _answers(id_token=None), 401),
    ("an ID token that is a number", _answers(id_token=7), 401),
    ("another access token than the ID token's", _says(at_hash="AAAA"), 401),
    ("no state", _back(state=None), 403),
    ("a state that was made up", _back(state="x" * 64), 403),
    ("a state that is no ASCII", _back(state="ü"), 403),
    ("no code", _back(code=None), 401),
    ("a code that was made up", _back(code="x"), 401),
    ("a very long code", _back(code="x" * 5000), 401),
    ("an error with a script", _back(error="<script>alert(1)</script>"), 401),
    ("another provider's answer", _back(iss="https://other.example.org"), 403),
    ("somebody else's way", _in_another_browser, 403),
    ("somebody else's code in one's own way", _with_the_code_of_another, 401),
    ("the same code twice", _the_code_twice, 401),
    ("the same way twice", _the_way_twice, 403),
    ("a way without a cookie", _without_a_cookie, 403),
    ("a cookie that was made up", _cookie(lambda value: "a.1.b.c"), 403),
    ("a cookie with another place in it", _cookie(_another_place), 403),
    ("a cookie whose seal was cut off", _cookie(lambda value: value.rpartition(".")[0]), 403),
    ("a way that was begun long ago", _long_ago, 403),
    ("a code twice in the address", _twice_in_the_address, 400),
    ("coming back by a form", _by_post, 404),
    ("to another site afterwards", _elsewhere_afterwards, 0),
    ("by another host", _by_another_host, 303),
    ("a provider that nobody has set up", _not_set_up, 404),
)


@pytest.mark.parametrize(("tried", "wanted"), [each[1:] for each in ATTACKS], ids=[each[0] for each in ATTACKS])
def test_what_is_tried_does_not_work(desk: FakeDesk, idp: Provider, tried: Tried, wanted: int) -> None:
    before = len(desk.app.desk.sessions._known)
    came = tried(desk, idp)
    assert came.status == wanted
    assert b"<script>alert" not in came.content
    if wanted >= 400:
        assert not any(each.startswith("lockgate_desk=") for each in came.cookies)
        assert len(desk.app.desk.sessions._known) <= before + 1, "but the one that was right"


# ── from the command line ──


def test_a_provider_and_its_people_are_set_up_from_the_command_line(
    desk: FakeDesk, idp: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(api, "ledger_url", lambda *_: desk.tokens.url)
    monkeypatch.setattr(cli, "_use", lambda *_, **__: None, raising=False)

    def said(*words: str, stdin: str = "") -> str:
        return CliRunner().invoke(cli.app, ["person", *words], input=stdin).output

    assert "no provider is set up" in str(_error(lambda: _people().set_identity("ann", "1")))
    for wrong in (("http://idp.example.org", ADDRESS), (idp.issuer, "http://desk.example.org"), (idp.issuer, "x"),
                  (f"{idp.issuer}/nowhere", ADDRESS), (idp.issuer, f"{ADDRESS}/below")):  # fmt: skip
        assert _error(lambda at=wrong: _people().use_provider(at[0], CLIENT, at[1], (), has_secret=False)), wrong
    for role in ("administer", "review", "release"):
        why = str(
            _error(lambda each=role: _people().use_provider(idp.issuer, CLIENT, ADDRESS, (each,), has_secret=False))
        )
        assert f"submit and answer at most, and not {role}" in why
    assert "there is no role" in str(
        _error(lambda: _people().use_provider(idp.issuer, CLIENT, ADDRESS, ("boss",), has_secret=False))
    )
    for address, wanted in (("https://desk.example.org:443/", "https://desk.example.org"), (f"{ADDRESS}/", ADDRESS)):
        assert OpenId(issuer=idp.issuer, client_id=CLIENT, address=address).address == wanted, "as browsers say it"
    told = said("provider", idp.issuer, CLIENT, "--address", f"{ADDRESS}/", stdin=f"{SECRET}\n")
    assert f"{ADDRESS}{BEGIN}/back" in told
    assert sign_in.openid_secret() == SECRET and SECRET not in (tmp_path / "home" / "sign-in.toml").read_text()
    assert (credentials.folder() / sign_in.SECRET).stat().st_mode & 0o777 == 0o600
    was = OpenId(issuer=idp.issuer, client_id=CLIENT, address=ADDRESS, name_claim="email", new_people=(Role.SUBMIT,))
    sign_in.keep_openid(was, SECRET)
    _people().use_provider(idp.issuer, "new", ADDRESS, (), has_secret=False)
    assert sign_in.known().openid == was.model_copy(update={"client_id": "new"}), "what else the file says stays"
    _people().use_provider(idp.issuer, CLIENT, ADDRESS, ("answer",), has_secret=False)
    assert sign_in.known().openid == was.model_copy(update={"new_people": (Role.ANSWER,)})
    assert "may review" in said("identity", "ann", SUBJECT)
    assert SUBJECT in said("list") and "ann" in said("list")
    assert "signs in at no provider any more" in said("forget", "ann")


def _people() -> Any:
    from station import people

    return people


def _error(act: Callable[[], object]) -> InputError | None:
    try:
        act()
    except InputError as err:
        return err
    return None


def test_the_doctor_tells_what_is_wrong_with_the_file(idp: Provider) -> None:
    file = home() / sign_in.FILE
    assert [(one.name, one.problem) for one in doctor.of_sign_in()] == [(f"people sign in at {idp.issuer}", None)]
    file.write_text(file.read_text().replace(idp.issuer, "http://127.0.0.1:9"))
    (away,) = doctor.of_sign_in()
    assert away.needed and "http://127.0.0.1:9 is no OpenID provider that can be asked" in str(away.problem)
    for wrong in ("[openid", "[openid]\nissuer = 'https://id.example.org'", "[proxy]\nheader = 'Cookie'"):
        file.write_text(wrong)
        (broken,) = doctor.of_sign_in()
        assert broken.needed and str(file) in str(broken.problem), wrong
    for address, is_told in (("10.0.0.7", False), ("127.0.0.1", True), ("::1", True)):
        file.write_text(f'[proxy]\nheader = "X-Forwarded-User"\naddresses = ["{address}"]\n')
        (proxy,) = doctor.of_sign_in()
        assert not proxy.needed and ("can claim any name" in str(proxy.problem)) is is_told, address
    file.unlink()
    assert list(doctor.of_sign_in()) == []
