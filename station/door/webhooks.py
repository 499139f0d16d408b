"""What hosted forges send to the door. It is believed in one thing alone: that something happened there, so that they
are asked at once. Nothing in a body is read; whoever could forge one would make us ask for what there is anyway.

https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
"""

import asyncio
import hashlib
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from blocks import kept
from station import forge_news
from station.door.reading import Denied

LARGEST = 25_000_000
"""Bytes of a body; GitHub sends no larger one."""
BODY_S = 30.0
WINDOW_S, MOST = 24 * 3600.0, 10_000
"""So long, and so many, deliveries are remembered. One that comes again says nothing new."""
_SIGNATURE = re.compile(r"sha256=([0-9a-f]{64})")
_DELIVERY = re.compile(r"[0-9A-Za-z-]{8,64}")


def secret_of(name: str) -> str | None:
    """Of the block of a hosted forge, from our own copy of the blocks; None: it takes no webhooks, or there is none."""
    if name not in kept.names("lockgate-github"):
        return None
    return kept.fields("lockgate-github", name).get("webhook_secret") or None


class Webhooks:
    """One path for each block, open to everybody and of use to those who know its secret."""

    def __init__(
        self,
        secret_of: Callable[[str], str | None] = secret_of,
        note: Callable[[], None] = forge_news.note,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secret_of, self._note, self._clock = secret_of, note, clock
        self._seen: OrderedDict[str, float] = OrderedDict()

    async def answer(self, request: Request, words: list[str]) -> Response:
        """To `POST …/github/NAME`. Raises Denied if it is no delivery, or nobody's who knows the secret."""
        if request.method != "POST" or len(words) != 2 or words[0] != "github":
            raise Denied(404, "forges are taken at /door/webhooks/github/NAME of their block, by POST")
        secret = await asyncio.to_thread(self._secret_of, words[1])
        if secret is None:
            raise Denied(404, "no block of this name has a webhook_secret")
        headers = request.headers
        kind = headers.getlist("content-type")
        if [one.partition(";")[0].strip().lower() for one in kind] != ["application/json"]:
            raise Denied(415, "set the webhook's content type to application/json")
        if headers.getlist("content-encoding"):
            raise Denied(415, "a delivery is not encoded")
        claimed = [_SIGNATURE.fullmatch(one) for one in headers.getlist("x-hub-signature-256")]
        if len(claimed) != 1 or claimed[0] is None:
            raise Denied(401, "a delivery is signed: give the webhook the secret of the block")
        deliveries = headers.getlist("x-github-delivery")
        if len(deliveries) != 1 or not _DELIVERY.fullmatch(deliveries[0]):
            raise Denied(400, "a delivery has an id")
        made = (await _signed(request, secret)).hexdigest()
        if not hmac.compare_digest(made, claimed[0][1]):
            raise Denied(401, "the signature is not of this body with the secret of the block")
        # The id is not signed: the same body under another id is the same delivery.
        if self._is_known(f"{words[1]} {made}") | self._is_known(f"{words[1]} {deliveries[0]}"):
            return JSONResponse({"message": "known already"})
        try:
            await asyncio.to_thread(self._note)
        except OSError as err:
            raise Denied(503, f"this cannot be noted now: {err.strerror}") from err
        return JSONResponse({"message": "the forge is asked"}, 202)

    def _is_known(self, what: str) -> bool:
        """Whether it came before; from now on it did."""
        now = self._clock()
        while self._seen and (len(self._seen) > MOST or next(iter(self._seen.values())) < now - WINDOW_S):
            self._seen.popitem(last=False)
        if what in self._seen:
            return True
        self._seen[what] = now
        return False


async def _signed(request: Request, secret: str) -> hmac.HMAC:
    """Over the raw bytes as they come; none of them is kept."""
    signing, size = hmac.new(secret.encode(), digestmod=hashlib.sha256), 0
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > LARGEST:
        raise Denied(413, f"a delivery has {LARGEST:,} bytes at most")
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                size += len(part)
                if size > LARGEST:
                    raise Denied(413, f"a delivery has {LARGEST:,} bytes at most")
                signing.update(part)
    except TimeoutError:
        raise Denied(408, f"the delivery did not come within {BODY_S:.0f} s") from None
    return signing
