"""What an installation is made from, beside the wheel: units of systemd, compose.yaml, the dashboard."""

import json
import re
import subprocess
import sys
from pathlib import Path

import botocore.session
import pytest
import typer.main
import yaml  # type: ignore[import-untyped]
from botocore.validate import ParamValidator
from jsonschema_rs import validator_for

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
    ours = {name: one for name, one in told["services"].items() if one["image"].startswith("lockgate:")}
    assert {one["hostname"] for one in ours.values()} == {"server", "one", "two"} == set(ours)
    for one in ours.values():
        calls_what_exists(" ".join(one["command"]))
        assert {of["hostname"] for of in ours.values() if set(of["volumes"]) & set(one["volumes"]) - SHARED} == {
            one["hostname"]
        }, "no two have a home in common"
        assert set(one["volumes"]) >= SHARED and set(one["secrets"]) <= set(told["secrets"])


KUBERNETES = Path(__file__).with_name("kubernetes-1.33.json")
"""What the objects of deploy/kubernetes.yaml can hold, without descriptions: from Kubernetes 1.33's own
api/openapi-spec/swagger.json, with no unknown fields, as the package kubernetes-validate 1.37 has it."""
OBJECTS = {
    "Service": "io.k8s.api.core.v1.Service",
    "NetworkPolicy": "io.k8s.api.networking.v1.NetworkPolicy",
    "PersistentVolumeClaim": "io.k8s.api.core.v1.PersistentVolumeClaim",
    "StatefulSet": "io.k8s.api.apps.v1.StatefulSet",
}


def wrong_in(text: str) -> list[str]:
    """What Kubernetes would not take."""
    schema = json.loads(KUBERNETES.read_text())
    return [
        f"{one['kind']}: {error.message}"
        for one in yaml.safe_load_all(text)
        for error in validator_for({**schema, "$ref": f"#/$defs/{OBJECTS[one['kind']]}"}).iter_errors(one)
    ]


def test_kubernetes_takes_the_pods_as_they_are() -> None:
    text = (DEPLOY / "kubernetes.yaml").read_text()
    assert wrong_in(text) == []
    for right, wrong in (("readinessProbe:", "readyProbe:"), ("replicas: 2", "replicas: two"), ("[ALL]", "ALL")):
        assert wrong_in(text.replace(right, wrong)), "it sees what is wrong"
    pods = [one["spec"] for one in yaml.safe_load_all(text) if one["kind"] == "StatefulSet"]
    for told in pods:
        labels = told["template"]["metadata"]["labels"]
        assert labels == told["selector"]["matchLabels"] and labels["app"] == "lockgate"
        pod = told["template"]["spec"]
        given = {one["name"] for one in (*pod["volumes"], *(of["metadata"] for of in told["volumeClaimTemplates"]))}
        (container,) = pod["containers"]
        assert {one["name"] for one in container["volumeMounts"]} == given
        assert not pod["automountServiceAccountToken"] and "secret" not in json.dumps(container.get("env"))
        calls_what_exists(" ".join(container["args"]))


def test_ecs_takes_the_worker_as_it_is() -> None:
    told = json.loads((DEPLOY / "ecs-worker.json").read_text())
    model = botocore.session.get_session().get_service_model("ecs")
    shape = model.operation_model("RegisterTaskDefinition").input_shape
    assert not ParamValidator().validate(told, shape).has_errors()
    (container,) = told["containerDefinitions"]
    wrong = {**told, "containerDefinitions": [{**container, "stopAfter": 60}]}
    assert "stopAfter" in ParamValidator().validate(wrong, shape).generate_report(), "it sees what is wrong"
    assert {one["sourceVolume"] for one in container["mountPoints"]} == {one["name"] for one in told["volumes"]}
    calls_what_exists(" ".join(container["command"]))


def calls_what_exists(text: str) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    called = re.findall(r"lockgate ([a-z]+)([^&]*)", text)
    assert called
    for command, words in called:
        flags = {option for parameter in commands[command].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", words)) <= flags


def test_the_image_sees_nothing_but_the_wheel() -> None:
    ignored = [line for line in (DEPLOY.parent / ".dockerignore").read_text().splitlines() if line[:1] != "#"]
    assert ignored == ["*", "!dist/lockgate-*.whl"]


def test_in_a_checkout_the_command_is_the_checkout_s_own() -> None:
    assert Path(str(lockgate.__file__)) == DEPLOY.parent / "lockgate.py", "and not the wheel's launcher"
