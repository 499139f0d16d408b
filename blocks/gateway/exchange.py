"""What the gateway knows of one request and its answer: one value, which all addons read and add to."""

from dataclasses import dataclass, field
from typing import NamedTuple

from mitmproxy.http import HTTPFlow

from blocks.gateway.audit import Note
from blocks.gateway.models.call import Call
from blocks.gateway.placeholders import HeldSecret
from domain.egress import Passport
from domain.models import Api

_KEY = "lockgate"


class Sent(NamedTuple):
    """A request that went to a provider of models; `call` is None if it costs nothing."""

    provider: str
    api: Api
    call: Call | None


@dataclass(slots=True)
class Exchange:
    """One request on its way out, and its answer on its way back."""

    passport: Passport | None = None
    """Of the sandbox that asks."""
    token: str = ""
    """What the sandbox has to show in place of a model's key."""
    host: str = ""
    """Where the request goes, in the one spelling; empty: that is not known yet."""
    is_for_model: bool = False
    """Whether it goes to a provider of models."""
    reason: str | None = None
    """Why it may leave; None: nobody said yet that it may."""
    used: tuple[str, ...] = ()
    """Names of the secrets that were put in."""
    fields: tuple[HeldSecret, ...] = ()
    """Secrets that may be put into a field of its body."""
    note: Note | None = None
    """The newest line in the audit."""
    is_refused: bool = False
    """Whether the gateway answers in the server's place."""
    redact: list[bytes] = field(default_factory=list)
    """Secrets that were put in beside those of the sandbox: the answer is looked through for them too."""
    api: Api | None = None
    """What the provider speaks."""
    upstream: tuple[str, int] | None = None
    """Host and port of the provider, if the call may be made."""
    sent: Sent | None = None
    """Until what it cost is on record."""


def exchange_of(flow: HTTPFlow) -> Exchange:
    """The exchange of a flow, which is made when it is first asked for."""
    known: Exchange = flow.metadata.setdefault(_KEY, Exchange())
    return known
