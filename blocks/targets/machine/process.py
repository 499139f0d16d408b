"""The embedded target: releases as confined processes of this machine, behind one Caddy. Needs no engine, no root."""

import functools
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PrivateAttr

from blocks.home import home
from blocks.targets.machine import confinement
from blocks.targets.machine.network import Ways, addresses_of
from blocks.targets.machine.proxied import ProxiedTarget
from blocks.targets.machine.service import ProcessService
from domain.egress import EgressRule, Passport
from domain.errors import InputError, TargetError


class ProcessTarget(ProxiedTarget):
    """One environment of confined processes."""

    _block_type_name = "Lockgate process target"
    _block_type_slug = "lockgate-process-target"
    _description = "Runs releases as confined processes of this machine behind a Caddy that drops no request."

    network: Literal["own", "host"] = Field(
        "own", description="host: releases reach all that this machine reaches, its loopback too"
    )
    egress: tuple[EgressRule, ...] = Field((), description="What releases reach over HTTP, through the egress gateway")
    reach: tuple[str, ...] = Field(
        (),
        description="HOST:PORT that releases reach as they are, beside those in URLs of databases, queues and mail "
        "servers among `environment` and `secrets`",
    )

    _gateway: Path = PrivateAttr(default_factory=lambda: home() / "gateway")
    _workshop: str = PrivateAttr("default")

    def through(self, gateway: Path, workshop: str) -> Self:
        """This target, whose releases get out by the gateway in a directory, on record in a workshop's ledger."""
        twin = self.model_copy()
        twin._gateway, twin._workshop = gateway, workshop
        return twin

    def _missing(self) -> str | None:
        try:
            self._ways("")
        except TargetError as err:
            return str(err)
        return confinement.problem()

    def _ways(self, revision: str) -> Ways | None:
        if self.network == "host":
            return None
        passport = Passport(
            run_id=f"release-{self.name}-{revision[:12]}",
            phase="serve",
            environment=self.name,
            workshop=self._workshop,
            rules=self.egress,
        )
        try:
            addresses = addresses_of(self.reach, {**self.environment, **self._secrets})
        except InputError as err:
            raise TargetError(f"the target {self.name!r} cannot run a release: {err}") from err
        return Ways(addresses, passport, self._gateway)

    def _service(self, revision: str) -> ProcessService:
        return ProcessService(
            releases=self._releases,
            place=self._releases.place(revision),
            data=self.data,
            keep_out=home(),
            settings={**self.environment, **self._secrets},
            start_timeout_s=self.start_timeout_s,
            migrate_timeout_s=self.migrate_timeout_s,
            grace_s=self.stop_s,
            clean=self._redactor,
            may_reach=functools.partial(self._ways, revision),
        )
