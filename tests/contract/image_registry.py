"""A registry of images for tests, in memory: what an engine needs to push and to pull.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

import http.server
import threading
import uuid
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit


class ImageRegistry(http.server.ThreadingHTTPServer):
    """Blobs and manifests by digest; tags are manifests by another name."""

    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        super().__init__((host, port), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.pulled: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An engine that closes a connection is no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ImageRegistry

    def do_GET(self) -> None:
        kind, name = self._named()
        if kind == "manifests" and name in self.server.manifests:
            media, body = self.server.manifests[name]
            if self.command == "GET":
                self.server.pulled.append(name)
            self._answer(200, body, {"Content-Type": media, "Docker-Content-Digest": _digest(body)})
        elif kind == "blobs" and name in self.server.blobs:
            self._answer(200, self.server.blobs[name], {"Docker-Content-Digest": name})
        else:
            self._answer(200 if self.path == "/v2/" else 404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        upload = uuid.uuid4().hex
        self.server.uploads[upload] = bytearray()
        self._answer(202, headers={"Location": f"{urlsplit(self.path).path}{upload}", "Docker-Upload-UUID": upload})

    def do_PATCH(self) -> None:
        path = urlsplit(self.path).path
        self.server.uploads[path.rpartition("/")[2]] += self._body()
        size = len(self.server.uploads[path.rpartition("/")[2]])
        self._answer(202, headers={"Location": path, "Range": f"0-{size - 1}"})

    def do_PUT(self) -> None:
        parts, (kind, name) = urlsplit(self.path), self._named()
        body = self._body()
        if kind == "manifests":
            known = (self.headers["Content-Type"], body)
            self.server.manifests |= {name: known, _digest(body): known}
        else:
            body = bytes(self.server.uploads.pop(parts.path.rpartition("/")[2]) + body)
            if _digest(body) != parse_qs(parts.query)["digest"][0]:
                return self._answer(400)
            self.server.blobs[_digest(body)] = body
        return self._answer(201, headers={"Docker-Content-Digest": _digest(body), "Location": parts.path})

    def _named(self) -> tuple[str, str]:
        words = urlsplit(self.path).path.split("/")
        return (words[-2], words[-1]) if len(words) > 4 else ("", "")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    def _answer(self, code: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _digest(body: bytes) -> str:
    return f"sha256:{sha256(body).hexdigest()}"
