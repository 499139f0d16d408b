"""A platform that only has commands, played by a script that runs real services behind a real router."""

import contextlib
import http.client
import http.server
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from prefect.blocks.fields import SecretDict

from blocks.targets.command.target import CommandTarget
from blocks.targets.command.words import Commands
from domain.rollout import Rollout
from kits.tiny_service import CANARY

PLATFORM = """
import contextlib, json, os, pathlib, signal, socket, subprocess, sys, time
state, verb, revision, previous, share, tree = pathlib.Path(sys.argv[1]), *sys.argv[2:7]
def put(name, text):
    (state / (name + ".new")).write_text(text)
    (state / (name + ".new")).rename(state / name)
def get(name):
    return (state / name).read_text() if (state / name).exists() else ""
def say(**answer):
    print(json.dumps({"ok": True, **answer}), flush=True)
def count(is_it):
    lines = [line.split() for line in get("access").splitlines()]
    mine = [(int(code), float(ms)) for at, who, code, ms in lines if float(at) >= since and is_it(who)]
    times = sorted(ms for _, ms in mine)
    errors = sum(code >= 500 for code, _ in mine)
    return {"requests": len(mine), "errors": errors, "p95_ms": times[int(0.95 * (len(times) - 1))] if times else None}
with open(state / "calls", "a") as calls:
    told = {name: value for name, value in os.environ.items() if name.startswith("LOCKGATE_")}
    calls.write(json.dumps({"verb": verb, "cwd": os.getcwd(), "environment": dict(os.environ), **told}) + "\\n")
print("about to", verb, file=sys.stderr)
exec(get("trick-" + verb))
if verb == "migrate":
    ran = subprocess.run([sys.executable, "then.py"], cwd=tree, capture_output=True, text=True)
    if ran.returncode:
        say(ok=False, problem=ran.stderr)
        sys.exit(1)
    say()
elif verb == "start":
    if not get(revision + ".pid"):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        command = [sys.executable, "service.py", "127.0.0.1", str(port)]
        environment = {**os.environ, "RELEASE_ID": revision}
        log = open(state / (revision + ".log"), "a")
        # its stdout stays ours: nobody may wait for that to be closed
        process = subprocess.Popen(command, cwd=tree, env=environment, stderr=log, start_new_session=True)
        put(revision + ".port", str(port))
        put(revision + ".pid", str(process.pid))
        until = time.monotonic() + 3
        while process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)
        if process.poll() is not None:
            say(ok=False, problem="it ended: " + get(revision + ".log")[-200:])
            sys.exit(1)
    say()
elif verb == "address":
    say(address="http://127.0.0.1:" + get(revision + ".port"))
elif verb == "shift":
    put("share", share + " " + revision)
    say()
elif verb in ("promote", "rollback"):
    put("current", revision)
    put("share", "")
    put("running-artifact", "")
    say()
elif verb == "current":
    say(revision=get("current") or None, artifact=get("running-artifact") or None)
elif verb == "numbers":
    since = float(os.environ["LOCKGATE_SINCE"])
    new = json.loads(get("new")) if get("new") else count(lambda who: who == revision)
    say(new=new, old=None if get("new") else count(lambda who: who != revision))
elif verb == "cleanup":
    if get(revision + ".pid"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(get(revision + ".pid")), signal.SIGKILL)
        (state / (revision + ".pid")).unlink()
    say()
elif verb == "stop":
    put("current", "")
    say()
elif verb == "logs":
    print(get(revision + ".log"), end="")
else:
    say()
"""


class Playground:
    """The platform's state, and its public address: a router that reads for each request who is to answer."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.state.mkdir(parents=True)
        self.script = folder / "platform.py"
        self.script.write_text(PLATFORM)
        self.router = _Router(self.state)
        threading.Thread(target=self.router.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.router.server_address[1]}"

    def target(self, root: Path, without: tuple[str, ...] = (), **fields: Any) -> CommandTarget:
        """A target of it: `target(root, without=("shift",), timeout_s=1)`."""
        words = ("{verb}", "{revision}", "{previous}")
        commands = {
            verb: (
                *(sys.executable, str(self.script), str(self.state), *words),
                *("{share}" if verb == "shift" else "", "{tree}"),
            )
            for verb in Commands.model_fields
            if verb not in without
        }
        settings = {
            "commands": Commands.model_validate(commands),
            "name": "shop",
            "root": root,
            "address": self.address,
            "secrets": SecretDict({"TOKEN": CANARY}),
            "rollout": Rollout(interval_s=0.05, latency_floor_ms=20_000),
            "start_timeout_s": 5,
            "timeout_s": 20,
        }
        return CommandTarget(**{**settings, **fields})

    def trick(self, verb: str, code: str) -> None:
        """Before it does what it should, the platform's command runs this."""
        (self.state / f"trick-{verb}").write_text(code)

    def calls(self, *verbs: str) -> list[dict[str, Any]]:
        file = self.state / "calls"
        lines = map(json.loads, file.read_text().splitlines()) if file.exists() else []
        return [call for call in lines if not verbs or call["verb"] in verbs]

    def pid(self, revision: str) -> int | None:
        """Of a release that was started and not cleaned up."""
        file = self.state / f"{revision}.pid"
        return int(file.read_text()) if file.exists() else None

    def close(self) -> None:
        self.router.shutdown()
        self.router.server_close()
        for file in self.state.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)


class _Router(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, state: Path) -> None:
        self.state, self.asked, self._lock = state, 0, threading.Lock()
        super().__init__(("127.0.0.1", 0), _Routed)

    def pick(self) -> str:
        """Who answers the next request: every so many of a hundred go to the share."""
        with self._lock:
            self.asked += 1
            number = self.asked
        share, _, revision = self.read("share").partition(" ")
        if share and number * int(share) // 100 != (number - 1) * int(share) // 100:
            return revision
        return self.read("current")

    def read(self, name: str) -> str:
        return (self.state / name).read_text() if (self.state / name).exists() else ""

    def note(self, revision: str, code: int, ms: float) -> None:
        with self._lock, open(self.state / "access", "a") as log:
            log.write(f"{time.time():.3f} {revision or '-'} {code} {ms:.1f}\n")


class _Routed(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Router

    def do_GET(self) -> None:
        begun, revision, code, answer = time.monotonic(), self.server.pick(), 503, b"{}"
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            port = int(self.server.read(f"{revision}.port"))
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            with contextlib.closing(connection):
                connection.request(self.command, self.path, body, {"Host": self.headers["Host"]})
                said = connection.getresponse()
                code, answer = said.status, said.read()
        if self.path != "/health":
            self.server.note(revision, code, 1000 * (time.monotonic() - begun))
        self.send_response(code)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass
