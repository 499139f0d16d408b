"""Briefs that lie in a folder become runs: drop a brief into `inbox/` of Lockgate's home. Issues are in `issues.py`."""

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.states import Completed

from blocks.home import home
from domain.errors import InputError
from flows.briefs import read_brief
from flows.endings import NOTHING


@flow(name="intake", retries=3, retry_delay_seconds=5)
def intake() -> State:
    """Start one run for each brief in the inbox (TOML or JSON). Its data: file name → `submitted`, or why it was
    refused.

    The run's idempotency key is the brief's digest with the file's time: a file is never started twice. Afterwards it
    lies in `taken/`, or in `refused/` with a `.reason.txt` beside it. It takes no parameter: whoever may start it names
    no folder of this machine.
    """
    inbox = home() / "inbox"
    inbox.mkdir(parents=True, exist_ok=True)
    log = get_run_logger()
    done: dict[str, str] = {}
    for file in sorted(path for path in inbox.iterdir() if path.suffix in (".toml", ".json")):
        try:
            if file.resolve() != inbox.resolve() / file.name or not file.is_file():
                raise InputError(f"{file}: only a plain file that lies in the inbox itself is taken")
            brief = read_brief(file)
        except InputError as err:
            _file_away(file, "refused")
            (inbox / "refused" / f"{file.name}.reason.txt").write_text(f"{err}\n")
            done[file.name] = f"refused: {err}"
            log.warning("%s: %s", file.name, done[file.name])
            continue
        key = f"intake-{brief.digest}-{file.stat().st_mtime_ns}"
        parameters = {"brief": brief.model_dump(mode="json")}
        run_deployment(
            "agent-task/agent-task", flow_run_name=brief.title, parameters=parameters, idempotency_key=key, timeout=0,
            as_subflow=False,
        )  # fmt: skip
        _file_away(file, "taken")
        done[file.name] = "submitted"
        log.info("%s: submitted", file.name)
    return Completed(data=done, message="taken" if done else NOTHING)


def _file_away(file: Path, where: str) -> None:
    (file.parent / where).mkdir(exist_ok=True)
    file.replace(file.parent / where / file.name)
