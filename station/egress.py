"""`lockgate egress check`: what the gateway would say, asked of the same rules."""

from typing import cast, get_args

from blocks.workshop import workshop
from domain.egress import Passport, Phase
from domain.egress_rules import explain
from domain.errors import InputError
from domain.records import PREPARED
from domain.task import Prepared
from station.runs import ledger_of, read_run
from tasks.room.room import passport_of


def explained(host: str, path: str, method: str, phase: str, run_id: str | None) -> tuple[bool, str]:
    """Whether it would pass, and why. Without a run: what the default workshop allows every project."""
    phases = [one for one in get_args(Phase) if one != "serve"]  # a release's is its target's, whatever the run
    if phase not in phases:
        raise InputError(f"{phase!r} is not a phase: {', '.join(phases)}")
    wanted = cast(Phase, phase)
    if run_id is None:
        rules = workshop("default").registries if wanted in ("setup", "edit") else ()
        passport = Passport(run_id="", phase=wanted, rules=rules)
    else:
        run = read_run(run_id)
        entry = ledger_of(run).last(PREPARED.kind, run_id=str(run.id))
        if entry is None:
            raise InputError(f"run {run_id} was not prepared yet: its project's settings are not known")
        prepared = Prepared.model_validate(entry.body)
        passport = passport_of(workshop(prepared.brief.workshop), prepared, wanted)
    return explain(passport, method, host, path)
