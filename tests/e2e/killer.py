"""Loaded by every flow run of a station of tests: SIGKILL at named points, once each.

`$LOCKGATE_HOME/kill/RUN/` holds an empty file for each point at which that run shall die, `point-before` or
`point-after`. Each kill renames its file to `point.done`, so that the resumed process passes that point.
"""

import os
import signal
from pathlib import Path

from blocks.agents.replay import Replay
from blocks.forges.github import GitHub
from blocks.forges.local import LocalForge
from blocks.ledger.ledger import Ledger
from blocks.targets.machine.process import ProcessTarget

POINTS = Path(os.environ["LOCKGATE_HOME"], "kill", os.environ["PREFECT__FLOW_RUN_ID"])


def _die_once(point):
    if (POINTS / point).exists():
        (POINTS / point).rename(POINTS / f"{point}.done")
        os.kill(os.getpid(), signal.SIGKILL)


def _wrap(owner, name, point, when=lambda *args: True):
    real = getattr(owner, name)

    def wrapped(self, *args, **kwargs):
        counts = when(*args)
        if counts:
            _die_once(f"{point}-before")
        result = real(self, *args, **kwargs)
        if counts:
            _die_once(f"{point}-after")
        return result

    setattr(owner, name, wrapped)


_wrap(Replay, "edit", "edit")
_wrap(LocalForge, "merge", "merge")
_wrap(LocalForge, "revert", "revert")
_wrap(LocalForge, "publish", "publish")
_wrap(LocalForge, "join", "join")
for verb in ("propose", "comment", "announce"):
    _wrap(GitHub, verb, verb)
_wrap(GitHub, "merge", "merge-there")
for verb in ("prepare", "start", "shift", "promote", "rollback"):
    _wrap(ProcessTarget, verb, verb)
_wrap(Ledger, "record", "approval", when=lambda run_id, kind, *rest: kind == "approval")
for kind in ("revert", "reverted"):
    _wrap(Ledger, "record", kind, when=lambda run_id, kind, *rest, wanted=kind: kind == wanted)
_wrap(Ledger, "record", "push", when=lambda run_id, kind, *rest: kind == "waits-for-push")
_wrap(Ledger, "record", "outcome", when=lambda run_id, kind, *rest: kind == "outcome")
