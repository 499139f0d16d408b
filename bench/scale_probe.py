"""Runs in each flow run of `bench/scale.py`, before its first line: notes what the run asks Prefect's API, and what it
takes of the processors, once it ends."""

import atexit
import json
import os
import resource
from pathlib import Path
from typing import Any

import httpx

_calls: dict[str, int] = {}


def _count(request: httpx.Request) -> None:
    if request.url.path.startswith("/api/"):
        words = [word for word in request.url.path.split("/")[2:] if word and "-" not in word]
        what = f"{request.method} {'/'.join(words)}"
        _calls[what] = _calls.get(what, 0) + 1


def _watch() -> None:
    plain, later = httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request

    def handle_request(self: Any, request: httpx.Request) -> httpx.Response:
        _count(request)
        return plain(self, request)

    async def handle_async_request(self: Any, request: httpx.Request) -> httpx.Response:
        _count(request)
        return await later(self, request)

    httpx.HTTPTransport.handle_request = handle_request  # type: ignore[method-assign]
    httpx.AsyncHTTPTransport.handle_async_request = handle_async_request  # type: ignore[method-assign]


def _note() -> None:
    mine, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    told = {
        "run": os.environ.get("PREFECT__FLOW_RUN_ID"),
        "calls": _calls,
        "own_cpu_s": mine.ru_utime + mine.ru_stime,
        "sandboxes_cpu_s": theirs.ru_utime + theirs.ru_stime,
    }
    folder = Path(os.environ["LOCKGATE_HOME"]) / "noted"
    folder.mkdir(exist_ok=True)
    (folder / f"{os.getpid()}-{told['run']}.json").write_text(json.dumps(told))


_watch()
atexit.register(_note)
