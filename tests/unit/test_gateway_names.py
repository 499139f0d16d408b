"""Names that the gateway looks up: a busy name server is asked again, a name that is not there is not."""

import asyncio
import socket
from typing import Any

import pytest

from blocks.gateway import connecting

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
