"""Pages a person. A pager that is down hides nothing: what it was to say is on record already."""

import asyncio
import inspect
import logging
import re
from typing import cast

from prefect import get_run_logger
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.exceptions import MissingContextError

from blocks import kept

_ADDRESS = re.compile(r"[\w+.-]+://[^\s'\"]+")


def page(pager: str | None, subject: str, body: str) -> bool:
    """Call the notification block `pager`, as type/name; None: there is none. Whether it was sent. Never raises.

    Where blocks come from the copy, no server is asked.
    """
    if pager is None:
        return False
    try:
        block = _kept(pager) if kept.is_used() else cast(NotificationBlock, Block.load(pager))
        with block.raise_on_failure():  # else some kinds fail in silence
            sent = block.notify(body=body, subject=subject)
            if inspect.iscoroutine(sent):
                asyncio.run(sent)
    except Exception as err:
        log().error("the pager %s could not be called: %s", pager, _why(err))
        return False
    return True


def _why(err: Exception) -> str:
    """Its first line without addresses: who knows that of a webhook may call it."""
    line = (str(err).splitlines() or [""])[0]
    return _ADDRESS.sub("(its address)", line) or type(err).__name__


def _kept(pager: str) -> NotificationBlock:
    slug, _, name = pager.partition("/")
    kind = Block.get_block_class_from_key(slug)
    return cast(NotificationBlock, kind.model_validate(kept.fields(slug, name)))


def log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    """The run's; the supervisor's outside of runs."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("lockgate")
