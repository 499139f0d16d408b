"""A Docker Engine that publishes ports, tiny releases for it, and targets of them: for the tests of docker_host."""

import atexit
import contextlib
import ctypes
import fcntl
import functools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect.blocks.fields import SecretDict
from uv import find_uv_bin

from blocks.sandboxes import image
from blocks.sandboxes.docker_engine import Engine as SandboxEngine
from blocks.targets.container import ContainerService
from blocks.targets.docker_engine import Engine
from blocks.targets.docker_host import DockerHostTarget
from domain.errors import TargetError
from domain.ports import ReleaseBuild, Tree, TreeEntry
from domain.rollout import Rollout
from tests.engine import engine_socket

CANARY = "canary-7f3a-of-the-secret"

SERVICE = """
import base64, hashlib, http.server, json, os, pathlib, signal, sys, time
HEALTH = json.loads(pathlib.Path("health.json").read_text())
BORN = time.monotonic()
print("environment:", json.dumps(dict(os.environ)), flush=True)
if HEALTH.get("dies"):
    sys.exit("it cannot go on")
if HEALTH.get("eats"):
    eaten = bytearray(HEALTH["eats"] << 20)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        code, body = 200, {"releaseId": os.environ["RELEASE_ID"], "status": "pass"}
        if self.path == "/health" and time.monotonic() - BORN > HEALTH.get("sick_after_s", 1e9):
            code, body = 503, {**body, "status": "fail", "output": "sick of " + os.environ.get("TOKEN", "it")}
        elif self.path == "/slow":
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
        answer = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()
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


def tree_of(migration: str = "select 1", then: str = "", **health: Any) -> Tree:
    files = {"service.py": SERVICE, "health.json": json.dumps(health), "migrate.py": MIGRATE, "migrate.sql": migration,
             "then.py": then}  # fmt: skip
    return {path: TreeEntry(0o100644, text.encode()) for path, text in files.items()}


@functools.cache
def toolchain() -> Path:
    """A virtual environment of the system's Python, which the base image has, without a single package."""
    path = Path(tempfile.mkdtemp(prefix="toolchain-", dir="/var/tmp")) / "plain"  # a container's /tmp is its own
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    subprocess.run([find_uv_bin(), "venv", "--quiet", "--offline", "--python", "/usr/bin/python3", path], check=True)
    return path


def tiny_build(migration: str | None = None, then: str = "", run: str = "", **health: Any) -> ReleaseBuild:
    """A build of the tiny service: `tiny_build(sick_after_s=1)`."""
    return ReleaseBuild(
        tree=tree_of(migration or "select 1", then, **health),
        toolchain=toolchain(),
        run=run or "python service.py {host} {port}",
        health="/health",
        migrate_up="python migrate.py" if migration else None,
        environment={"COLOUR": "blue"},
        previous=None,
    )


@contextmanager
def docker_target(root: Path, engine: str, **fields: Any) -> Iterator[DockerHostTarget]:
    """A target of an engine, with nothing left of it afterwards."""
    settings: dict[str, Any] = {
        "name": "shop",
        "root": root,
        "socket": engine,
        "port": free_port(),
        "environment": {"SHOP": "here"},
        "secrets": SecretDict({"TOKEN": CANARY}),
        "rollout": Rollout(shares=(50,), share_s=0.2, bake_s=0.5, interval_s=0.05),
        "start_timeout_s": 10,
        "memory_mb": 128,
        "drain_s": 0.6,
    }
    target = DockerHostTarget(**{**settings, **fields})
    try:
        yield target
    finally:
        remove(target)


def remove(target: DockerHostTarget) -> None:
    """Nothing of it is left on this machine, nor at its engine."""
    target.stop()
    for place in target._releases.all():
        target._service(place.revision).forget()
    api = Engine.at(target.socket).api
    for network in api.networks(filters={"label": "lockgate.network"}):
        if (
            network["Name"].startswith(f"lockgate-{target.name}-")
            and not api.inspect_network(network["Id"])["Containers"]
        ):
            api.remove_network(network["Id"])


