"""Brings a new server to where a brief can be submitted: work pool, block types, first blocks, deployments."""

import contextlib
import hashlib
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists

from blocks.base import LockgateBlock
from blocks.home import home
from blocks.workshop import KINDS, Workshop
from station import settings


def bootstrap() -> None:
    """Safe to repeat; existing blocks are left as they are."""
    _make_work_pool()
    _register_block_types()
    if not _exists(Workshop, "default"):
        shop = Workshop()
        for name in Workshop.model_fields:
            part = getattr(shop, name)
            if isinstance(part, LockgateBlock):
                part.keep("default")  # so that people find and change each part in the UI
        shop.keep("default")
    _deploy()


def job_template() -> dict[str, Any]:
    """The work pool's: how a flow run is started here, and that nobody who creates one may say how.

    Command, working directory and environment are no variables, and no others exist: the server refuses a flow run or a
    deployment with job variables, and the worker would not look at them.
    """
    client = settings.PROJECT / "station" / "warm" / "client.py"
    command = [sys.executable, "-I", "-S", str(client), str(home() / "run")]
    fixed = {"command": shlex.join(command), "working_dir": str(settings.PROJECT), "stream_output": True}
    nothing = {"type": "object", "properties": {}, "additionalProperties": False}
    return {"job_configuration": fixed, "variables": nothing}


def _make_work_pool() -> None:
    with get_client(sync_client=True) as client:
        with contextlib.suppress(ObjectAlreadyExists):
            client.create_work_pool(
                WorkPoolCreate(name=settings.POOL, type="process", base_job_template=job_template())
            )
            return
        client.update_work_pool(settings.POOL, WorkPoolUpdate(base_job_template=job_template()))


def _register_block_types() -> None:
    kinds: list[type[LockgateBlock]] = [Workshop, *KINDS.values()]
    for block in kinds:
        block.register_type_and_schema()


def _exists(block: type[LockgateBlock], name: str) -> bool:
    try:
        block.saved(name)
    except ValueError:
        return False
    return True


def _deploy() -> None:
    """Register prefect.yaml's deployments, unless this very code already did on this server."""
    mark = home() / "prefect" / "deployed"
    digest = _digest()
    if mark.is_file() and mark.read_text() == digest:
        return
    prefect = str(Path(sys.executable).with_name("prefect"))
    env = {**os.environ, **settings.client_environment(), "LOCKGATE_PROJECT": str(settings.PROJECT)}
    done = subprocess.run(
        [prefect, "--no-prompt", "deploy", "--all"], cwd=settings.PROJECT, env=env, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"prefect deploy --all failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    mark.write_text(digest)


def _digest() -> str:
    """What the deployments depend on: their file, and the parameters of the flows."""
    whole = hashlib.sha256(str(settings.PROJECT).encode())
    for path in sorted([settings.PROJECT / "prefect.yaml", *settings.PROJECT.glob("flows/*.py"),
                        *settings.PROJECT.glob("domain/*.py")]):  # fmt: skip
        whole.update(path.read_bytes())
    return whole.hexdigest()
