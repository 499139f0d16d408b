"""The Docker Engine at a unix socket: the SDK's calls with our errors, and raw streams, which the SDK has not whole."""

import contextlib
import functools
import json
import os
import socket as sockets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from domain.errors import SandboxError

if TYPE_CHECKING:
    from docker import APIClient

TIMEOUT_S = 60.0
_PATH = "/usr/local/bin:/usr/bin:/bin"
_INSTALL = "install one (Debian: apt-get install docker.io) and start it, or set the socket's path"


@contextlib.contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """What the engine, or the way to it, refuses is SandboxError."""
    import docker.errors
    import requests

    try:
        yield
    except docker.errors.APIError as err:
        said = err.explanation or str(err)
        raise SandboxError(f"the engine cannot {doing}: {said.strip()[-600:]}") from err
    except (docker.errors.DockerException, requests.RequestException, OSError) as err:
        raise SandboxError(f"the engine does not answer ({doing}): {err}. Is dockerd running?") from err


def default_socket() -> str:
    """$DOCKER_HOST where it is a unix socket, else the usual path."""
    host = os.environ.get("DOCKER_HOST", "")
    return host.removeprefix("unix://") if host.startswith("unix://") else "/run/docker.sock"


class Engine:
    """One engine on this machine. Mounts are paths of this machine, so an engine elsewhere is of no use."""

    def __init__(self, path: str) -> None:
        """Raises SandboxError where nothing answers."""
        import docker

        if not Path(path).is_socket():
            raise SandboxError(f"no Docker Engine at {path}: {_INSTALL}")
        self.path = path
        with engine_errors("say its version"):
            self.api: APIClient = docker.APIClient(f"unix://{path}", version="auto", timeout=TIMEOUT_S)

    @staticmethod
    def at(path: str | None) -> "Engine":
        """The engine at a socket's path, connected once a process. Raises SandboxError where none answers."""
        return _engine(path or default_socket(), os.getpid())

    def image_id(self, name: str) -> str | None:
        """The content id of an image, or None where the engine has none of that name."""
        import docker.errors

        with engine_errors(f"look at the image {name}"), contextlib.suppress(docker.errors.ImageNotFound):
            return str(self.api.inspect_image(name)["Id"])
        return None

    def search_path(self, image: str) -> str:
        """PATH as the image has it."""
        with engine_errors(f"look at the image {image}"):
            variables = self.api.inspect_image(image)["Config"]["Env"] or []
        return next((line.partition("=")[2] for line in variables if line.startswith("PATH=")), _PATH)

    def import_image(self, tar: IO[bytes], name: str, changes: Sequence[str]) -> None:
        """Make an image of one layer from a tar."""
        repository, _, tag = name.partition(":")
        with engine_errors(f"import {name}"):
            parameters = {"fromSrc": "-", "repo": repository, "tag": tag, "changes": list(changes)}
            url = self.api._url("/images/create")
            said = self.api._result(self.api._post(url, data=tar, params=parameters, timeout=600))
        if '"error"' in str(said):
            raise SandboxError(f"the engine cannot import {name}: {str(said)[-300:]}")

    def tag(self, name: str, repository: str, tag: str) -> None:
        with engine_errors(f"tag {name}"):
            self.api.tag(name, repository, tag, force=True)

    def kill_container(self, container: str) -> None:
        """Kill all that runs in it; when this returns, nothing does. Safe to repeat."""
        import docker.errors

        with engine_errors("kill a container"), contextlib.suppress(docker.errors.NotFound):
            try:
                self.api.kill(container)
            except docker.errors.APIError as err:
                if err.status_code != 409:  # it does not run
                    raise
            self.api.wait(container, timeout=TIMEOUT_S, condition="not-running")

    def remove_container(self, container: str) -> None:
        """Kill all that runs in it, and remove it; when this returns, both are done. Safe to repeat."""
        import docker.errors

        with engine_errors("remove a container"):
            try:
                self.api.remove_container(container, force=True, v=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as err:
                if err.status_code != 409:  # another one is removing it: wait with it
                    raise
                with contextlib.suppress(docker.errors.NotFound):
                    self.api.wait(container, timeout=TIMEOUT_S, condition="removed")

    def remove_volume(self, volume: str) -> None:
        """Safe to repeat."""
        import docker.errors

        with engine_errors("remove a volume"), contextlib.suppress(docker.errors.NotFound):
            self.api.remove_volume(volume, force=True)

    def stream(self, path: str, body: dict[str, Any] | None = None) -> "Stream":
        """The connection that a POST to `path` turns into: stdin there, stdout and stderr back.

        By hand: the SDK hands out the socket below its own buffer, and loses what came with the answer's header.
        https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
        """
        data = json.dumps(body).encode() if body is not None else b""
        head = (
            f"POST /v{self.api.api_version}{path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        with engine_errors("attach"):
            connection = sockets.socket(sockets.AF_UNIX)
            try:
                connection.settimeout(TIMEOUT_S)
                connection.connect(self.path)
                connection.sendall(head.encode() + data)
                answer = b""
                while b"\r\n\r\n" not in answer:
                    piece = connection.recv(65536)
                    if not piece:
                        raise ConnectionError("the connection was closed")
                    answer += piece
                header, _, rest = answer.partition(b"\r\n\r\n")
                if header.split(b" ", 2)[1] not in (b"101", b"200"):
                    raise ConnectionError((rest or header).decode(errors="replace").strip()[-300:])
            except BaseException:
                connection.close()
                raise
        return Stream(connection, rest)


@functools.lru_cache(maxsize=8)
def _engine(path: str, pid: int) -> Engine:
    return Engine(path)


class Stream:
    """A hijacked connection. What comes in is in frames: stream, three zeros, length in four bytes."""

    def __init__(self, connection: sockets.socket, early: bytes) -> None:
        self.connection = connection
        self._data = bytearray(early)

    def fileno(self) -> int:
        return self.connection.fileno()

    @property
    def has_frame(self) -> bool:
        """Whether there is something to take already, which no select sees: it came with the header."""
        return len(self._data) >= 8 and len(self._data) - 8 >= int.from_bytes(self._data[4:8], "big")

    def take(self) -> bytes | None:
        """What one recv brings, stdout and stderr together; None at the end. Partial frames wait for their rest."""
        if not self.has_frame:
            piece = self.connection.recv(1 << 18)
            if not piece:
                return None
            self._data += piece
        out = bytearray()
        at = 0
        while len(self._data) - at >= 8:
            size = int.from_bytes(self._data[at + 4 : at + 8], "big")
            if len(self._data) - at - 8 < size:
                break
            out += self._data[at + 8 : at + 8 + size]
            at += 8 + size
        del self._data[:at]
        return bytes(out)

    def send(self, data: memoryview) -> int:
        """As much to the other side's stdin as it takes now; how much that was."""
        try:
            return self.connection.send(data, sockets.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def send_end(self) -> None:
        """Close the other side's stdin."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(sockets.SHUT_WR)

    def close(self) -> None:
        self.connection.close()
