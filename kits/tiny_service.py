"""A tiny service that does what a test tells it to, as a build that every kind of target can release."""

import atexit
import functools
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from uv import find_uv_bin

from domain.health import HealthCheck
from domain.ports import ReleaseBuild
from domain.trees import Tree, TreeEntry

CANARY = "canary-7f3a-of-the-secret"
"""Value of the variable TOKEN, where a target has secrets."""

SERVICE = """
import base64, hashlib, http.server, json, os, pathlib, signal, sys, time
HOW = json.loads(pathlib.Path("health.json").read_text())
BORN = time.monotonic()
USED = []
print("environment:", json.dumps(dict(os.environ)), file=sys.stderr, flush=True)
if HOW.get("dies"):
    sys.exit("it cannot go on")
if HOW.get("eats"):
    eaten = bytearray(HOW["eats"] << 20)
time.sleep(HOW.get("starts_after_s", 0))
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        code, body = 200, {"releaseId": os.environ["RELEASE_ID"], "status": "pass"}
        if self.path == "/health":
            if self.is_sick():
                code, body = 503, {**body, "status": "fail", "output": "sick of " + os.environ.get("TOKEN", "it")}
            return self.answer(code, body)
        USED.append(self.path)
        if HOW.get("fails_users"):
            code = 500
        if self.path == "/slow":
            time.sleep(0.5)
        elif self.path == "/exit":
            os._exit(3)
        elif self.path == "/eat":
            body["eaten"] = len(bytearray(1 << 30))
        elif self.path == "/self":
            status = pathlib.Path("/proc/self/status").read_text().splitlines()
            body["status"] = dict(line.split(":\\t", 1) for line in status if ":\\t" in line)
            body["writable"] = [path for path in ("/", "/app", "/usr/bin", "/tmp", "/data") if os.access(path, os.W_OK)]
        elif self.path == "/rows":
            import sqlite3
            rows = sqlite3.connect(os.environ["DATA_DIR"] + "/shop.db").execute("select * from rows").fetchall()
            body["rows"] = rows
        elif self.path == "/socket":
            return self.talk()
        self.answer(code, body)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()
    def is_sick(self):
        return (
            time.monotonic() - BORN > HOW.get("sick_after_s", 1e9)
            or bool(HOW.get("sick_once_used") and USED)
            or self.headers["Host"] == HOW.get("sick_at", "nowhere")
        )
    def answer(self, code, body):
        answer = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def talk(self):
        word = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(word.encode()).digest()).decode())
        self.end_headers()
        while head := self.rfile.read(2):
            self.rfile.read(4 + (head[1] & 127))
            said = os.environ["RELEASE_ID"].encode()
            self.wfile.write(bytes([0x81, len(said)]) + said)
        self.close_connection = True
    def log_message(self, *arguments):
        pass
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""

MIGRATE = """
import os, pathlib, sqlite3
with sqlite3.connect(os.environ["DATA_DIR"] + "/shop.db", isolation_level=None) as database:
    for statement in pathlib.Path("migrate.sql").read_text().split(";"):
        database.execute(statement)
exec(pathlib.Path("then.py").read_text())
"""


def tree_of(migration: str = "select 1", then: str = "", **how: Any) -> Tree:
    files = {"service.py": SERVICE, "health.json": json.dumps(how), "migrate.py": MIGRATE, "migrate.sql": migration,
             "then.py": then}  # fmt: skip
    return {path: TreeEntry(0o100644, text.encode()) for path, text in files.items()}


@functools.cache
def toolchain() -> Path:
    """A virtual environment of the system's Python, which the base image has, without a single package."""
    path = Path(tempfile.mkdtemp(prefix="toolchain-", dir="/var/tmp")) / "plain"  # a container's /tmp is its own
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    subprocess.run([find_uv_bin(), "venv", "--quiet", "--offline", "--python", "/usr/bin/python3", path], check=True)
    return path


def tiny_build(migration: str | None = None, then: str = "", run: str = "", **how: Any) -> ReleaseBuild:
    """A build of the tiny service: `tiny_build(sick_after_s=1)`."""
    return ReleaseBuild(
        tree=tree_of(migration or "select 1", then, **how),
        toolchain=toolchain(),
        run=run or "python service.py {host} {port}",
        health=HealthCheck(),
        migrate_up="python migrate.py" if migration else None,
        environment={"COLOUR": "blue"},
        previous=None,
    )
