"""What all trackers share: one small client, with an end to how long an answer takes and how large it is, and the one
comment of a ticket. It follows no redirect, so no token goes to where a server points."""

import functools
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Self, TypeVar, cast
from urllib.parse import urlsplit

import httpx
from pydantic import Field, SecretStr, ValidationError, model_validator

from blocks.base import THIS_MACHINE, LockgateBlock
from domain.errors import ForgeError, InputError, NotYet
from domain.text import one_line

MOST_BYTES = 20_000_000
MOST_PAGES = 200
"""Of one list: more is no list that somebody reads every 15 seconds."""
LONGEST_WAIT_S = 10.0
"""A longer limit is waited for outside: nothing is asked until then."""
FIRST_LINE = "Lockgate tells here how its run goes."
"""By this, and its author, our one comment is known: trackers hide nothing in a text, as forges do."""
MOST_SHOWN = 25_000
"""Characters of a comment: Jira takes 32,767 (https://support.atlassian.com/jira/kb/jira-field-character-limit/)."""
REMEMBERED_S = 600.0
T = TypeVar("T")
sleep = time.sleep
_known: dict[tuple[Any, ...], tuple[float, Any]] = {}
_quiet_until: dict[tuple[str, int], float] = {}
"""(API, token) → until when a limit wants us to ask for nothing, by our clock."""


class TrackerAnswer(NamedTuple):
    """What a server said to one request."""

    status: int
    body: Any
    at: datetime | None
    """By its own clock."""


class TrackerBlock(LockgateBlock):
    """A tracker, and who we are there."""

    token: SecretStr = Field(description="A token of the platform's own user")
    desk_url: str = Field("", description="The desk as your people open it; comments link to it")
    certificate: str = Field("", description="The authority's certificate (PEM) of a host with one of its own")
    timeout_s: float = Field(30, gt=0, description="Longest time for one call, in seconds")

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        site = urlsplit(self._api)
        if site.scheme not in ("https", "http") or not site.hostname or site.query or "@" in site.netloc:
            raise ValueError(f"{self._api!r} is not an address that begins with https:// and names a host")
        if site.scheme == "http" and site.hostname not in THIS_MACHINE:
            raise ValueError("a token is not sent over http: use https")
        return self

    @property
    def host(self) -> str:
        """Its name."""
        return urlsplit(self._api).netloc

    def name_of(self, number: int, *, is_pull: bool) -> str:
        """Its number."""
        return str(number)

    def doctor(self, at: str) -> str | None:
        """None if it answers, takes the token and knows the project or team; else what is wrong, and what to do. What
        it answered never shows the token, also where a wrong host sends it back."""
        try:
            self.me(at)
        except InputError as err:
            return self._told(err)
        except ForgeError as err:
            return self._told(err, f"look whether {self._api} is its address, and what the token may")
        try:
            self.place_id(at)
        except (InputError, ForgeError) as err:
            key = at.partition("/")[0]
            return self._told(err, f"the token is taken; look whether {key} is its key, and let our user in there")
        return None

    def _told(self, err: Exception, then: str = "") -> str:
        text = str(err)
        for secret in (self.token.get_secret_value(), self._headers()["Authorization"].rpartition(" ")[2]):
            text = text.replace(secret, "…")
        return one_line(f"{text}: {then}" if then else text, 500)

    def me(self, at: str, /) -> str:
        """The login that the platform writes as."""
        raise NotImplementedError

    def place_id(self, at: str, /) -> int | str:
        """What stays where it is renamed."""
        raise NotImplementedError

    @property
    def _api(self) -> str:
        """Where its API begins."""
        raise NotImplementedError

    @property
    def _identity(self) -> tuple[str, int]:
        """Whose answers are remembered together."""
        return self._api, hash(self.token.get_secret_value())

    def _headers(self) -> dict[str, str]:
        raise NotImplementedError

    def _limit_s(self, status: int, headers: httpx.Headers, body: Any) -> float | None:
        """How long it wants to be left alone; None if it does not."""
        return None if status != 429 else after_s(headers.get("retry-after", ""))

    def _ask(self, method: str, path: str, *, is_read: bool, body: Any = None, params: Any = None) -> TrackerAnswer:
        """One request. A read is tried again; a write never is, for it may have been done. Any other answer than a
        success, 404 or a refusal in its body raises."""
        key = self._identity
        if (left_s := _quiet_until.get(key, 0.0) - time.monotonic()) > 0:
            raise NotYet(f"{self.host}: too many requests, it is asked again in {left_s:.0f} s")
        last = ""
        for turn in range(3):
            try:
                status, headers, said = self._sent(method, path, body, params)
            except httpx.HTTPError as err:
                last = f"{self.host} does not answer: {type(err).__name__}"
                if not is_read:
                    raise NotYet(last) from None  # an error of httpx holds the request, and with it the token
            else:
                wait_s = self._limit_s(status, headers, said)
                if wait_s is not None:
                    last = f"{self.host}: too many requests, try again in {wait_s:.0f} s"
                    if wait_s > LONGEST_WAIT_S or turn == 2:
                        _quiet_until[key] = time.monotonic() + min(wait_s, 3600.0)
                        raise NotYet(last)
                    sleep(wait_s)
                    continue
                if status < 500 or not is_read:
                    return self._accepted(status, headers, said, f"{method} {path}")
                last = f"{self.host} answered {status} to {method} {path}"
            sleep(0.5 * (turn + 1))
        raise NotYet(last)

    def _sent(self, method: str, path: str, body: Any, params: Any) -> tuple[int, httpx.Headers, Any]:
        ends = time.monotonic() + 2 * self.timeout_s
        found = bytearray()
        with _client(self.certificate).stream(
            method, f"{self._api}{path}", json=body, params=params, headers=self._headers(), timeout=self.timeout_s
        ) as answer:
            for piece in answer.iter_bytes():
                found += piece
                if len(found) > MOST_BYTES:
                    raise ForgeError(f"{self.host} answered {method} {path} with more than {MOST_BYTES:,} bytes")
                if time.monotonic() > ends:
                    raise httpx.ReadTimeout("it goes on and on")
            return answer.status_code, answer.headers, _json(bytes(found))

    def _accepted(self, status: int, headers: httpx.Headers, body: Any, what: str) -> TrackerAnswer:
        said = f"{self.host} answered {status} to {what}: {_message(body)}"
        if 300 <= status < 400:
            raise InputError(f"{said}: it leads elsewhere, and the token is not sent there; name its new address")
        if status == 401:
            raise InputError(f"{said}: the token ran out or was taken back; save a new one in the block")
        if status >= 500:
            raise NotYet(said)
        if status >= 400 and status != 404:
            raise ForgeError(said)
        if status < 300 and body is _NO_JSON:
            raise ForgeError(f"{self.host} answered {what} with something that is no JSON")
        return TrackerAnswer(status, body, said_at(headers))


