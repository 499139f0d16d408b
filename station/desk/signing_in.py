"""How somebody comes in at the desk: by the form, by an OpenID provider, or by the word of a trusted proxy.

Whichever way, who comes in is the person of a token, and so has its roles, and the session says which way it was.
"""

import base64
import hmac
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from blocks.ledger.identities import Identities, KnownPerson
from blocks.ledger.passwords import Passwords
from blocks.ledger.tokens import PREFIX, Tokens
from domain.access import Token
from domain.errors import InputError, LockgateError
from domain.known_by import Way
from domain.policy.reviewers import canonical_name
from domain.sign_in import OpenId, SignIn
from domain.text import one_line
from station import sign_in
from station.desk import forms, pages
from station.desk.sessions import Session, Sessions
from station.door.guests import MAX_VALUE, Guests
from station.door.openid import Provider, Who
from station.door.reading import DoorDenied

log = logging.getLogger("lockgate")
R = TypeVar("R")
COOKIE, BEFORE, BROWSER, FLOW = "lockgate_desk", "lockgate_desk_form", "lockgate_desk_browser", "lockgate_desk_openid"
WITHIN = re.compile(r"/desk/(?:[A-Za-z0-9_-]+/)*[A-Za-z0-9_-]*")
"""Where somebody is sent after signing in: pages of the desk, and nothing that a browser could read otherwise."""
SIGN_IN_BYTES = 65_536
BodyOf = Callable[[int], Awaitable[bytes]]
"""The body of the request, of so many bytes at most. Raises Denied for a longer or a slow one."""
FLOW_S = 600
"""So long somebody may take at the provider."""
MOST_CODE = 4096


class Flow(NamedTuple):
    """A way to the provider and back that this browser has begun."""

    value: str
    """Of its cookie; state, nonce and verifier are made of it."""
    next: str


