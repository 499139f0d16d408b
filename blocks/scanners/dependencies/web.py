"""Asking a registry or a service: bounded in size and time, counted out once it is silent. Answers are only data."""

import contextlib
import functools
import hashlib
import os
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from blocks.home import home

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

TRIES = 2
SILENT_AFTER = 3
"""Failures in a row after which an address is not asked again in this scan."""
MAX_REDIRECTS = 5


class Unknown(Exception):
    """What was asked cannot be found out; the message says why, without credentials."""


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Certificates take longer to load than most answers to come."""
    return httpx.create_ssl_context()


class Web:
    """One scan's way to one outside service. Safe for several threads."""

    def __init__(
        self, address: str, *, timeout_s: float, deadline: float, login: tuple[str, str] | None = None
    ) -> None:
        url = httpx.URL(address.rstrip("/") + "/")
        self.base = url.copy_with(userinfo=b"")
        self._login = login or ((url.username, url.password) if url.username else None)
        self._client = httpx.Client(
            verify=_trusted(), timeout=timeout_s, follow_redirects=True, max_redirects=MAX_REDIRECTS
        )
        self._deadline = deadline
        self._failures = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, model: type[M], max_bytes: int, accept: str = "application/json") -> M | None:
        """An answer, read strictly; None if there is no such thing. Raises Unknown."""
        body = self.fetch("GET", self.base.join(path), max_bytes, headers={"Accept": accept})
        return None if body is None else self.read(body, model)

    def post(self, path: str, question: object, model: type[M], max_bytes: int) -> M:
        """Raises Unknown."""
        body = self.fetch("POST", self.base.join(path), max_bytes, json=question)
        if body is None:
            raise Unknown(f"{self.base.host} does not know /{path}")
        return self.read(body, model)

    def fetch(self, method: str, address: httpx.URL, max_bytes: int, **more: object) -> bytes | None:
        """The body of an answer; None for 404 and 410. Raises Unknown for silence, other answers and too much."""
        for turn in range(1, TRIES + 1):
            if time.monotonic() > self._deadline:
                raise Unknown("there was no time left to ask")
            if self._failures >= SILENT_AFTER:
                raise Unknown(f"{address.host} does not answer")
            try:
                body = self._once(method, address, max_bytes, more)
            except (httpx.TransportError, _Busy) as err:
                if turn == TRIES:
                    with self._lock:
                        self._failures += 1
                    raise Unknown(f"{address.host} does not answer ({err or type(err).__name__})") from err
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as err:
                raise Unknown(f"{address.host} cannot be asked ({type(err).__name__})") from err
            else:
                self._failures = 0
                return body
        raise AssertionError

    def _once(self, method: str, address: httpx.URL, max_bytes: int, more: dict[str, object]) -> bytes | None:
        is_home = (address.scheme, address.host, address.port) == (self.base.scheme, self.base.host, self.base.port)
        login = self._login if is_home else None
        with self._client.stream(method, address, auth=login, **more) as answer:  # type: ignore[arg-type]
            if answer.status_code in (404, 410):
                return None
            if answer.status_code == 429 or answer.status_code >= 500:
                raise _Busy(str(answer.status_code))
            if answer.status_code not in (200, 206):
                raise Unknown(f"{address.host} answers with {answer.status_code}")
            parts, size = [], 0
            for part in answer.iter_bytes(1 << 18):
                parts.append(part)
                size += len(part)
                if size > max_bytes:
                    raise Unknown(f"{address.host} answers with more than {max_bytes:,} bytes")
                if time.monotonic() > self._deadline:
                    raise Unknown("there was no time left to ask")
            return b"".join(parts)

    def read(self, body: bytes, model: type[M]) -> M:
        """A body, read strictly. Raises Unknown."""
        try:
            return model.model_validate_json(body)
        except ValidationError as err:
            raise Unknown(f"{self.base.host} answers with something that cannot be read") from err


class _Busy(Exception):
    """An answer that may be another one the next time."""


class Cache:
    """Answers on this machine, each for `max_age_s`. What cannot be kept or read is asked again."""

    def __init__(self, max_age_s: float) -> None:
        self.folder = home() / "cache" / "dependencies"
        self.max_age_s = max_age_s

    def get(self, question: str, model: type[M], ask: Callable[[], M | None]) -> M | None:
        """The kept answer to `question`, or what `ask` says now; that there is no such thing is not kept."""
        file = self.folder / f"{hashlib.sha256(question.encode()).hexdigest()}.json"
        with contextlib.suppress(OSError, ValidationError):
            if 0 <= time.time() - file.stat().st_mtime < self.max_age_s:
                return model.model_validate_json(file.read_bytes())
        answer = ask()
        if answer is not None:
            with contextlib.suppress(OSError):
                self._write(file, answer.model_dump_json().encode())
        return answer

    def prune(self) -> None:
        """Remove what is too old. Safe to repeat, and beside other scans."""
        with contextlib.suppress(OSError):
            for entry in os.scandir(self.folder):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat().st_mtime >= self.max_age_s:
                        os.unlink(entry.path)

    def _write(self, file: Path, content: bytes) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.folder, suffix=".part")
        with open(handle, "wb") as temporary:
            temporary.write(content)
        os.replace(name, file)
