"""Starts runs through the Prefect API, as the UI and curl do."""

import time
import uuid
from typing import Any

from domain.brief import Brief
from domain.errors import InputError, reason_of
from station import api, settings
from station.scopes import spent_this_week

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")


def submit(brief: Brief, key: str | None = None) -> str:
    """Create a run of `agent-task`; its id. With a key, a second call gives the first run.

    Raises InputError, and nothing is run, where the brief names an agent, model or environment that is not there.
    """
    if wrong := _unusable(brief):
        raise InputError("; ".join(wrong))
    return _run("agent-task/agent-task", {"brief": brief.model_dump(mode="json")}, key, brief.title)


def roll_back(environment: str, revision: str | None, reason: str, by: str) -> str:
    """Create a run of `rollback`; its id."""
    parameters = {"environment": environment, "revision": revision, "reason": reason, "by": by}
    return _run("rollback/rollback", parameters, None, f"roll back {environment}")


def downgrade(environment: str, accept: list[str], reason: str, by: str) -> str:
    """Create a run of `downgrade`; its id."""
    parameters = {"environment": environment, "accept": accept, "reason": reason, "by": by}
    return _run("downgrade/downgrade", parameters, None, f"downgrade {environment}")


def wait(run_id: str) -> dict[str, Any]:
    """The final state of a run."""
    while True:
        state = api.run(run_id)["state"]
        if state and state["type"] in FINAL:
            return dict(state)
        time.sleep(0.5)


def run_url(run_id: str) -> str:
    """The run in the UI."""
    return f"{settings.url()}/runs/flow-run/{run_id}"


def _unusable(brief: Brief) -> tuple[str, ...]:
    if settings.is_signed_in():  # blocks are not for every token: the run itself refuses a name that is not there
        return ()
    import httpx

    from blocks.catalogue import unusable  # late: it imports Prefect and every block, which takes seconds

    pauses_s = [1, 3]  # a server that is busy may be late
    while True:
        try:
            return unusable(brief, lambda agent: spent_this_week(brief.workshop).get(agent, 0.0))
        except (httpx.HTTPError, RuntimeError) as err:
            if not pauses_s or isinstance(err, httpx.ConnectError):
                raise api.NoAnswer(
                    f"the server at {settings.url()} does not answer: is `lockgate up` running? ({reason_of(err)})"
                ) from err
            time.sleep(pauses_s.pop(0))


def _run(deployment: str, parameters: dict[str, Any], key: str | None, name: str) -> str:
    found = api.get(f"/deployments/name/{deployment}")
    if found is None:
        raise InputError(f"the server at {settings.url()} has no deployment {deployment}: run `lockgate up`")
    asked = {
        "name": name,  # until it begins, and has that of its flow
        "parameters": parameters,
        "idempotency_key": key or str(uuid.uuid4()),  # so that asking again makes no second run
        "state": {"type": "SCHEDULED"},
    }
    try:
        return str(api.post(f"/deployments/{found['id']}/create_flow_run", asked)["id"])
    except api.Refused as err:
        raise InputError(f"the server refused it: {err}") from err
