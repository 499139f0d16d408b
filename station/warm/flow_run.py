"""One flow run, as `python -m prefect.engine` runs it: one of our flows, by its name and from this code alone.

A deployment's own entrypoint and pull steps are not looked at: whoever may write deployments is not, by that, somebody
who may run code here.
"""

import contextlib
import importlib
import logging
import os
import runpy
import sys
import warnings

import anyio

from flows import processes

FLOWS = {
    "agent-task": "flows.agent_task.agent_task",
    "rollback": "flows.rollback.rollback_environment",
    "downgrade": "flows.downgrade.downgrade_environment",
    "intake": "flows.intake.intake",
    "housekeeping": "flows.housekeeping.housekeeping",
}
ENGINE = ("prefect.engine", "prefect.flow_engine", "prefect.task_engine")
LATER = ("prefect._internal.observers", "prefect._vendor.croniter", "pytz")
"""What Prefect imports only once a flow runs."""
BOOKKEEPING = "Finished in state "
"""How Prefect's own line begins after each step: what the step says itself tells more."""


def main() -> None:
    """Run it; the environment is what the worker gives: the run's id, its flow's name, Prefect's settings."""
    flow = os.environ.get("PREFECT__FLOW_NAME", "")
    if flow not in FLOWS:
        sys.exit(f"there is no flow {flow!r} in Lockgate: it runs only {', '.join(FLOWS)}")
    os.environ["PREFECT__FLOW_ENTRYPOINT"] = FLOWS[flow]
    if probe := os.environ.get("LOCKGATE_TEST_PROBE"):  # from the supervisor's environment: nobody else can set it
        runpy.run_path(probe)
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_tells_something)
    sys.argv[:] = ["prefect.engine"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it is imported already
        runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


def _tells_something(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not str(record.msg).startswith(BOOKKEEPING)


def imports() -> None:
    """What every flow run imports: what is named here, and what comes with it."""
    for name in (*ENGINE, *(path.rpartition(".")[0] for path in FLOWS.values())):
        importlib.import_module(name)
    anyio.run(anyio.sleep, 0)  # it imports a backend at its first use
    for name in LATER:
        with contextlib.suppress(ImportError):  # the next Prefect may have it elsewhere
            importlib.import_module(name)


def refresh() -> None:
    """What Prefect read of the environment and set up when it was imported, anew."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    refresh_global_settings_context()
    setup_logging(incremental=False)


if __name__ == "__main__":
    processes.note(os.environ.get("PREFECT__FLOW_RUN_ID", "unknown"), os.getpid())  # a fork is noted by its keeper
    main()
