"""Loaded by a flow run when a test puts this folder on its PYTHONPATH: SIGKILL at named points, once each.

`KILL_AT` is a comma-separated list of `point-before` and `point-after`; `KILL_MARKS` is a folder where each kill leaves
a mark, so that the resumed process passes that point.
"""

import os
import signal
from pathlib import Path

POINTS = os.environ.get("KILL_AT", "").split(",")
MARKS = Path(os.environ.get("KILL_MARKS", "/nonexistent"))


def _die_once(point):
    if point in POINTS and not (MARKS / point).exists():
        (MARKS / point).write_text(str(os.getpid()))
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


if os.environ.get("KILL_AT") and os.environ.get("PREFECT__FLOW_RUN_ID"):
    from blocks.agents.replay import Replay
    from blocks.forges.local import LocalForge
    from blocks.ledger.ledger import Ledger
    from blocks.targets.process import ProcessTarget

    _wrap(Replay, "edit", "edit")
    _wrap(LocalForge, "merge", "merge")
    _wrap(LocalForge, "revert", "revert")
    for verb in ("prepare", "start", "shift", "promote", "rollback"):
        _wrap(ProcessTarget, verb, verb)
    _wrap(Ledger, "record", "approval", when=lambda run_id, kind, *rest: kind == "approval")
    _wrap(Ledger, "record", "outcome", when=lambda run_id, kind, *rest: kind == "outcome")