def service(target: DockerHostTarget, revision: str) -> ContainerService:
    return target._service(revision)


def container(target: DockerHostTarget, revision: str) -> Mapping[str, Any] | None:
    """The container of a release as the engine tells it, found without the target's help."""
    api = Engine.at(target.socket).api
    filters = {"label": [f"lockgate.revision={revision}", f"lockgate.environment={target.name}", "lockgate.release"]}
    mine = [api.inspect_container(one["Id"]) for one in api.containers(all=True, filters=filters)]
    mine = [one for one in mine if str(target.root) in json.dumps(one["HostConfig"]["Mounts"])]
    assert len(mine) <= 1, [one["Name"] for one in mine]
    return mine[0] if mine else None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@functools.cache
def engine_that_publishes() -> str:
    """The socket of the machine's engine, with the base image."""
    return engine_socket()


class OwnEngine:
    """An engine of our own that can be restarted, in a network namespace of its own. Needs root."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "docker.sock"
        self._folder = folder
        self._holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"])
        self._daemon: subprocess.Popen[bytes] | None = None
        while os.readlink(self._namespace) == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)

    @property
    def _namespace(self) -> str:
        return f"/proc/{self._holder.pid}/ns/net"

    def start(self) -> None:
        folder = self._folder
        with open(folder / "log", "ab") as log:
            self._daemon = subprocess.Popen(
                [
                    *("nsenter", f"--net={self._namespace}", "setpriv", "--pdeathsig", "TERM"),
                    *("dockerd", "--host", f"unix://{self.socket}"),
                    *("--data-root", folder / "data", "--exec-root", folder / "run", "--pidfile", folder / "pid"),
                    *("--bridge=none", "--iptables=false", "--ip-forward=false", "--log-level=warn"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + 60
        while not self._answers():
            assert self._daemon.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-3000:]
            time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._daemon:
            self._daemon.send_signal(number)
            self._daemon.wait(60)
            self._daemon = None
            pid, deadline = self._folder / "run" / "containerd" / "containerd.pid", time.monotonic() + 30
            while pid.exists() and Path("/proc", pid.read_text()).exists():
                assert time.monotonic() < deadline  # it ends with its engine, and one that starts now would wait for it
                time.sleep(0.05)

    def close(self) -> None:
        self.end()
        for pid in self._pids():  # containers, where the test broke off while nobody minded them
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self._holder.kill()
        self._holder.wait()
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(f"{self._folder}/")]):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _pids(self) -> list[int]:
        """First processes of the containers that are left, and what minds them."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{self._folder}/run/containerd" in (path / "cmdline").read_text(errors="replace"):
                    below = (path / "task" / path.name / "children").read_text().split()
                    found += [*map(int, below), int(path.name)]
        return found

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and all that it starts, are in the engine's network."""
        with open("/proc/thread-self/ns/net") as before, open(self._namespace) as own:
            _enter(own.fileno())
            try:
                with socket.socket() as line:
                    fcntl.ioctl(line, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up and running
                yield
            finally:
                _enter(before.fileno())

    def _answers(self) -> bool:
        try:
            return bool(Engine(str(self.socket)).api.ping())
        except (TargetError, OSError):
            return False
        except Exception:  # the SDK's own, of which there are many while it starts
            return False


@contextmanager
def own_engine(size_mb: int | None = None) -> Iterator[OwnEngine]:
    """An engine of our own with the base image, and this thread in its network. `size_mb`: of its disk."""
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    if size_mb:
        (folder / "data").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "none", folder / "data"], check=True)
    engine = OwnEngine(folder)
    try:
        engine.start()
        image.build(SandboxEngine.at(str(engine.socket)), lambda line: None)
        with engine.inside():
            yield engine
    finally:
        engine.close()


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0x40000000):  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")


PROJECT = Path(__file__).parents[2]


def run_worker(program: str, given: bytes) -> subprocess.CompletedProcess[bytes]:
    """A worker in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", program], input=given, cwd=PROJECT, stderr=subprocess.PIPE, check=False
    )
