"""A small registry on this machine: PEP 691, PyPI's project JSON, npm's documents, wheels by range, and OSV."""

import base64
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

SIMPLE = "application/vnd.pypi.simple.v1+json"


def days_ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def sha256(name: str, version: str) -> str:
    return hashlib.sha256(f"{name} {version}".encode()).hexdigest()


def integrity(name: str, version: str) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(f"{name} {version}".encode()).digest()).decode()


def wheel(*files: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in files:
            archive.writestr(file, "x = 1\n" * 100)
    return packed.getvalue()


class Registry:
    """What is published; `answers` replaces the answer for a path, `asked` is every path that was asked for."""

    def __init__(self) -> None:
        self.pypi: dict[str, dict[str, Any]] = {}
        self.projects: dict[str, dict[str, Any]] = {}
        self.npm: dict[str, dict[str, Any]] = {}
        self.vulnerable: dict[tuple[str, str, str], list[str]] = {}
        self.advisories: dict[str, dict[str, Any]] = {}
        self.wheels: dict[str, bytes] = {}
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        self.url = ""

    def python(
        self,
        name: str,
        *versions: str,
        age: float = 1000,
        latest_age: float = 100,
        yanked: tuple[str, ...] = (),
        source: str | None = "https://github.com/owner/project",
        modules: tuple[str, ...] | None = None,
    ) -> None:
        """Versions from the oldest to the newest; `age` in days is that of the first, `latest_age` of the last."""
        files = []
        for number, version in enumerate(versions):
            old = latest_age if number == len(versions) - 1 else age
            files.append(
                {
                    "filename": f"{name.replace('-', '_')}-{version}-py3-none-any.whl",
                    "url": f"../../files/{name}-{version}.whl",
                    "hashes": {"sha256": sha256(name, version)},
                    "upload-time": days_ago(old),
                    "yanked": "broken" if version in yanked else False,
                }
            )
            self.wheels[f"/files/{name}-{version}.whl"] = wheel(
                *(modules or (f"{name.replace('-', '_')}/__init__.py",)), f"{name}-{version}.dist-info/METADATA"
            )
        self.pypi[name] = {"meta": {"api-version": "1.1"}, "name": name, "versions": list(versions), "files": files}
        links = {"Source": source} if source else {"Documentation": "https://docs.example.org"}
        self.projects[name] = {"info": {"home_page": None, "project_urls": links}}

    def node(
        self,
        name: str,
        *versions: str,
        age: float = 1000,
        latest_age: float = 100,
        scripts: dict[str, str] | None = None,
        repository: object = "git+https://github.com/owner/project.git",
    ) -> None:
        times = {version: days_ago(latest_age if version == versions[-1] else age) for version in versions}
        self.npm[name] = {
            "name": name,
            "dist-tags": {"latest": versions[-1]},
            "time": {"created": days_ago(age), **times},
            "versions": {
                version: {
                    "name": name,
                    "version": version,
                    "repository": repository,
                    "scripts": scripts or {},
                    "dist": {"integrity": integrity(name, version)},
                }
                for version in versions
            },
        }

    def vulnerability(
        self, id: str, ecosystem: str, name: str, *versions: str, fixed: str | None = None, **more: Any
    ) -> None:
        for version in versions:
            self.vulnerable.setdefault((ecosystem, name, version), []).append(id)
        events = [{"introduced": "0"}, *([{"fixed": fixed}] if fixed else [])]
        self.advisories[id] = {
            "id": id,
            "summary": f"summary of {id}",
            "affected": [
                {"package": {"ecosystem": ecosystem, "name": name}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
            ],
            **more,
        }

    def answer(self, path: str) -> Any:
        parts = unquote(path).strip("/").split("/")
        match parts:
            case ["simple", name]:
                return self.pypi.get(name)
            case ["pypi", name, "json"]:
                return self.projects.get(name)
            case ["npm", *name]:
                return self.npm.get("/".join(name))
            case ["osv", "v1", "vulns", id]:
                return self.advisories.get(id)
        return None


@contextmanager
def serving() -> Iterator[Registry]:
    """A registry at `url` while the context is open."""
    registry = Registry()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            registry.asked.append(self.path)
            if self.path in registry.wheels and self.path not in registry.answers:
                self._wheel(registry.wheels[self.path])
            else:
                said = registry.answer(self.path)
                self._say(
                    *registry.answers.get(self.path, (404, b"") if said is None else (200, json.dumps(said).encode()))
                )

        def do_POST(self) -> None:
            registry.asked.append(self.path)
            queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            found = [
                registry.vulnerable.get((q["package"]["ecosystem"], q["package"]["name"], q["version"]), [])
                for q in queries
            ]
            said = {"results": [{"vulns": [{"id": id} for id in ids]} if ids else {} for ids in found]}
            self._say(*registry.answers.get(self.path, (200, json.dumps(said).encode())))

        def _wheel(self, content: bytes) -> None:
            size = int(self.headers["Range"].removeprefix("bytes=-"))
            self._say(206, content[-size:])

        def _say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", SIMPLE if "/simple/" in self.path else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    registry.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
