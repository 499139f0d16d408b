"""What hosted forges send to the door. It is believed in one thing alone: that something happened there, so that they
are asked at once. Nothing in a body is read; whoever could forge one would make us ask for what there is anyway.

https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
https://forgejo.org/docs/latest/user/webhooks/
https://docs.gitlab.com/user/project/integrations/webhooks/#signing-tokens
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from blocks import kept
from blocks.forges.local import HOSTED
from station import forge_news
from station.door.reading import DoorDenied

LARGEST = 25_000_000
"""Bytes of a body; GitHub sends no larger one."""
BODY_S = 30.0
WINDOW_S, MOST = 24 * 3600.0, 10_000
"""So long, and so many, deliveries are remembered. One that comes again says nothing new."""
SIGNED_S = 300.0
"""A signature that names its moment is taken so long before and after it."""
SIGNING = "whsec_"
"""How a signing token of GitLab begins; what follows is the key, as base64."""
_HEX = re.compile(r"[0-9a-f]{64}")
_DELIVERY = re.compile(r"[0-9A-Za-z-]{8,64}")
_MOMENT = re.compile(r"[0-9]{1,12}")


def secret_of(kind: str, name: str) -> str | None:
    """Of the block of a hosted forge, from our own copy of the blocks; None: it takes no webhooks, or there is none."""
    if kind not in HOSTED or name not in kept.names(f"lockgate-{kind}"):
        return None
    return kept.fields(f"lockgate-{kind}", name).get("webhook_secret") or None


class Webhooks:
    """One path for each block, open to everybody and of use to those who know its secret."""

    def __init__(
        self,
        secret_of: Callable[[str, str], str | None] = secret_of,
        note: Callable[[], None] = forge_news.note,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._secret_of, self._note, self._clock, self._now = secret_of, note, clock, now
        self._seen: OrderedDict[str, float] = OrderedDict()

    async def answer(self, request: Request, words: list[str]) -> Response:
        """To `POST …/KIND/NAME`. Raises Denied if it is no delivery, or nobody's who knows the secret."""
        if request.method != "POST" or len(words) != 2 or words[0] not in HOSTED:
            kinds = ", ".join(sorted(HOSTED))
            raise DoorDenied(
                404, f"forges are taken at /door/webhooks/KIND/NAME of their block, by POST; KIND: {kinds}"
            )
        kind, name = words
        secret = await asyncio.to_thread(self._secret_of, kind, name)
        if secret is None:
            raise DoorDenied(404, "no block of this name has a webhook_secret")
        headers = request.headers
        media = headers.getlist("content-type")
        if [one.partition(";")[0].strip().lower() for one in media] != ["application/json"]:
            raise DoorDenied(415, "set the webhook's content type to application/json")
        if headers.getlist("content-encoding"):
            raise DoorDenied(415, "a delivery is not encoded")
        delivery, made = await self._believed(request, kind, secret)
        # The id may be unsigned: the same body under another id is the same delivery.
        if self._is_known(f"{kind} {name} {made}") | self._is_known(f"{kind} {name} {delivery}"):
            return JSONResponse({"message": "known already"})
        try:
            await asyncio.to_thread(self._note)
        except OSError as err:
            for what in (made, delivery):  # when the forge sends it again, it is none that came before
                self._seen.pop(f"{kind} {name} {what}", None)
            raise DoorDenied(503, f"this cannot be noted now: {err.strerror}") from err
        return JSONResponse({"message": "the forge is asked"}, 202)

    async def _believed(self, request: Request, kind: str, secret: str) -> tuple[str, str]:
        """(id, digest of the body with the secret) of a delivery that somebody sent who knows the secret."""
        headers = request.headers
        if kind == "gitlab":
            return await self._of_gitlab(request, secret)
        claimed, delivery = _of_github(headers) if kind == "github" else _of_forgejo(headers)
        if not _HEX.fullmatch(claimed):
            raise _unsigned()
        delivery = _checked(delivery)
        made = (await _signed(request, secret.encode())).hexdigest()
        if not hmac.compare_digest(made, claimed):
            raise DoorDenied(401, "the signature is not of this body with the secret of the block")
        return delivery, made

    async def _of_gitlab(self, request: Request, secret: str) -> tuple[str, str]:
        """Where the block has a signing token, by its signature and no other way; else the secret token stands in a
        header, and says nothing of the body."""
        headers = request.headers
        if not secret.startswith(SIGNING):
            if not hmac.compare_digest(_one(headers, "x-gitlab-token").encode(), secret.encode()):
                raise _unsigned()
            delivery = _checked(_one(headers, "idempotency-key") or _one(headers, "x-gitlab-event-uuid"))
            return delivery, (await _signed(request, secret.encode())).hexdigest()
        claimed = [one[3:] for one in _one(headers, "webhook-signature").split(" ") if one.startswith("v1,")]
        moment, delivery = _one(headers, "webhook-timestamp"), _checked(_one(headers, "webhook-id"))
        if not claimed or not _MOMENT.fullmatch(moment):
            raise _unsigned()
        if abs(self._now() - int(moment)) > SIGNED_S:
            raise DoorDenied(
                401, f"the signature is of another time than now: {SIGNED_S:.0f} s before or after at most"
            )
        try:
            key = base64.b64decode(secret.removeprefix(SIGNING), validate=True)
        except binascii.Error:
            raise DoorDenied(
                401, "the webhook_secret of the block is no signing token of GitLab: save a new one"
            ) from None
        made = base64.b64encode((await _signed(request, key, f"{delivery}.{moment}.".encode())).digest()).decode()
        if not any(hmac.compare_digest(made.encode(), one.encode()) for one in claimed):
            raise DoorDenied(401, "the signature is not of this body with the secret of the block")
        return delivery, made

    def _is_known(self, what: str) -> bool:
        """Whether it came before; from now on it did."""
        now = self._clock()
        while self._seen and (len(self._seen) > MOST or next(iter(self._seen.values())) < now - WINDOW_S):
            self._seen.popitem(last=False)
        if what in self._seen:
            return True
        self._seen[what] = now
        return False


