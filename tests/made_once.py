"""A pytest plugin: a folder that all workers of a test run have in common, for what is dear and is made once."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from blocks.toolchains.wheels import WheelToolchains

FOLDER = "LOCKGATE_TESTS_FOLDER"
"""Names the folder. Who sets it before the tests start keeps it for the next run."""
_mine: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """The process that leads the workers makes the folder; they inherit its name."""
    if FOLDER not in os.environ:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="lockgate-tests-", dir="/var/tmp")  # a container's /tmp is its own
        Path(os.environ[FOLDER]).chmod(0o755)  # those that sandboxes and releases run as pass it
        _mine.append(os.environ[FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    for folder in _mine:
        shutil.rmtree(folder, ignore_errors=True)


def toolchains() -> WheelToolchains:
    """Environments that any test may read and none may change: the first that wants one makes it, the others wait."""
    return WheelToolchains(root=Path(os.environ[FOLDER]) / "toolchains")
