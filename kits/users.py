"""Users of a public address: who asks once, and who asks without a pause."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

READS_AND_WRITES = ("/", "POST /", "/slow", "POST /slow")


class Public(Protocol):
    """What has a public address."""

    def url(self) -> str: ...


def ask(public: Public, path: str = "/health", method: str = "GET") -> tuple[int, dict[str, Any]]:
    """Status and JSON of one answer; an empty object if it is none."""
    connection = _to(public)
    try:
        connection.request(method, path, body=b"x" if method == "POST" else None)
        answer = connection.getresponse()
        body = answer.read()
        with contextlib.suppress(ValueError):  # a balancer without a target says no JSON
            return answer.status, json.loads(body)
        return answer.status, {}
    finally:
        connection.close()


class Hammer:
    """Keep-alive connections, one for each of `paths`, that ask all the time and keep who answered. Each answer that is
    not a 200 is a failure."""

    def __init__(self, public: Public, paths: tuple[str, ...] = ("/", "/", "/slow")) -> None:
        self.asked = 0
        self.failures: list[str] = []
        self.releases: list[str] = []
        self._public = public
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(path,)) for path in paths]

    def __enter__(self) -> "Hammer":
        for thread in self._threads:
            thread.start()
        time.sleep(0.3)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.3)
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, what: str) -> None:
        method, _, path = what.rpartition(" ")
        method = method or "GET"
        connection = _to(self._public)
        while not self._over.is_set():
            try:
                connection.request(method, path, body=b"x" if method == "POST" else None)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    self.failures.append(f"{method} {path}: {answer.status} {body[:200]!r}")
                else:
                    self.releases.append(json.loads(body).get("releaseId"))
            except (OSError, http.client.HTTPException, ValueError) as err:
                self.failures.append(f"{method} {path}: {err!r}")
                connection.close()
            self.asked += 1
            time.sleep(0.02)  # more would take a core from what it asks
        connection.close()


def _to(public: Public) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(public.url().removeprefix("http://"), timeout=10)


def until(is_so: Callable[[], Any], within_s: float = 60) -> Any:
    """Look until it is so; what was seen then."""
    deadline = time.monotonic() + within_s
    while not (seen := is_so()):
        assert time.monotonic() < deadline, f"not so within {within_s:g} s"
        time.sleep(0.05)
    return seen
