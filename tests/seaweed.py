"""A real S3 server for tests: SeaweedFS on loopback, on ports of its own, gone with the test."""

import json
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

KEYS = ("lockgate", "lockgate-secret")
READER = ("reader", "reader-secret")
"""May read and list, and nothing else."""


class Seaweed:
    """One server with its data in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        names = ("master", "volume", "filer", "s3", "admin")
        http, grpc = _free_ports(len(names)), _free_ports(len(names))
        self._ports = dict(zip(names, zip(http, grpc, strict=True), strict=True))
        self.url = f"http://127.0.0.1:{self._ports['s3'][0]}"
        self._process: subprocess.Popen[bytes] | None = None
        (directory / "data").mkdir(parents=True)
        (directory / "s3.json").write_text(
            json.dumps(
                {
                    "identities": [
                        _identity(*KEYS, "Admin", "Read", "Write", "List", "Tagging"),
                        _identity(*READER, "Read", "List"),
                    ]
                }
            )
        )

    def start(self) -> None:
        """It answers when this returns."""
        weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or "weed"
        options = [f"-{name}.port={port}" for name, (port, _) in self._ports.items()]
        options += [f"-{name}.port.grpc={port}" for name, (_, port) in self._ports.items()]
        options += [
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.autoCreateBucket=false",
            f"-s3.config={self._directory}/s3.json",
        ]
        options += ["-webdav=false", "-admin.ui=false", "-master.telemetry=false", "-ip=127.0.0.1"]
        options += [f"-dir={self._directory}/data", "-ip.bind=127.0.0.1", "-master.volumeSizeLimitMB=64"]
        with open(self._directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                [weed, "-logtostderr", "mini", *options], cwd=self._directory, stdout=log, stderr=log
            )
        until = time.monotonic() + 60
        while True:
            try:
                self.client().list_buckets()
                return
            except Exception:
                said = (self._directory / "log").read_text(errors="replace")[-3000:]
                assert self._process.poll() is None and time.monotonic() < until, said
                time.sleep(0.1)

    def kill(self) -> None:
        """As a power cut: no time to write anything. Safe to repeat."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self, keys: tuple[str, str] = KEYS) -> Any:
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=keys[0],
            aws_secret_access_key=keys[1],
            config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}),
        )


def _identity(access: str, secret: str, *actions: str) -> dict[str, Any]:
    return {"name": access, "credentials": [{"accessKey": access, "secretKey": secret}], "actions": actions}


def _free_ports(count: int) -> list[int]:
    """All different: each listens until all are found."""
    with ExitStack() as held:
        listeners = [held.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]
