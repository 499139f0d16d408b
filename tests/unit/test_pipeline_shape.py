"""The pipeline keeps its shape: one flow on one page, eleven named steps, results never mistaken for others'."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml  # type: ignore[import-untyped]
from prefect import Flow, Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.exceptions import ParameterTypeError
from prefect.states import Completed, Failed

import tasks
from domain.errors import AgentError, ForgeError, InputError, LedgerError, SandboxError, TargetError
from flows.agent_task import agent_task
from flows.rollback import to_release
from tasks.step import _is_platform_trouble, _key
from tests.unit.policy_cases import evidence, prepared

PROJECT = Path(__file__).parents[2]
STEPS = (
    "prepare", "propose", "plan", "edit", "test", "security_scan", "rehearse", "review", "pull_request", "review_gate",
    "merge", "deploy", "health_check", "rollback",
)  # fmt: skip
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
AnyTask = Task[..., Any]


def steps() -> Iterator[AnyTask]:
    """Every Prefect task of the steps and flows, once."""
    modules = [module.name for module in pkgutil.walk_packages(tasks.__path__, "tasks.")]
    names = [name for name in modules if ".inside_" not in name]  # those run in sandboxes alone
    found = {id(to_release): to_release}
    for name in names:
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, Task):
                found[id(value)] = value
    yield from cast("list[AnyTask]", list(found.values()))


def flow_at(entrypoint: str) -> Flow[..., Any]:
    file, _, name = entrypoint.partition(":")
    flow = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
    assert isinstance(flow, Flow), entrypoint
    return flow


# --- the graph


def test_the_pipeline_fits_on_a_page() -> None:
    assert len((PROJECT / "flows" / "agent_task.py").read_text().splitlines()) <= 100


@pytest.mark.parametrize("name", STEPS)
def test_each_step_of_the_picture_is_a_task_of_that_name(name: str) -> None:
    assert name in {step.name for step in steps()}


def test_no_task_has_another_name() -> None:
    assert {step.name for step in steps()} == set(STEPS)


def test_each_step_has_a_file_of_its_name_and_nothing_else_stands_beside_them() -> None:
    assert {file.stem for file in (PROJECT / "tasks").glob("*.py")} == {*STEPS, "step", "__init__"}


def test_each_step_keeps_its_result_under_the_key_of_steps() -> None:
    for step in steps():
        assert step.cache_key_fn is _key, step.name
        assert step.persist_result is True, step.name
        assert step.result_serializer == "json", step.name
        assert step.retry_condition_fn is _is_platform_trouble, step.name


def test_each_run_name_is_made_of_the_steps_own_parameters() -> None:
    for step in steps():
        assert isinstance(step.task_run_name, str)
        known = {name: SimpleNamespace(number=1, revision="r", commit="c") for name in parameters(step)}
        for value in known.values():
            value.attempt = SimpleNamespace(number=1)
        loose = step.task_run_name.replace(":.8", "")
        assert loose.format(**known)


def parameters(step: AnyTask) -> tuple[str, ...]:
    return tuple(cast(Any, step.fn).__code__.co_varnames[: cast(Any, step.fn).__code__.co_argcount])


# --- results


def key(step: str, inputs: dict[str, Any], run: str = "run-1") -> str:
    context = SimpleNamespace(task_run=SimpleNamespace(flow_run_id=run), task=SimpleNamespace(name=step))
    return _key(cast(TaskRunContext, context), inputs)


def test_a_step_with_the_same_inputs_in_the_same_run_finds_its_result() -> None:
    assert key("plan", {"prepared": prepared(), "asked": 1}) == key("plan", {"asked": 1, "prepared": prepared()})


def test_another_step_another_run_or_another_input_has_a_result_of_its_own() -> None:
    inputs = {"prepared": prepared(), "attempt": evidence().attempt}
    keys = [
        key("test", inputs),
        key("security_scan", inputs),
        key("test", inputs, run="run-2"),
        key("test", {**inputs, "prepared": prepared(known_failures=("a",))}),
        key("test", {**inputs, "attempt": evidence().attempt.model_copy(update={"number": 2})}),
        key("test", {"prepared": inputs["prepared"]}),
        key("test", {**inputs, "feedback": ()}),
        key("test", {**inputs, "feedback": None}),
        key("test", {**inputs, "feedback": ("",)}),
    ]
    assert len(set(keys)) == len(keys)


def test_tasks_that_share_a_name_never_have_the_same_inputs() -> None:
    seen: dict[tuple[str, tuple[str, ...]], AnyTask] = {}
    for step in steps():
        other = seen.setdefault((step.name, tuple(sorted(parameters(step)))), step)
        assert other is step, f"{step.name}: {step.fn} and {other.fn} would share results"


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (InputError("wrong"), False),
        (AgentError("hung"), False),
        (SandboxError("disk full"), True),
        (ForgeError("down"), True),
        (TargetError("down"), True),
        (LedgerError("locked"), True),
        (OSError("no route"), True),
        (ValueError("a bug"), True),
    ],
)
def test_only_the_platforms_own_trouble_is_tried_again(error: Exception, again: bool) -> None:
    state: State[Any] = Failed(data=error)
    assert _is_platform_trouble(cast(AnyTask, None), cast(TaskRun, None), state) is again


def test_what_went_well_is_not_tried_again() -> None:
    assert not _is_platform_trouble(cast(AnyTask, None), cast(TaskRun, None), Completed(data=1))


# --- deployments


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_each_deployment_starts_a_flow(deployment: dict[str, Any]) -> None:
    flow = flow_at(deployment["entrypoint"])
    assert flow.name == deployment["name"]
    assert deployment["description"]
    anywhere = deployment["name"] == "agent-task"  # all else looks after the home of the station's own machine
    queue = {} if anywhere else {"work_queue_name": "station"}
    assert deployment["work_pool"] == {"name": "lockgate", **queue}


def test_each_flow_that_people_start_has_one_deployment() -> None:
    names = [deployment["name"] for deployment in DEPLOYMENTS]
    assert sorted(names) == sorted(set(names))
    assert {"agent-task", "rollback", "intake", "housekeeping"} <= set(names)


def test_each_schedule_has_a_slug_so_that_deploying_again_does_not_add_another() -> None:
    schedules = [schedule for deployment in DEPLOYMENTS for schedule in deployment.get("schedules", [])]
    slugs = [schedule.get("slug") for schedule in schedules]
    assert schedules
    assert all(slugs)
    assert len(set(slugs)) == len(slugs)


def test_what_a_person_starts_has_a_deployment_that_checks_its_parameters() -> None:
    for deployment in DEPLOYMENTS:
        if "schedules" not in deployment:
            assert deployment["enforce_parameter_schema"] is True, deployment["name"]


BRIEF = {
    "title": "Add a search",
    "goal": "Search finds things",
    "repository": "shop.git",
    "acceptance": {"command": "true"},
}


def test_a_brief_from_the_api_becomes_one() -> None:
    assert agent_task.validate_parameters({"brief": BRIEF})["brief"].title == "Add a search"


@pytest.mark.parametrize(
    "wrong",
    [
        {"acceptanse": {}},
        {"budget": {"usd": 5, "attempt": 1}},
        {"budget": {"attempts": 1000}},
        {"scope": {"path": ["a"]}},
        {"acceptance": {"files": [{"path": "/etc/passwd", "content": ""}]}},
        {"title": ""},
    ],
)
def test_a_brief_with_a_misspelt_or_impossible_field_starts_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterTypeError):
        agent_task.validate_parameters({"brief": {**BRIEF, **wrong}})


def test_the_form_in_the_ui_knows_no_other_fields_either() -> None:
    definitions = agent_task.parameters.model_dump()["definitions"]
    for name in ("Brief", "Acceptance", "AcceptanceFile", "Budget", "Scope", "ProjectSettings"):
        assert definitions[name]["additionalProperties"] is False, name
