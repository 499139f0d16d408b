"""`make down` ends releases of every kind on this machine, and needs no server for it."""

from pathlib import Path

import pytest

from station.targets import stop_targets
from tests.contract.docker_host import docker_target, engine_that_publishes, tiny_build
from tests.contract.shipping import release

ONE = "1" * 40


def test_containers_and_their_proxy_end_and_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    socket = engine_that_publishes()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    with docker_target(tmp_path / "home" / "targets", socket) as target:
        assert release(target, ONE, None, tiny_build()).problem is None
        assert target.current() == ONE
        assert stop_targets() == [f"releases of {target.name}"]
        assert target.current() is None
        assert not target.evidence(ONE).get("is_running")
        assert stop_targets() == []
        target.ensure()
        assert target.current() == ONE
