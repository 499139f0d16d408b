"""A real registry for tests: Debian's docker-registry on loopback, with a user and a password."""

import json
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any

PASSWORD = "correct-horse"
USERS = {
    "lockgate": "$2y$04$W6eEMZ0ycOqa1RiI3EDDse4kjISaSSPDNVUoAU8jgZgpaKB9nfZGq",
    "AWS": "$2y$04$W6eEMZ0ycOqa1RiI3EDDse4kjISaSSPDNVUoAU8jgZgpaKB9nfZGq",
}
"""What htpasswd makes of the password: `htpasswd -nbB -C 4 lockgate correct-horse`."""
_MISSING = "no docker-registry: apt-get install docker-registry"
_REQUEST = re.compile(r'"([A-Z]+) (\S+) HTTP/1\.1" (\d+) ')


class DockerRegistry:
    """One registry with its data in a directory. Engines take one on loopback without TLS."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{probe.getsockname()[1]}"
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True)
        (directory / "users").write_text("".join(f"{name}:{hashed}\n" for name, hashed in USERS.items()))
        (directory / "config.yml").write_text(
            json.dumps(  # which is YAML
                {
                    "version": "0.1",
                    "log": {"level": "warn"},
                    "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
                    "http": {"addr": self.host},
                    "auth": {"htpasswd": {"realm": "tests", "path": str(directory / "users")}},
                }
            )
        )

    def start(self) -> None:
        """It answers when this returns."""
        program = shutil.which("docker-registry")
        assert program, _MISSING
        with open(self._directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                [program, "serve", self._directory / "config.yml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < until, self.log[-3000:]
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It takes connections, and says nothing."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def has_begun(self, repository: str) -> bool:
        """Whether it has bytes of a layer that is not whole yet."""
        uploads = self._directory / "data/docker/registry/v2/repositories" / repository / "_uploads"
        return any(file.stat().st_size for file in uploads.glob("*/data"))

    @property
    def log(self) -> str:
        return (self._directory / "log").read_text()

    @property
    def requests(self) -> list[tuple[str, str, int]]:
        """Method, path and answer of every request so far."""
        return [(method, path, int(code)) for method, path, code in _REQUEST.findall(self.log)]

    @property
    def manifests_taken(self) -> int:
        return sum(method == "PUT" and "/manifests/" in path and code == 201 for method, path, code in self.requests)

    def ask(self, path: str, body: bytes | None = None) -> tuple[str | None, Any]:
        """The digest that it says of a manifest, and the manifest. With a body, that is put there."""
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        credentials = b64encode(f"lockgate:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(
            f"http://{self.host}/v2/{path}",
            data=body,
            method="PUT" if body else "GET",
            headers={"Accept": kind, "Content-Type": kind, "Authorization": f"Basic {credentials}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = answer.read()
            return answer.headers["Docker-Content-Digest"], json.loads(said) if said else None

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", int(self.host.rpartition(":")[2])), 1).close()
        except OSError:
            return False
        return True
