"""Tells a person, by a notification block. A channel that is down hides nothing: what it was to say is on record
already. One that hangs is left to itself after `SEND_S`: nothing waits for it longer."""

import asyncio
import contextvars
import inspect
import logging
import re
import threading
from typing import Any, cast

from prefect import get_run_logger
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.exceptions import MissingContextError

from blocks import kept
from domain.notices import Message

_ADDRESS = re.compile(r"[\w+.-]+://[^\s'\"]+")
SEND_S = 20.0
"""So long a channel has to take a message."""


def page(pager: str | None, subject: str, body: str) -> bool:
    """Call the notification block `pager`, as type/name; None: there is none. Whether it was sent. Never raises.

    Where blocks come from the copy, no server is asked.
    """
    if pager is None:
        return False
    if problem := send(pager, Message(key="", subject=subject, body=body)):
        log().error("the pager %s could not be called: %s", pager, problem)
    return problem is None


def send(channel: str, message: Message) -> str | None:
    """Why a channel has not taken a message; None if it has. Never raises."""
    found: list[str | None] = []
    here = contextvars.copy_context()

    def act() -> None:
        try:
            here.run(_tell, channel, message)
        except Exception as err:
            found.append(_why(err))
        else:
            found.append(None)

    sending = threading.Thread(target=act, name=f"tell {channel}", daemon=True)
    sending.start()
    sending.join(SEND_S)
    return found[0] if found else f"no answer in {SEND_S:.0f} s"


def resolves(channel: str) -> bool:
    """Whether a channel wants to hear when an incident ends. Never raises."""
    try:
        return bool(getattr(Block.get_block_class_from_key(channel.partition("/")[0]), "resolves", False))
    except Exception:
        return False


def _tell(channel: str, message: Message) -> None:
    block: Any = _kept(channel) if kept.is_used() else Block.load(channel)
    if hasattr(block, "tell"):
        block.tell(message)
        return
    for server in getattr(block, "_apprise_client", None) or ():
        server.redirects = False  # else who answers a redirected message by 200 counts as having taken it
    with block.raise_on_failure():  # else some kinds fail in silence
        sent = block.notify(body=_harmless(message.body), subject=_harmless(message.subject))
        if inspect.iscoroutine(sent):
            asyncio.run(sent)


def _harmless(text: str) -> str:
    """Without what a chat takes for a link or for somebody to call: agents write some of it."""
    return text.replace("<", "‹").replace("@", "＠")


def _why(err: Exception) -> str:
    """Its first line without addresses: who knows that of a webhook may call it."""
    line = (str(err).splitlines() or [""])[0]
    return _ADDRESS.sub("(its address)", line)[:300] or type(err).__name__


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