def remembered(key: tuple[Any, ...], ask: Callable[[], T]) -> T:
    """What seldom changes is asked for once in `REMEMBERED_S`."""
    known = _known.get(key)
    if known is None or known[0] < time.monotonic():
        if len(_known) > 1000:
            _known.clear()
        known = _known[key] = (time.monotonic() + REMEMBERED_S, ask())
    return cast(T, known[1])


def shown(text: str) -> str:
    """A comment of ours as a whole, bounded."""
    whole = f"{FIRST_LINE}\n\n{text}"
    return whole if len(whole) <= MOST_SHOWN else f"{_shut(whole[:MOST_SHOWN])}\n\n… cut here; the desk has all of it"


def _shut(text: str) -> str:
    """With an end to the code block in which it was cut."""
    fence = ""
    for line in text.split("\n"):
        if not fence and line.startswith("```"):
            fence = line[: len(line) - len(line.lstrip("`"))]
        elif fence and line == fence:
            fence = ""
    return f"{text}\n{fence}" if fence else text


def order(at: datetime, rest: int) -> int:
    """A number that grows with time. Ids do not everywhere: each machine of a cluster hands out its own."""
    return int(at.astimezone(UTC).timestamp() * 1000) * 1_000_000 + rest


def after_s(said: str) -> float:
    """Seconds of a `Retry-After`; a minute where it says nothing that is one."""
    try:
        return min(max(float(said), 0.0), 86_400.0)
    except ValueError:
        return 60.0


@contextmanager
def understood(host: str) -> Iterator[None]:
    """What a server answers in another shape than it should is an error of the server's, in one sentence."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, ValidationError, ValueError) as err:
        raise ForgeError(f"{host} answered in a way that is not understood: {type(err).__name__}") from err


class _NoJson:
    pass


_NO_JSON = _NoJson()


def _json(text: bytes) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return _NO_JSON


def _message(body: Any) -> str:
    """What it says, on one line, bounded."""
    if not isinstance(body, Mapping):
        return "nothing that is read"
    texts = [str(one) for one in body.get("errorMessages") or ()]
    errors = body.get("errors")
    if isinstance(errors, Mapping):
        texts += [f"{name}: {one}" for name, one in errors.items()]
    elif isinstance(errors, list):
        texts += [str(one.get("message")) for one in errors if isinstance(one, Mapping)]
    texts += [str(body["message"])] if body.get("message") else []
    return " ".join("; ".join(texts).split())[:300]


def said_at(headers: httpx.Headers) -> datetime | None:
    """What time it is by a server's own clock; None: it does not say."""
    try:
        return parsedate_to_datetime(headers.get("date", "")).astimezone(UTC)
    except ValueError:
        return None


@functools.lru_cache(maxsize=4)
def _client(certificate: str) -> httpx.Client:
    context = ssl.create_default_context(cadata=certificate or None)
    headers = {"Accept": "application/json", "User-Agent": "lockgate"}
    return httpx.Client(verify=context, headers=headers, follow_redirects=False)
