"""What an installation is made from, beside the wheel: units of systemd, compose.yaml, the dashboard."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
import yaml  # type: ignore[import-untyped]

import lockgate
from station.cli import app

SHARED = {"store:/var/lib/lockgate-store"}
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def test_systemd_takes_the_units_as_they_are(tmp_path: Path) -> None:
    for unit in (DEPLOY / "systemd").iterdir():
        text = unit.read_text().replace("/usr/local/bin/lockgate", "/bin/true")  # it is not installed here
        (tmp_path / unit.name).write_text(text)
    names = sorted(str(path) for path in tmp_path.iterdir())
    assert len(names) == 3
    said = subprocess.run(["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
    (tmp_path / "lockgate.service").write_text("[Service]\nType=notify\nExecStart=/no/such/program\n")
    wrong = subprocess.run(["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True)
    assert "/no/such/program is not executable" in wrong.stderr, "it sees what is wrong"


@pytest.mark.parametrize("name", ["compose.yaml", "compose.machines.yaml"])
def test_compose_yaml_is_what_the_specification_of_compose_says(name: str, tmp_path: Path) -> None:
    check = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.compose-spec"]
    said = subprocess.run([*check, str(DEPLOY / name)], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    wrong = tmp_path / "compose.yaml"
    wrong.write_text((DEPLOY / name).read_text().replace("restart: unless-stopped", "restarts: always"))
    assert subprocess.run([*check, str(wrong)], capture_output=True).returncode == 1, "it sees what is wrong"


def test_units_and_image_call_commands_that_exist() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    texts = [path.read_text() for path in (DEPLOY / "systemd").iterdir()]
    texts.append(" ".join(re.findall(r"^(?:ENTRYPOINT|CMD) \[(.*)\]$", (DEPLOY / "Dockerfile").read_text(), re.M)))
    called = re.findall(r'lockgate"? "?([a-z]+)"?,?(?: "?(--[a-z]+)"?)?', "\n".join(texts))
    assert sorted(called) == [("backup", ""), ("up", "--foreground"), ("up", "--foreground")]
    for command, flag in called:
        assert {flag} - {""} <= {option for one in commands[command].params for option in one.opts}


def test_several_machines_are_told_apart_and_call_commands_that_exist() -> None:
    told = yaml.safe_load((DEPLOY / "compose.machines.yaml").read_text())
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    ours = {name: one for name, one in told["services"].items() if one["image"].startswith("lockgate:")}
    assert {one["hostname"] for one in ours.values()} == {"server", "one", "two"} == set(ours)
    for one in ours.values():
        for command, words in re.findall(r"lockgate ([a-z]+)([^&]*)", " ".join(one["command"])):
            flags = {option for parameter in commands[command].params for option in parameter.opts}
            assert set(re.findall(r"--[a-z-]+", words)) <= flags
        assert {of["hostname"] for of in ours.values() if set(of["volumes"]) & set(one["volumes"]) - SHARED} == {
            one["hostname"]
        }, "no two have a home in common"
        assert set(one["volumes"]) >= SHARED and set(one["secrets"]) <= set(told["secrets"])


def test_the_image_sees_nothing_but_the_wheel() -> None:
    ignored = [line for line in (DEPLOY.parent / ".dockerignore").read_text().splitlines() if line[:1] != "#"]
    assert ignored == ["*", "!dist/lockgate-*.whl"]


def test_in_a_checkout_the_command_is_the_checkout_s_own() -> None:
    assert Path(str(lockgate.__file__)) == DEPLOY.parent / "lockgate.py", "and not the wheel's launcher"
