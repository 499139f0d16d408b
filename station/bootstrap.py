"""Brings a new server to where a brief can be submitted: work pool, block types, first blocks, deployments."""

import contextlib
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.client.schemas.schedules import CronSchedule
from prefect.context import SyncClientContext
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists
from prefect.variables import Variable

from blocks.base import LockgateBlock, registered_once
from blocks.home import home
from blocks.workshop import KINDS, Workshop
from station import api, registered, settings

COMMAND = "lockgate-flow-run"
"""What a worker starts for a flow run."""


def bootstrap(wanted: "tuple[WantedDeployment, ...]", code: str) -> None:
    """Block types, first blocks, and the deployments that are wanted. Safe to repeat; blocks that are there stay so.

    `code`: the digest of what is registered, read before it was imported.
    """
    register(wanted, code)
    with SyncClientContext.get_or_create(), registered_once():
        if not _exists(Workshop, "default"):
            _keep_first_blocks()


def register(wanted: "tuple[WantedDeployment, ...]", code: str) -> None:
    """Block types, and the deployments that are wanted: what is the same in every home. Safe to repeat."""
    with SyncClientContext.get_or_create():  # else each of some hundred requests has its own client
        if not (registered.is_noted(code) and _are_known()):
            _register_block_types()
        for one in wanted:
            one.deployment.apply(schedules=one.schedules)
        Variable.set(registered.CODE, registered.code(), overwrite=True)  # so that a machine of another one can tell
    registered.note(code)


def _keep_first_blocks() -> None:
    shop = Workshop()
    for name in Workshop.model_fields:
        part = getattr(shop, name)
        if isinstance(part, LockgateBlock):
            part.keep("default")  # so that people find and change each part in the UI
    shop.keep("default")


def job_template() -> dict[str, Any]:
    """The work pool's: how a flow run is started here, and that nobody who creates one may say how.

    Command, working directory and environment are no variables, and no others exist: the server refuses a flow run or a
    deployment with job variables, and the worker would not look at them. The command is a program that each machine
    finds in its own home (`write_command`).
    """
    fixed = {"command": COMMAND, "working_dir": "/", "stream_output": True}
    nothing = {"type": "object", "properties": {}, "additionalProperties": False}
    return {"job_configuration": fixed, "variables": nothing}


def write_command(folder: Path) -> None:
    """The work pool's command as a program in `folder`, which is on the worker's PATH: it knows where code and home of
    this machine are."""
    client = settings.PROJECT / "station" / "warm" / "client.py"
    words = [sys.executable, "-I", "-S", str(client), str(home() / "run")]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = folder / f".{COMMAND}.{os.getpid()}"
    draft.write_text(f"#!/bin/sh\ncd {shlex.quote(str(settings.PROJECT))} && exec {shlex.join(words)}\n")
    draft.chmod(0o700)
    draft.replace(folder / COMMAND)


def make_work_pool() -> None:
    """With our job template, before a worker would make one that has Prefect's own."""
    with get_client(sync_client=True) as client:
        with contextlib.suppress(ObjectAlreadyExists):
            client.create_work_pool(
                WorkPoolCreate(name=settings.POOL, type="process", base_job_template=job_template())
            )
            return
        client.update_work_pool(settings.POOL, WorkPoolUpdate(base_job_template=job_template()))


def make_queues(names: Iterable[str]) -> None:
    """The work queues that a worker asks for, before it does. Safe to repeat."""
    place = f"/work_pools/{settings.POOL}/queues"
    known = {one["name"] for one in api.post(f"{place}/filter", {"limit": api.PAGE})}
    for name in names:
        if name not in known:
            with contextlib.suppress(api.Refused):  # another machine has made it meanwhile
                api.post(f"{place}/", {"name": name})


def _register_block_types() -> None:
    with registered_once(anew=True):
        for block in _block_types():
            block.register_type_and_schema()


def _are_known() -> bool:
    """Whether the server has them all: a person may have deleted one."""
    wanted = [block.get_block_type_slug() for block in _block_types()]
    found = api.post("/block_types/filter", {"block_types": {"slug": {"any_": wanted}}, "limit": api.PAGE})
    return {one["slug"] for one in found} == set(wanted)


def _block_types() -> list[type[LockgateBlock]]:
    return [Workshop, *KINDS.values()]


def _exists(block: type[LockgateBlock], name: str) -> bool:
    try:
        block.saved(name)
    except ValueError:
        return False
    return True


class Pull(NamedTuple):
    """prefect.yaml's pull steps in the shape that a deployment wants to be given them; nothing is fetched."""

    steps: list[dict[str, Any]]
    pull_interval: int | None = None
    destination: Path = settings.PROJECT

    def set_base_path(self, path: Path) -> None:
        """The code lies where it is."""

    async def pull_code(self) -> None:
        """The code is there."""

    def to_pull_step(self) -> list[dict[str, Any]]:
        """What a worker does before a run."""
        return self.steps


class WantedDeployment(NamedTuple):
    """A deployment and its schedules."""

    deployment: RunnerDeployment
    schedules: list[dict[str, Any]]


def deployments(code: str) -> tuple[WantedDeployment, ...]:
    """prefect.yaml's; none if the code with that digest has registered them here. Imports every flow, asks nobody.

    Bootstrap registers them as `prefect deploy --all` does, which would import for seconds, in a process of its own,
    what is imported here.
    """
    if registered.is_noted(code):
        return ()
    told = yaml.safe_load((settings.PROJECT / "prefect.yaml").read_text())
    return tuple(_wanted(deployment, told["pull"]) for deployment in told["deployments"])


def _wanted(told: dict[str, Any], pull: list[dict[str, Any]]) -> WantedDeployment:
    """One deployment of prefect.yaml. A field that is not known here is a TypeError."""
    known = dict(told)
    pool = known.pop("work_pool")
    schedules = [
        {"slug": one["slug"], "schedule": CronSchedule(cron=one["cron"])} for one in known.pop("schedules", ())
    ]
    limit = known.pop("concurrency_limit", None)
    deployment = RunnerDeployment.from_entrypoint(
        work_pool_name=pool["name"],
        work_queue_name=pool.get("work_queue_name"),
        version=registered.code(),
        concurrency_limit=ConcurrencyLimitConfig(**limit) if isinstance(limit, dict) else limit,
        **known,
    )
    deployment.storage = Pull(
        [
            {
                step: {
                    name: value.replace("{{ $LOCKGATE_PROJECT }}", str(settings.PROJECT))
                    for name, value in fields.items()
                }
            }
            for one in pull
            for step, fields in one.items()
        ]
    )
    return WantedDeployment(deployment, schedules)
