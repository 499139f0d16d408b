"""What every step has in common: its name in the graph, where its result is kept, and when it is tried again."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import pydantic_core
from prefect import Task, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext

from domain.errors import AgentError, Fenced, Held, Inconclusive, InputError, Superseded, Unapproved, Withdrawn
from domain.value import digest_of

P = ParamSpec("P")
R = TypeVar("R")


def step(name: str, run_name: str, *, retries: int = 3) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A pipeline step called `name` in the UI.

    The result is persisted as JSON under step + inputs + run: Prefect's own INPUTS + RUN_ID leaves the task's identity
    out, so two steps with equal inputs would share one result, and DEFAULT changes with every edit of the source.
    """
    return task(
        name=name,
        task_run_name=run_name,
        persist_result=True,
        result_serializer="json",
        cache_key_fn=_key,
        retries=retries,
        retry_delay_seconds=[1.0, 5.0, 15.0][:retries] if retries else None,
        retry_condition_fn=_is_platform_trouble,
        log_prints=False,
    )


def _key(context: TaskRunContext, inputs: dict[str, Any]) -> str:
    run = context.task_run.flow_run_id
    return f"lockgate-{run}-{context.task.name}-{digest_of(pydantic_core.to_jsonable_python(inputs))[:32]}"


def _is_platform_trouble(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """A wrong input or a broken agent stays wrong; a network, a daemon or a disk may be well again."""
    try:
        state.result()
    except (InputError, AgentError, Fenced, Held, Inconclusive, Superseded, Unapproved, Withdrawn):
        return False
    except Exception:
        return True
    return False
