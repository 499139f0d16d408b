"""Starts runs through the Prefect API, as the UI and curl do."""

import time
from typing import Any, cast
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from blocks.catalogue import unusable
from domain.brief import Brief
from domain.errors import InputError, LockgateError
from station import settings


def submit(brief: Brief, key: str | None = None) -> str:
    """Create a run of `agent-task`; its id. With a key, a second call gives the first run.

    Raises InputError, and nothing is run, where the brief names an agent, model or environment that is not there.
    """
    try:
        wrong = unusable(brief)
    except (httpx.HTTPError, RuntimeError) as err:
        raise LockgateError(f"the server at {settings.url()} does not answer: is `make up` running? ({err})") from err
    if wrong:
        raise InputError("; ".join(wrong))
    return _run("agent-task/agent-task", {"brief": brief.model_dump(mode="json")}, key)


def roll_back(environment: str, revision: str | None, reason: str) -> State:
    """Run the `rollback` deployment and wait for its final state."""
    parameters = {"environment": environment, "revision": revision, "reason": reason}
    run_id = _run("rollback/rollback", parameters, None)
    return wait(run_id)


def downgrade(environment: str, accept: list[str], reason: str) -> State:
    """Run the `downgrade` deployment and wait for its final state."""
    parameters = {"environment": environment, "accept": accept, "reason": reason}
    return wait(_run("downgrade/downgrade", parameters, None))


def wait(run_id: str) -> State:
    """The final state of a run."""

    with get_client(sync_client=True) as client:
        while True:
            state = client.read_flow_run(UUID(run_id)).state
            if state and state.is_final():
                return state
            time.sleep(0.5)


def run_url(run_id: str) -> str:
    """The run in the UI."""
    return f"{settings.url()}/runs/flow-run/{run_id}"


def _run(deployment: str, parameters: dict[str, Any], key: str | None) -> str:
    try:
        run = cast(
            FlowRun,
            run_deployment(deployment, parameters=parameters, idempotency_key=key, timeout=0, as_subflow=False),
        )
    except ObjectNotFound as err:
        raise InputError(f"the server at {settings.url()} has no deployment {deployment}: run `make up`") from err
    except PrefectHTTPStatusError as err:
        raise InputError(f"the server refused it: {err.response.text[:500]}") from err
    except (httpx.HTTPError, RuntimeError) as err:
        raise LockgateError(f"the server at {settings.url()} does not answer: is `make up` running? ({err})") from err
    return str(run.id)