def _of_github(headers: Headers) -> tuple[str, str]:
    """(signature, id) as it says them."""
    name, _, claimed = _one(headers, "x-hub-signature-256").partition("=")
    return claimed if name == "sha256" else "", _one(headers, "x-github-delivery")


def _of_forgejo(headers: Headers) -> tuple[str, str]:
    """The same; Gitea has its own name in them, and Forgejo sends both."""
    name = "forgejo" if headers.getlist("x-forgejo-signature") else "gitea"
    return _one(headers, f"x-{name}-signature"), _one(headers, f"x-{name}-delivery")


def _one(headers: Headers, name: str) -> str:
    """A header that stands there once; else nothing."""
    found = headers.getlist(name)
    return found[0] if len(found) == 1 else ""


def _unsigned() -> DoorDenied:
    return DoorDenied(401, "a delivery is signed: give the webhook the secret of the block")


def _checked(delivery: str) -> str:
    if not _DELIVERY.fullmatch(delivery):
        raise DoorDenied(400, "a delivery has an id")
    return delivery


async def _signed(request: Request, secret: bytes, before: bytes = b"") -> hmac.HMAC:
    """Over the raw bytes as they come, and what stands before them; none of them is kept."""
    signing, size = hmac.new(secret, before, digestmod=hashlib.sha256), 0
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > LARGEST:
        raise DoorDenied(413, f"a delivery has {LARGEST:,} bytes at most")
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                size += len(part)
                if size > LARGEST:
                    raise DoorDenied(413, f"a delivery has {LARGEST:,} bytes at most")
                signing.update(part)
    except TimeoutError:
        raise DoorDenied(408, f"the delivery did not come within {BODY_S:.0f} s") from None
    return signing
