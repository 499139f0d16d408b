"""Pages a person. A pager that is down hides nothing: what it was to say is on record already."""

import asyncio
import inspect
import logging
from typing import cast

from prefect import get_run_logger
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.exceptions import MissingContextError


def page(pager: str | None, subject: str, body: str) -> None:
    """Call the notification block `pager`, as type/name; None: there is none. Never raises."""
    if pager is None:
        return
    try:
        sent = cast(NotificationBlock, Block.load(pager)).notify(body=body, subject=subject)
        if inspect.iscoroutine(sent):
            asyncio.run(sent)
    except Exception as err:
        log().error("the pager %s could not be called: %s", pager, err)


def log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    """The run's; the supervisor's outside of runs."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("lockgate")
