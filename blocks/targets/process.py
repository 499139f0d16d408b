"""The embedded target: releases as confined processes of this machine, behind one Caddy. Needs no engine, no root."""

from blocks.home import home
from blocks.targets import confinement
from blocks.targets.proxied import ProxiedTarget
from blocks.targets.service import ProcessService


class ProcessTarget(ProxiedTarget):
    """One environment of confined processes."""

    _block_type_name = "Lockgate process target"
    _block_type_slug = "lockgate-process-target"
    _description = "Runs releases as confined processes of this machine behind a Caddy that drops no request."

    def _missing(self) -> str | None:
        return confinement.problem()

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
        )
