"""Prefect's server behind the door. Only here is its credential used."""

import asyncio
import base64
import time
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from station.door.reading import NOTHING, DoorDenied
from station.door.table import STARTS

TIMEOUT = httpx.Timeout(60, connect=5)
FRESH_S = 10.0
"""So long an id of a deployment is remembered."""
PASSED_ON = (
    "accept",
    "x-prefect-api-version",
    "if-none-match",
    "if-modified-since",
    "sec-fetch-mode",
    "sec-fetch-dest",
)
"""Headers of a request that the server gets; all others stay at the door."""
BUSY_PAUSES_S = (0.1, 0.3, 0.9)
"""Before each further try. On SQLite the server answers 503 to most of a few writes at once, and has done nothing then.
https://github.com/PrefectHQ/prefect/blob/main/src/prefect/server/api/server.py"""


class Upstream:
    """Asks the server, by requests that are made anew. Raises Denied(503) if it does not answer."""

    def __init__(self, url: str, credential: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.url, self.credential = url, credential
        self._authorization = f"Basic {base64.b64encode(credential.encode()).decode()}"
        self._client = _client(url, transport)
        self._of_pages = _client(url, transport)
        """For what needs no token: whoever takes all of its connections takes none of the others'."""
        self._deployments: dict[str, tuple[float, str]] = {}

    async def close(self) -> None:
        await self._client.aclose()
        await self._of_pages.aclose()

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: Any = NOTHING, *, signed: bool
    ) -> httpx.Response:
        """The server's answer, its body still to be read. Only a `signed` request carries the credential."""
        sent = {name: headers[name] for name in PASSED_ON if name in headers}
        if signed:
            sent["authorization"] = self._authorization
        if headers.get("cookie", "").find("prefect_ui_version=v1") >= 0:
            sent["cookie"] = "prefect_ui_version=v1"
        client = self._client if signed else self._of_pages
        request = client.build_request(method, path, headers=sent, **({} if body is NOTHING else {"json": body}))
        try:
            for pause_s in BUSY_PAUSES_S:
                answer = await client.send(request, stream=True)
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    return answer
                await answer.aclose()
                await asyncio.sleep(pause_s)
            return await client.send(request, stream=True)
        except httpx.HTTPError as err:
            raise DoorDenied(503, f"the server behind the door does not answer: {type(err).__name__}") from err

    async def read(self, path: str, *, signed: bool = True, body: Any = NOTHING) -> Any:
        """The JSON at a path, or what is answered to a body; None if there is nothing."""
        answer = await self.ask("GET" if body is NOTHING else "POST", path, {}, body, signed=signed)
        try:
            await answer.aread()
            if answer.status_code == 404:
                return None
            answer.raise_for_status()
            return answer.json()
        except (httpx.HTTPError, ValueError) as err:
            raise DoorDenied(503, f"the server behind the door does not answer: {type(err).__name__}") from err
        finally:
            await answer.aclose()

    async def which(self, deployment_id: str) -> str | None:
        """The deployment's flow/name, if it is one that a token may start; None for any other."""
        for name in STARTS:
            at, known = self._deployments.get(name, (float("-inf"), ""))
            if time.monotonic() - at > FRESH_S:
                found = await self.read(f"/api/deployments/name/{name}")
                known = str(found["id"]) if found else ""
                self._deployments[name] = (time.monotonic(), known)
            if known == deployment_id.lower():
                return name
        return None


def _client(url: str, transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url,
        timeout=TIMEOUT,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # else one guest's would be sent for the next
        transport=transport,
    )
