"""The block that steps ask for a way out."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from pydantic import Field

from blocks.base import LockgateBlock
from blocks.home import home
from blocks.host.gateway_line import GatewayLine, Kept, a_directory
from domain.egress import Passport
from domain.errors import GatewayError
from domain.ports import Egress


class EgressGateway(LockgateBlock):
    """The egress gateway of this machine, which holds every secret. Nothing here ever sees one."""

    _block_type_name: ClassVar[str] = "Lockgate egress gateway"
    _block_type_slug: ClassVar[str] = "lockgate-gateway"
    _description: ClassVar[str] = "The only way out of sandboxes: allowlists, secrets, model calls, audit."

    root: Path = Field(
        default_factory=lambda: home() / "gateway", description="Where the gateway's process has its sockets"
    )
    timeout_s: float = Field(30.0, gt=0, description="How long the gateway may take to let a sandbox in")

    @contextlib.contextmanager
    def admit(self, passport: Passport) -> Iterator[Egress | None]:
        """A listener of its own while the context is open; None if the passport allows nothing.

        A gateway that dies meanwhile lets nothing out; one that comes back serves the same listener again.
        Raises GatewayError if the gateway does not answer, InputError for a secret or provider that nobody set up.
        """
        if passport.is_idle:
            yield None
            return
        with a_directory(self.root) as directory:
            kept = Kept(self.root, directory.name, passport.model_dump(mode="json"), self.timeout_s)
            try:
                yield Egress(directory, MappingProxyType(kept.environment), kept.token)
            finally:
                kept.close()

    def doctor(self) -> str | None:
        """None if the gateway answers, else what is missing and the fix."""
        try:
            with contextlib.closing(GatewayLine(self.root, 2.0)) as line:
                line.ask({"do": "ping"})
        except GatewayError as err:
            return str(err)
        return None