class SigningIn:
    """Everything below `/desk/sign-in`."""

    def __init__(self, guests: Guests, sessions: Sessions, began: Callable[[Token], None]) -> None:
        self._guests, self._sessions, self._began = guests, sessions, began
        self._provider: Provider | None = None

    async def answer(self, request: Request, words: Sequence[str], body_of: BodyOf) -> Response:
        """`words`: what the address has behind `sign-in`."""
        match request.method, *words:
            case ["GET"]:
                return await self._asked(request)
            case ["POST"]:
                return await self._shown(request, body_of)
            case ["GET", "openid"]:
                return await self._to_provider(request)
            case ["GET", "openid", "back"]:
                return await self._from_provider(request)
            case [_]:
                raise DoorDenied(405, "sign in by the form")
        raise DoorDenied(404, "there is no such page")

    async def still_in(self, request: Request, session: Session) -> Token | None:
        """Whose session it is. The token is looked up each time; None if it was revoked or has expired, if the person
        has another password or is somebody else at the provider now, if that is not the provider any more, or if the
        proxy does not name them."""
        token, version = await self._guests.look(
            lambda tokens: (tokens.with_id(session.token_id), _version(tokens, session.token_id, session.way))
        )
        if token is None or version != session.version or token.why_not(datetime.now(UTC)) is not None:
            return None
        if session.way is Way.PROXY and canonical_name(self._named_by_proxy(request)) != canonical_name(token.name):
            return None
        return token.model_copy(update={"way": session.way})

    # ── by the form ──

    async def _asked(self, request: Request) -> Response:
        """The form; or straight in, where a trusted proxy says who it is."""
        asked, wrong = request.query_params.get("next", "/desk/"), ""
        is_page = request.headers.get("sec-fetch-dest", "document") == "document"  # and no picture on another page
        if is_page and (name := self._named_by_proxy(request)) and "signed-out" not in request.query_params:
            token = await self._look(lambda tokens: tokens.named(name))
            if token is not None:
                version = await self._look(lambda tokens: _version(tokens, token.id, Way.PROXY))
                return self._in(
                    token, version, Way.PROXY, asked, secure=self.is_secure(request), is_from_elsewhere=True
                )
            wrong = f"The proxy says that you are {one_line(name)}, and nobody here is called so."
        return self._form(request, asked, wrong, 401 if wrong else 200)

    async def _shown(self, request: Request, body_of: BodyOf) -> Response:
        """A name with its password, or a token."""
        forms.check_origin(request.headers)
        form = forms.form_of(request.headers, await body_of(SIGN_IN_BYTES))
        cookies = forms.cookies_of(request.headers)
        nonce = cookies.get(BEFORE, "")
        forms.check_csrf(form, self._sessions.bound("form", nonce) if nonce else "")
        value = form.get("token", "").strip()[: MAX_VALUE + 1]
        address = request.client.host if request.client else ""
        browser, way = "", Way.TOKEN
        try:
            if not value or len(value) > MAX_VALUE:
                raise DoorDenied(401, "give your password or your token")
            name = form.get("name", "").strip()[: MAX_VALUE + 1]
            if name and not value.startswith(PREFIX):
                known = cookies.get(BROWSER, "")[:MAX_VALUE]
                token, version, browser = await self._guests.of_person(name, form["token"], address, known)
                way = Way.PASSWORD
            else:
                token = await self._guests.of_value(value, address)
                version = await self._guests.look(lambda tokens: _version(tokens, token.id, Way.TOKEN))
        except DoorDenied as no:
            return self._form(request, form.get("next", ""), str(no), no.status)
        secure = self.is_secure(request)
        answer = self._in(token, version, way, form.get("next", ""), secure=secure)
        if browser:
            told = forms.cookie(BROWSER, browser, "/desk/sign-in", secure=secure, days=90)
            answer.headers.append("set-cookie", told)
        return answer

    def _form(self, request: Request, asked: str, wrong: str = "", status: int = 200) -> Response:
        nonce = forms.cookies_of(request.headers).get(BEFORE, "")
        fresh = nonce if re.fullmatch(r"[A-Za-z0-9_-]{20,60}", nonce) else secrets.token_urlsafe(32)
        openid = _settings().openid
        answer = pages.page(
            "sign_in.html", status, who=None, desk="/desk", csrf=self._sessions.bound("form", fresh),
            next=_within(asked), wrong=wrong, provider=urlsplit(openid.issuer).netloc if openid else "",
            proxied=self._named_by_proxy(request),
        )  # fmt: skip
        told = forms.cookie(BEFORE, fresh, "/desk/sign-in", secure=self.is_secure(request))
        answer.headers.append("set-cookie", told)
        if status == 429:
            answer.headers["retry-after"] = "60"
        return answer

    # ── by an OpenID provider ──

    async def _to_provider(self, request: Request) -> Response:
        """The browser keeps one value; state, nonce and verifier are made of it: nothing is filled up here."""
        provider, openid = self._openid()
        asked = _within(request.query_params.get("next", ""))
        host = request.headers.get("host", "").lower()
        if host != urlsplit(openid.address).netloc:
            if "again" in request.query_params:
                raise DoorDenied(
                    421,
                    f"This browser was sent to {openid.address}, and the door is told that it asks {one_line(host)}. "
                    "The proxy before the door must hand on the header Host; or another address was meant: "
                    "lockgate person provider … --address",
                )
            return _redirect(f"{openid.address}/desk/sign-in/openid?next={quote(asked)}&again=1")  # for its cookies
        flow = Flow(self._flow_value(asked), asked)
        answer = _redirect(await provider.address(*self._made_of(flow)))
        answer.headers.append("set-cookie", self._flow_cookie(openid, flow.value))
        return answer

    async def _from_provider(self, request: Request) -> Response:
        provider, openid = self._openid()
        flow = self._flow_of(forms.cookies_of(request.headers).get(FLOW, ""))
        given = {name: request.query_params.getlist(name) for name in ("state", "code", "error", "iss")}
        if any(len(values) > 1 for values in given.values()):
            raise DoorDenied(400, "something stands twice in this address")
        said = {name: values[0] for name, values in given.items() if values}
        state, nonce, verifier = self._made_of(flow)
        if not hmac.compare_digest(said.get("state", "").encode(), state.encode()):
            raise DoorDenied(403, "this is no answer to what this browser asked: begin again at the sign-in page")
        if said.get("iss", openid.issuer) != openid.issuer:
            raise DoorDenied(403, "this is another provider's answer")
        if "error" in said or not 0 < len(said.get("code", "")) <= MOST_CODE:
            why = one_line(said.get("error", "no code"))[:200]
            raise DoorDenied(401, f"the identity provider did not let you in: {why}")
        who = await provider.who(said["code"], nonce, verifier)
        token, version = await self._person(openid, who)
        answer = self._in(
            token, version, Way.OPENID_CONNECT, flow.next, secure=_is_https(openid.address), is_from_elsewhere=True
        )
        answer.headers.append("set-cookie", self._flow_cookie(openid, "", ends=True))
        return answer

    async def _person(self, openid: OpenId, who: Who) -> tuple[Token, str]:
        """Who this is here. Nobody comes in by a name alone: a subject is set up as a person."""
        subject = one_line(who.subject)
        told = f"Who runs this station sets you up: lockgate person identity NAME {subject}"

        def look(tokens: Tokens) -> tuple[KnownPerson, str]:
            found = Identities(tokens.url).of(openid.issuer, who.subject)
            if found.token is None and not found.is_known and openid.new_people:
                name = openid.name_of_new(who.name) if who.name else ""
                try:
                    Identities(tokens.url).add(name, openid.new_people, openid.issuer, who.subject)
                except InputError as err:
                    raise DoorDenied(
                        401, f"The provider knows you, and does not bring you in here: {err}. {told}"
                    ) from err
                log.info("%s came in by %s for the first time", name, openid.issuer)
                found = Identities(tokens.url).of(openid.issuer, who.subject)
            password = Passwords(tokens.url).version(found.token.id) if found.token else ""
            return found, _version_by(openid, password, found.version)

        found, version = await self._look(look)
        if found.token is None:
            raise DoorDenied(401, f"The provider knows you as {subject}, and nobody here is set up as that. {told}")
        return found.token, version

    def _openid(self) -> tuple[Provider, OpenId]:
        openid = _settings().openid
        if openid is None:
            raise DoorDenied(404, "nobody signs in by an identity provider here")
        secret = sign_in.openid_secret()
        if self._provider is None or (self._provider.openid, self._provider.secret) != (openid, secret):
            self._provider = Provider(openid, secret)
        return self._provider, openid

    def _made_of(self, flow: Flow) -> tuple[str, str, str]:
        """State, nonce and PKCE verifier."""
        state, nonce, verifier = (self._sessions.bound(f"openid {what}", flow.value) for what in "snv")
        return state, nonce, verifier

    def _flow_value(self, asked: str) -> str:
        place = base64.urlsafe_b64encode(asked.encode()).decode().rstrip("=")
        told = f"{secrets.token_urlsafe(32)}.{int(time.time())}.{place}"
        return f"{told}.{self._sessions.bound('openid flow', told)}"

    def _flow_of(self, value: str) -> Flow:
        """Raises Denied if this door has not given it to a browser in the last minutes."""
        told, _, seal = value.rpartition(".")
        if not told or not hmac.compare_digest(seal.encode(), self._sessions.bound("openid flow", told).encode()):
            raise DoorDenied(403, "this browser has not begun to sign in here: begin at the sign-in page")
        _, at, place = told.split(".")
        if int(at) + FLOW_S < time.time():
            raise DoorDenied(403, "this took too long: begin again at the sign-in page")
        return Flow(value, base64.urlsafe_b64decode(place + "=" * (-len(place) % 4)).decode())

    def _flow_cookie(self, openid: OpenId, value: str, *, ends: bool = False) -> str:
        """It goes along when the provider leads the browser back, which is another site's doing."""
        secure = _is_https(openid.address)
        return forms.cookie(FLOW, value, "/desk/sign-in/openid", secure=secure, ends=ends, is_led_back=True)

    # ── by a trusted proxy ──

    def _named_by_proxy(self, request: Request) -> str:
        """The name that a trusted proxy gives; empty: none does, or it is not clear who it is."""
        proxy = _settings().proxy
        if proxy is None or not request.client or not proxy.is_at(request.client.host):
            return ""
        names = request.headers.getlist(proxy.header)
        return names[0].strip()[:MAX_VALUE] if len(names) == 1 else ""

    def is_secure(self, request: Request) -> bool:
        """Whether the browser came by https: a proxy before the door speaks it, and the door does not."""
        if any(_is_https(origin) for origin in request.headers.getlist("origin")):
            return True
        return bool(self._named_by_proxy(request)) and request.headers.get("x-forwarded-proto") == "https"

    # ── and then ──

    def _in(
        self, token: Token, version: str, way: Way, asked: str, *, secure: bool, is_from_elsewhere: bool = False
    ) -> Response:
        """A new session. A browser that another site has led here sends none of its strict cookies along as it goes on,
        so then a page of the desk's own leads it on."""
        value, session = self._sessions.begin(token.id, version, way)
        self._began(token)
        desk = f"/desk/{session.place}"
        place = desk + _within(asked).removeprefix("/desk")
        led_on = pages.page("signed_in.html", who=None, desk="/desk", place=place, name=token.name)
        answer = led_on if is_from_elsewhere else _redirect(place)
        answer.headers.append("set-cookie", forms.cookie(COOKIE, value, desk, secure=secure))
        return answer

    async def _look(self, ask: Callable[[Tokens], R]) -> R:
        try:
            return await self._guests.look(ask)
        except DoorDenied:
            raise
        except LockgateError as err:
            raise DoorDenied(503, f"names cannot be looked up now: {err}") from err


def _settings() -> SignIn:
    """A file that cannot be read lets nobody in by it, and keeps nobody out who has a password or a token."""
    try:
        return sign_in.known()
    except InputError as err:
        log.warning("nobody signs in by a provider or a proxy: %s", err)
        return SignIn()


def _version(tokens: Tokens, token_id: str, way: Way) -> str:
    """Of the person's password, and of who they are at which provider where they came in by it."""
    password = Passwords(tokens.url).version(token_id)
    if way is not Way.OPENID_CONNECT:
        return password
    return _version_by(_settings().openid, password, Identities(tokens.url).version(token_id))


def _version_by(openid: OpenId | None, password: str, identity: str) -> str:
    """Another one if the operator has set up another provider, or none any more."""
    return f"{password}/{identity}/{openid.issuer} {openid.client_id}" if openid else ""


def _redirect(place: str) -> Response:
    return RedirectResponse(place, 303, pages.HEADERS)


def _within(place: str) -> str:
    return place if WITHIN.fullmatch(place) else "/desk/"


def _is_https(url: str) -> bool:
    return urlsplit(url).scheme == "https"
