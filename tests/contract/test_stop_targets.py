"""`make down` ends releases of every kind on this machine, and needs no server for it."""

from pathlib import Path

import pytest

from blocks.targets.swarm.releases import SwarmDeployment, SwarmReleases
from blocks.targets.swarm.target import SwarmTarget
from station.api import NoAnswer
from station.targets import saved_targets, stop_targets
from tests.contract.command_platform import Playground
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
        assert stop_targets({}) == [f"releases of {target.name}"]
        assert target.current() is None
        assert not target.evidence(ONE).get("is_running")
        assert stop_targets({}) == []
        target.ensure()
        assert target.current() == ONE


def test_what_a_platform_runs_goes_on_and_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    playground = Playground(tmp_path)
    try:
        target = playground.target(tmp_path / "home" / "targets")
        assert release(target, ONE, None, tiny_build()).problem is None
        (said,) = stop_targets({target.name: target})
        assert said == f"not the releases of {target.name}: a platform runs them (`lockgate down --everywhere`)"
        assert target.current() == ONE
        assert stop_targets({target.name: target}, everywhere=True) == [f"releases of {target.name}"]
        assert target.current() is None
    finally:
        playground.close()


def test_without_its_block_no_target_is_taken_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    place = SwarmReleases(tmp_path / "home" / "targets" / "shop" / "releases").place(ONE)
    build = {"run": "x", "health": {"path": "/"}, "toolchain": "/x", "environment": {}, "migrate_up": None}
    place.save(
        SwarmDeployment.model_validate(
            {"revision": ONE, "artifact": "sha256:1", "previous": None, "service": "s", "image": "sha256:1", **build}
        )
    )
    (said,) = stop_targets({})
    assert said.startswith("not the releases of shop: only the station knows") and "remove" not in said


def test_the_saved_blocks_say_what_kind_each_target_is(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = {
        "lockgate-workshop/default": {
            "targets": {
                "shop": "swarm-target/prod",
                "gone": "process-target/gone",
                "odd": "process-target/odd",
                "no": "x/y",
            }
        },
        "lockgate-process-target/odd": {"name": "odd", "port": "none"},
        "lockgate-swarm-target/prod": {"name": "shop", "port": 80, "secrets": {"TOKEN": "x"}},
    }
    monkeypatch.setattr("station.api.blocks", lambda: blocks)
    assert {name: type(target) for name, target in saved_targets().items()} == {"shop": SwarmTarget}

    def silent() -> None:
        raise NoAnswer("nobody there")

    monkeypatch.setattr("station.api.blocks", silent)
    assert saved_targets() == {}
