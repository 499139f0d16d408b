"""A platform with commands, for the target `command`.

`platform.py serve FOLDER PORT` is the platform: it runs releases, each on a port of its own, and its public address
gives every request to the one that has the traffic. `platform.py http://127.0.0.1:PORT VERB REVISION TREE` is its
command, from any machine that reaches it.
"""

import contextlib
import http.server
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path


class Platform(http.server.ThreadingHTTPServer):
    """What it runs, and what it was told, which is in `calls` too."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.current = folder, ""
        self.releases: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}
        super().__init__(("127.0.0.1", port), Request)

    def obey(self, verb: str, revision: str, tree: str) -> dict[str, str | None]:
        """Do it, safe to repeat; what there is to say."""
        with open(self.folder / "calls", "a") as calls:
            calls.write(json.dumps({"verb": verb, "revision": revision}) + "\n")
        if verb == "start" and revision not in self.releases:
            self._start(revision, tree)
        elif verb in ("promote", "rollback"):
            self.current = revision
        elif verb == "cleanup" and revision in self.releases:
            self.releases.pop(revision).kill()
        elif verb == "stop":
            self.current = ""
        elif verb == "address":
            return {"address": f"http://127.0.0.1:{self.ports[revision]}"}
        elif verb == "current":
            return {"revision": self.current or None}
        return {}

    def _start(self, revision: str, tree: str) -> None:
        self.ports[revision] = free_port()
        words = [sys.executable, "service.py", "127.0.0.1", str(self.ports[revision])]
        environment = {"PATH": os.environ["PATH"], "RELEASE_ID": revision}
        with open(self.folder / f"{revision}.log", "ab") as log:
            self.releases[revision] = subprocess.Popen(words, cwd=tree, env=environment, stdout=log, stderr=log)


class Request(http.server.BaseHTTPRequestHandler):
    """One of a user, or a command."""

    server: Platform

    def do_GET(self) -> None:
        code, body = 503, b"{}"
        with contextlib.suppress(OSError, KeyError):
            place = f"http://127.0.0.1:{self.server.ports[self.server.current]}{self.path}"
            try:
                with urllib.request.urlopen(place, timeout=5) as answer:
                    code, body = answer.status, answer.read()
            except urllib.error.HTTPError as err:
                code, body = err.code, err.read()
        self._answer(code, body)

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(200, json.dumps({"ok": True, **self.server.obey(*told)}).encode())

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        Platform(Path(sys.argv[2]), int(sys.argv[3])).serve_forever()
    else:
        asked = json.dumps((*sys.argv[2:], "", "")[:3]).encode()
        with urllib.request.urlopen(urllib.request.Request(sys.argv[1], asked), timeout=20) as said:
            print(said.read().decode())
