"""A real Lockgate on this machine for end-to-end tests and benchmarks: its own home, server, worker and supervisor."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx

from blocks.ledger.ledger import Ledger
from blocks.ledger.rows import Entry
from domain.task import Outcome
from kits.product.preloaded import Preloaded
from kits.servers import free_port

PROJECT = Path(__file__).resolve().parents[2]
ASKS = ("verify", "bundle", "run", "review", "answer", "rollback", "downgrade", "hold", "open", "bill", "team", "token")
"""Commands that import Prefect, most of them, which takes seconds of a processor. That they work in a process of their
own is seen by `status` and `doctor` here, by the demo, and in contract/test_quick_commands.py and test_wheel.py."""


class Station:
    """`lockgate up` in a home of its own; what tests do to it goes through the CLI, the API, or the ledger."""

    def __init__(
        self, home: Path, *, probe: Path | None = None, toolchains: Path | None = None, programs: Path | None = None
    ) -> None:
        """`probe`: a Python file that each flow run loads first. `toolchains`: a folder of environments that are made
        already; else the station makes its own. `programs`: where `lockgate` and its Python are, if not ours."""
        self.home = home
        self.programs = programs or Path(sys.executable).parent
        self.port = free_port()
        self._toolchains = toolchains
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.env = {**kept, "LOCKGATE_HOME": str(home), "LOCKGATE_PORT": str(self.port)}
        if probe:
            self.env["LOCKGATE_TEST_PROBE"] = str(probe)
        self._url = f"sqlite:///{home}/ledger.db"
        self._python = Preloaded(self.env, PROJECT, self.programs / "python")
        # one client, since each reads every certificate when it is made; no connection outlives a server that dies
        self._client = httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))

    def up(self) -> None:
        self.lockgate("up", check=True)
        self.port = int((self.home / "port").read_text())
        shared = ""
        if self._toolchains:
            shared = f"shop.toolchains = shop.toolchains.model_copy(update={{'root': {self._toolchains!r}}})\n"
        self.python(
            "from pathlib import PosixPath\nfrom blocks.workshop import Workshop\nshop = Workshop.saved('default')\n"
            "shop.sandboxes = 'bubblewrap'\n"  # docker has tests of its own; both are slow
            "shop.registries = tuple(r.model_copy(update={'private': True}) for r in shop.registries)\n"
            f"{shared}"
            "shop.keep('default')\n"  # the registries may be mirrors on this machine's network
            "from blocks.agents.command import Command\n"
            "Command(command='/bin/true').keep('default')"  # for briefs that end before an agent works
        )

    def down(self) -> None:
        self._python.close()
        self._client.close()
        self.lockgate("down", check=True)

    def lockgate(self, *words: str, check: bool = False, timeout_s: float = 400) -> subprocess.CompletedProcess[str]:
        """The CLI, as a user runs it. Once the station is up, most commands begin with their imports done."""
        if words[0] in ASKS and self._python.is_on:
            done = self._python.lockgate(words, self.home.parent)
        else:
            if words[0] in ("up", "down", "restore"):
                self._python.close()  # what it has imported knows the port of before
            argv = [str(self.programs / "lockgate"), *words]
            done = subprocess.run(
                argv, env=self.env, cwd=self.home.parent, capture_output=True, text=True, timeout=timeout_s
            )
        if check and done.returncode:
            raise AssertionError(
                f"lockgate {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done

    def python(self, code: str) -> str:
        """Run code with this station's settings, for saving blocks as the UI would."""
        return self._python.run(code)

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """The Prefect API with the station's credential."""
        user, _, password = (self.home / "credentials" / "api-credential").read_text().strip().partition(":")
        url = f"http://127.0.0.1:{self.port}/api{path}"
        for pause_s in (
            0.2,
            0.5,
            1,
            2,
            4,
            0,
        ):  # a busy SQLite makes the server answer 503: try again, as its client does
            answer = self._client.request(method, url, json=body, auth=(user, password))
            if answer.status_code != 503:
                break
            time.sleep(pause_s)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def submit(self, brief: dict[str, Any], key: str | None = None) -> str:
        """Create a run by the API alone, as the README's curl does; its id. A key makes one run of all calls."""
        deployment = self.api("GET", "/deployments/name/agent-task/agent-task")
        body = {"parameters": {"brief": brief}, "state": {"type": "SCHEDULED"}}
        if key:
            body["idempotency_key"] = key
        return str(self.api("POST", f"/deployments/{deployment['id']}/create_flow_run", body)["id"])

    def kill(self, run_id: str, at: Iterable[str]) -> Path:
        """The run's process kills itself with SIGKILL once at each named point; the folder in which the probe notes it.
        Only a station whose probe is tests/e2e/killer.py does that."""
        points = self.home / "kill" / run_id
        points.mkdir(parents=True)
        for point in at:
            (points / point).touch()
        return points

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api("GET", f"/flow_runs/{run_id}")
        return found

    def wait(self, run_id: str, timeout_s: float = 240, *, approve: bool = True) -> Outcome:
        """The outcome; reviews on the way are approved as `tester`."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            try:
                state = self.run(run_id)["state"]
            except (httpx.HTTPError, OSError):
                time.sleep(0.5)
                continue
            if state["type"] == "PAUSED" and approve:
                self.answer(run_id, {"decision": "approve", "reviewer": "tester", "comment": ""})
            if state["type"] in ("COMPLETED", "FAILED", "CANCELLED"):
                outcome = self.ledger().find(run_id, "outcome", "outcome", Outcome)
                assert outcome, f"the run ended as {state} and has no outcome"
                return outcome
            time.sleep(0.4)
        raise AssertionError(f"run {run_id} is still {self.run(run_id)['state']}:\n{self.story(run_id)}")

    def wait_for_state(self, run_id: str, wanted: str, timeout_s: float = 120) -> None:
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if self.run(run_id)["state"]["type"] == wanted:
                return
            time.sleep(0.3)
        raise AssertionError(f"run {run_id} never became {wanted}: {self.run(run_id)['state']}\n{self.story(run_id)}")

    def answer(self, run_id: str, content: dict[str, Any]) -> str:
        """Answer a form; ACCEPT, REJECT or ABORT."""
        try:
            return str(self.api("POST", f"/flow_runs/{run_id}/resume", {"run_input": content})["status"])
        except httpx.HTTPStatusError as err:
            if err.response.status_code in (409, 500, 503):
                return "BUSY"  # asked in the very moment in which the run suspends
            raise

    def ledger(self) -> Ledger:
        return Ledger(url=self._url)

    def entries(self, run_id: str, kind: str | None = None) -> list[Entry]:
        return list(self.ledger().entries(run_id=run_id, kind=kind))

    def log(self, run_id: str, last: str, timeout_s: float = 60) -> list[str]:
        """The run's log, once a line holds `last`: it comes in batches."""
        until = time.monotonic() + timeout_s
        while True:
            lines: list[str] = []
            asked = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
            while page := self.api("POST", "/logs/filter", {**asked, "offset": len(lines)}):
                lines += [entry["message"] for entry in page]
            if any(last in line for line in lines) or time.monotonic() > until:
                return lines
            time.sleep(1)

    def story(self, run_id: str) -> str:
        return "\n".join(f"{e.kind} {e.key} {json.dumps(e.body)[:300]}" for e in self.entries(run_id))

    def replay(self, name: str, recording: Path) -> None:
        """Save a replay agent."""
        self.python(f"from blocks.agents.replay import Replay\nReplay(recording={str(recording)!r}).keep({name!r})")

    def command(self, name: str, script: str, mounts: Path) -> None:
        """Save a command agent that runs a shell script."""
        path = mounts / f"{name}.sh"
        path.write_text(script)
        inside = f"/agent-{self.port}"  # tells this station's agents from others in the list of processes
        code = f"Command(command='/bin/sh {inside}/{name}.sh', mounts={{{str(mounts)!r}: {inside!r}}}).keep({name!r})"
        self.python(f"from blocks.agents.command import Command\n{code}")

    def target(self, environment: str, port: int, **fields: Any) -> None:
        """Save a process target and name it in the default workshop."""
        given = "".join(f", {name}={value!r}" for name, value in fields.items())
        self.python(
            "from blocks.targets.machine.process import ProcessTarget\nfrom blocks.workshop import Workshop\n"
            f"ProcessTarget(name={environment!r}, port={port}{given}).keep({environment!r})\n"
            "shop = Workshop.saved('default')\n"
            f"shop.targets = {{**shop.targets, {environment!r}: 'process-target/{environment}'}}\n"
            "shop.keep('default')"
        )
