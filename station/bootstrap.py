"""Brings a new server to where a brief can be submitted: work pool, block types, first blocks, deployments."""

import contextlib
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists

from blocks.base import LockgateBlock
from blocks.home import home
from blocks.workshop import KINDS, Workshop
from station import settings


def bootstrap() -> None:
    """Safe to repeat; existing blocks are left as they are."""
    with get_client(sync_client=True) as client, contextlib.suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=settings.POOL, type="process"))
    _register_block_types()
    if not _exists(Workshop, "default"):
        shop = Workshop()
        for name in Workshop.model_fields:
            part = getattr(shop, name)
            if isinstance(part, LockgateBlock):
                part.keep("default")  # so that people find and change each part in the UI
        shop.keep("default")
    _deploy()


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
