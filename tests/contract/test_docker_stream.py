"""The engine's stream of a command, against a peer that does what dockerd was seen to do."""

import socket
from typing import cast

from blocks.host.docker import Engine
from blocks.sandboxes.docker_exec import _Run
from blocks.sandboxes.docker_stream import Stream
from blocks.sandboxes.transcript import Transcript


def test_an_engine_that_closes_with_typed_bytes_unread_has_only_ended_the_stream() -> None:
    ours, theirs = socket.socketpair()
    heard: list[str] = []
    transcript = Transcript(1 << 20, heard.append)
    run = _Run(cast(Engine, None), "none", transcript, memoryview(b"x" * 100))
    stream = Stream(ours, b"")
    assert run._move(stream, 0)  # types all of it
    theirs.send(b"\x01\0\0\0\0\0\0\x04done")
    theirs.close()  # 100 bytes unread: ours is told of a reset, after what was sent
    assert run._move(stream, 1)
    assert not run._move(stream, 1)
    transcript.finish()
    assert heard == ["done"]
