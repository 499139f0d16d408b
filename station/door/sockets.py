"""Events and logs as they happen. Prefect's protocol: the first message of a socket carries the token."""

import asyncio
import contextlib
import json
from typing import Any
from urllib.parse import urlsplit

from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from domain.access import Role, Token
from station.door import bodies, table
from station.door.connections import note_signed
from station.door.guests import Guests
from station.door.reading import MAX_BODY, NOTHING, DoorDenied, body_of, path_of, segments_of
from station.door.upstream import Upstream

FIRST_S = 15.0
AGAIN_S = 5.0
"""How often an open socket's token is looked at again."""
POLICY, BROKEN = 1008, 1011
JSON = ["application/json"]


async def serve(socket: WebSocket, upstream: Upstream, guests: Guests) -> None:
    """One socket, from its first message to its end."""
    try:
        segments = segments_of(socket.scope["raw_path"])
        roles = table.SOCKETS.get(path_of(segments[1:])) if segments[0] == "api" else None
        if roles is None or socket.scope["query_string"]:
            raise DoorDenied(404, "the door knows no socket here")
    except DoorDenied:
        return await socket.close(POLICY)  # before it is accepted: an HTTP 403
    if "prefect" not in socket.scope["subprotocols"]:
        return await socket.close(POLICY)
    await socket.accept(subprotocol="prefect")
    try:
        address = socket.client.host if socket.client else ""
        async with asyncio.timeout(FIRST_S):
            said = _read(await socket.receive_text())
        if not isinstance(said, dict) or said.get("type") != "auth" or not isinstance(said.get("token"), str):
            raise DoorDenied(401, "the first message must be of type auth, and hold a token")
        value = said["token"].partition(":")[2] if ":" in said["token"] else said["token"]
        token = await guests.of_value(value, address)
        note_signed(socket.scope)
        if not any(token.may(role) for role in roles):
            raise DoorDenied(403, f"{token.name} may not open this socket")
        await _joined(socket, upstream, guests, token, value, path_of(segments))
    except DoorDenied as no:
        await _close(socket, POLICY, str(no))
    except TimeoutError:
        await _close(socket, POLICY, "the first message must hold a token")
    except (WebSocketDisconnect, KeyError):
        return None  # it went away, or sent bytes
    except ConnectionClosed as closed:  # as the server did it, such as for a filter that it does not know
        said = closed.rcvd
        await _close(socket, said.code if said else BROKEN, said.reason if said else "the server broke off")
    except (WebSocketException, OSError):
        await _close(socket, BROKEN, "the server behind the door does not answer")


async def _joined(socket: WebSocket, upstream: Upstream, guests: Guests, token: Token, value: str, path: str) -> None:
    place = urlsplit(upstream.url)
    url = f"{'wss' if place.scheme == 'https' else 'ws'}://{place.netloc}{path}"
    async with connect(url, subprotocols=["prefect"], max_size=MAX_BODY, proxy=None) as server:  # type: ignore[list-item]
        await server.send(json.dumps({"type": "auth", "token": upstream.credential}))
        if json.loads(await server.recv()).get("type") != "auth_success":
            raise OSError("the server took no credential")
        await socket.send_json({"type": "auth_success"})
        address = socket.client.host if socket.client else ""
        guest = None if token.may(Role.ADMINISTER) else token
        duties = {
            asyncio.create_task(_inwards(socket, server, guest)),
            asyncio.create_task(_outwards(socket, server, guest)),
            asyncio.create_task(_watch(guests, value, address)),
        }
        try:
            done, _ = await asyncio.wait(duties, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for duty in duties:
                duty.cancel()
            await asyncio.gather(*duties, return_exceptions=True)
        for duty in done:
            duty.result()


async def _inwards(socket: WebSocket, server: ClientConnection, guest: Token | None) -> None:
    while True:
        said = _read(await socket.receive_text())
        if guest:
            bodies.check_reading(said)
        await server.send(json.dumps(said))


async def _outwards(socket: WebSocket, server: ClientConnection, guest: Token | None) -> None:
    async for told in server:
        found = json.loads(told)
        await socket.send_text(json.dumps(bodies.hidden(found, guest) if guest else found))
    await _close(socket, 1000, "")


async def _watch(guests: Guests, value: str, address: str) -> None:
    """Raises Denied when the token is over."""
    while True:
        await asyncio.sleep(AGAIN_S)
        await guests.of_value(value, address)


def _read(text: str) -> Any:
    if len(text) > MAX_BODY:
        raise DoorDenied(413, "the message is too long")
    found = body_of(JSON, [], text.encode("utf-8", "surrogatepass"))
    return {} if found is NOTHING else found


async def _close(socket: WebSocket, code: int, why: str) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.close(code, why.encode()[:120].decode(errors="ignore"))
