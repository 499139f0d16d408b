"""Names that the gateway looks up: a busy name server is asked again, a name that is not there is not."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from blocks.gateway import connecting
from blocks.gateway.listener import MAX_LOOK_UPS, Listener, SandboxMode

ANSWER = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 443))]


@pytest.mark.parametrize(
    ("errors", "asked", "is_found"),
    [
        ([socket.EAI_AGAIN, socket.EAI_AGAIN], 3, True),
        ([socket.EAI_AGAIN] * 9, 4, False),
        ([socket.EAI_NONAME], 1, False),
    ],
)
def test_a_busy_name_server_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, errors: list[int], asked: int, is_found: bool
) -> None:
    left, calls = list(errors), []

    def getaddrinfo(*arguments: Any, **more: Any) -> list[Any]:
        calls.append(arguments)
        if left:
            raise socket.gaierror(left.pop(0), "no")
        return ANSWER

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(connecting, "PAUSES_S", (0.0, 0.0, 0.0))
    try:
        found = asyncio.run(connecting.system_resolve("registry.example", 443))
    except socket.gaierror:
        found = []
    assert (found == ["192.0.2.7"], len(calls)) == (is_found, asked)


def test_a_sandbox_whose_names_hang_keeps_no_other_waiting() -> None:
    asked, hangs = [], asyncio.Event()

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        if host == "hangs.example":
            await hangs.wait()
        return ["192.0.2.7"]

    def connects(listener: Any, host: str) -> Any:
        mode = SandboxMode(f"sandbox:{listener.id}", listener.id, None, None, listener)
        client = SimpleNamespace(id=f"{listener.id}-{host}", proxy_mode=mode)
        guard._cleared[client.id][host, 443] = True
        return SimpleNamespace(client=client, server=SimpleNamespace(address=(host, 443), id=client.id, error=None))

    async def play() -> tuple[int, Any]:
        one, other = (Listener(name, cast("Any", None), "", (), cast("Any", None)) for name in ("one", "other"))
        slow = [asyncio.create_task(guard.server_connect(connects(one, "hangs.example"))) for _ in range(20)]
        await asyncio.sleep(0)
        quick = connects(other, "answers.example")
        await guard.server_connect(quick)
        at_once = asked.count("hangs.example")
        hangs.set()
        await asyncio.gather(*slow)
        return at_once, quick.server.address

    guard = connecting.Connecting(resolve)
    assert asyncio.run(play()) == (MAX_LOOK_UPS, ("192.0.2.7", 443))
    assert asked.count("hangs.example") == 20
