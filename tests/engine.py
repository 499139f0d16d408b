"""A real Docker Engine for tests: the machine's own, or as root one that lives as long as the tests."""

import atexit
import functools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blocks.host.docker import Engine, default_socket
from blocks.sandboxes import image
from domain.errors import TargetError

_MISSING = "no Docker Engine answers, and none can be started: apt-get install docker.io (scripts/ci-docker)"


@functools.cache
def engine_socket() -> str:
    """The socket of an engine that has the base image. Without any: skips, but fails under CI."""
    path = default_socket()
    if not _answers(path):
        if os.geteuid() != 0 or not shutil.which("dockerd"):
            if os.environ.get("CI"):
                pytest.fail(_MISSING)
            pytest.skip(_MISSING)
        started = own_engine()
        path = str(started.__enter__())
        atexit.register(started.__exit__, None, None, None)
    image.build(Engine.at(path), lambda line: None)
    return path


@contextmanager
def own_engine() -> Iterator[Path]:
    """The socket of an engine of our own, beside any other, without a network. Needs root."""
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    path = folder / "docker.sock"
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen(
            [
                # in a network namespace of its own: with --bridge=none it would remove the bridge of another engine
                *(
                    "unshare",
                    "--net",
                    "dockerd",
                    "--host",
                    f"unix://{path}",
                    "--data-root",
                    folder / "data",
                    "--exec-root",
                    folder / "run",
                ),
                *("--pidfile", folder / "pid", "--bridge=none", "--iptables=false", "--ip-forward=false"),
                *("--userland-proxy=false", "--log-level=warn"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 60
        while not _answers(str(path)):
            assert daemon.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-3000:]
            time.sleep(0.1)
        yield path
    finally:
        daemon.terminate()
        try:
            daemon.wait(60)
        finally:
            daemon.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(path: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            probe.connect(path)
        Engine(path)
    except (OSError, TargetError):
        return False
    return True
