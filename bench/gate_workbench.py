"""Runs a case of the gate bench through the real gates: sandbox, collection, forge, tests, scanners and the judge."""

import base64
import contextlib
import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from prefect.logging import disable_run_logger

import blocks.workshop
import tasks.prepare
from bench.gate_cases.case import Case, Seen, laid
from bench.gate_cases.projects import Project, project
from bench.gate_result import Result, answered
from blocks.agents.command import Command
from blocks.scanners import Bandit, Dependencies
from blocks.workshop import Workshop
from domain.brief import Brief
from domain.errors import AgentError
from domain.policy import judge
from domain.ports import Agent
from domain.task import Attempt, Evidence, Prepared, Scanned, Tested, Verdict
from domain.value import digest_of
from kits.registry import Registry
from tasks.edit import commit_attempt
from tasks.prepare import prepare
from tasks.room.room import room
from tasks.running.runners import environment
from tasks.security_scan import security_scan
from tasks.test import test

HANDS = Path(__file__).parent / "gate_cases" / "hands.py"
EDIT_S = 120.0


class Shop(Workshop):
    """A real workshop. Its one agent is a pair of hands that does what the case says."""

    _block_type_slug = "lockgate-bench-workshop"

    def agent(self, reference: str) -> Agent:
        return Command(command="python3 /case/hands.py", mounts={reference: "/case"})


@contextlib.contextmanager
def workbench(folder: Path, registry: Registry) -> Iterator["Workbench"]:
    """A home of its own below `folder`, and real workshops in it, while the context is open."""
    folder.chmod(0o755)  # whoever the sandbox runs as must reach the hands
    before = blocks.workshop.workshop, os.environ.get("LOCKGATE_HOME"), tasks.prepare.unusable_agents
    os.environ["LOCKGATE_HOME"] = str(folder / "home")
    (folder / "home").mkdir()
    shops = _shops(folder, registry)
    blocks.workshop.workshop = shops.__getitem__  # type: ignore[assignment]
    tasks.prepare.unusable_agents = lambda *_: ()  # the hands are no block, and there is no server to ask
    try:
        with disable_run_logger():
            yield Workbench(folder)
    finally:
        blocks.workshop.workshop = before[0]
        tasks.prepare.unusable_agents = before[2]
        os.environ.pop("LOCKGATE_HOME")
        if before[1] is not None:
            os.environ["LOCKGATE_HOME"] = before[1]


def _shops(folder: Path, registry: Registry) -> dict[str, Workshop]:
    """Workshops by name. The default one asks the real registries; others ask ours, or have a broken scanner."""
    served = {
        "index_url": f"{registry.url}/simple/",
        "npm_registry": f"{registry.url}/npm/",
        "vulnerabilities": f"{registry.url}/osv/",
    }
    hanging = folder / "hanging"
    hanging.write_text("#!/bin/sh\nexec sleep 600\n")
    hanging.chmod(0o755)
    return {
        "default": _shop(),
        "audited": _shop(dependencies=Dependencies(vulnerabilities=served["vulnerabilities"])),
        "registry": _shop(dependencies=Dependencies(**served)),
        "no audit": _shop(dependencies=Dependencies(**{**served, "vulnerabilities": f"{registry.url}/nowhere/"})),
        "scanner crashes": _shop(bandit=Bandit(program="/bin/false")),
        "scanner hangs": _shop(bandit=Bandit(program=str(hanging), timeout_s=2)),
    }


def _shop(**parts: Any) -> Workshop:
    return Shop(sandboxes="bubblewrap", registries=(), **parts)


class Workbench:
    """Prepares each project once and runs cases on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prepared: dict[str, Prepared] = {}
        self._repositories: dict[str, Path] = {}
        self._number = 0

    def run(self, case: Case, *, with_raw: bool = False) -> Result:
        """The answer to one case. Raises ValueError if the case itself is wrong."""
        at = project(case.project)
        base = {
            path: content for path, content in {**at.base, **laid(at.base, case.base)}.items() if content is not None
        }
        prepared = self._prepare(case, at, base)
        shop = blocks.workshop.workshop_of(prepared.brief)
        self._number += 1
        witness = self._folder / f"witness-{self._number}"
        attempt, printed = self._edit(case, at, base, prepared, shop, witness)
        if attempt.commit is None:
            verdict = _turned_down(prepared, attempt)
            seen = Seen(shop, prepared, attempt, {}, printed, None, verdict)
            return answered(case, seen, witness)
        started = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            scan = pool.submit(_timed, lambda: security_scan.fn(prepared, attempt))
            tested, test_s = _timed(lambda: test.fn(prepared, attempt))
            scanned, scan_s = scan.result()
        wall_s = time.monotonic() - started
        evidence = Evidence(attempt=attempt, tested=tested, scanned=scanned)
        verdict, judge_s = _timed(lambda: judge(prepared, evidence))
        head = shop.forge.tree(prepared.brief.repository, attempt.commit)
        seen = Seen(shop, prepared, attempt, head, printed, evidence, verdict)
        raw_s = self._raw(shop, prepared, seen) if with_raw else None
        result = answered(case, seen, witness)
        return result._replace(test_s=test_s, scan_s=scan_s, judge_s=judge_s, wall_s=wall_s, raw_s=raw_s)

    def _prepare(self, case: Case, at: Project, base: Mapping[str, bytes]) -> Prepared:
        """The project as this case has it: base, contract and the tests on base, once for all that share them."""
        key = digest_of([at.name, case.workshop, sorted(case.brief), repr(case.brief), repr(case.base)])
        if key in self._prepared:
            return self._prepared[key]
        repository = self._repository(at, base, repr(case.base))
        given = {**at.brief.model_dump(), "repository": str(repository), "workshop": case.workshop}
        brief = Brief.model_validate({**given, "agent": str(self._folder / "case"), **case.brief})
        self._number += 1
        made = prepare.fn(f"{at.name}-{self._number}", brief, 1)
        if made.refusals:
            raise ValueError(f"{case.name}: the brief is refused: {'; '.join(made.refusals)}")
        self._prepared[key] = made
        return made

    def _repository(self, at: Project, base: Mapping[str, bytes], key: str) -> Path:
        path = self._folder / f"{at.name}-{digest_of(key)[:8]}.git"
        if key + at.name not in self._repositories:
            bare(path, base)
            self._repositories[key + at.name] = path
        return path

    def _edit(
        self, case: Case, at: Project, base: Mapping[str, bytes], prepared: Prepared, shop: Workshop, witness: Path
    ) -> tuple[Attempt, str]:
        """The change, made in a real sandbox, collected and committed as the edit step does it."""
        good = dict(at.good) if case.solves else {}
        now = {path: content for path, content in {**base, **good}.items() if content is not None}
        files = {**good, **laid(now, case.files)}
        told = {path: None if c is None else base64.b64encode(c).decode() for path, c in files.items()}
        place = self._folder / "case"
        place.mkdir(exist_ok=True)
        (place / "hands.py").write_bytes(HANDS.read_bytes())
        script = case.script.replace("{witness}", str(witness))
        (place / "change.json").write_text(json.dumps({"files": told, "script": script}))
        hands = shop.agent(prepared.brief.agent)
        tree = shop.forge.tree(prepared.brief.repository, prepared.base)
        printed = ""
        with room(shop, prepared, "edit", tree, agent=hands, attempt=1) as opened:
            try:
                done = opened.workspace.run(["python3", "/case/hands.py"], timeout_s=EDIT_S)
                printed = done.output
                if done.problem:
                    raise AgentError(f"the agent was stopped: {done.problem}")
                if done.exit_code:
                    raise ValueError(f"{case.name}: the hands failed: {done.output[-800:]}")
                self._number += 1
                collected = opened.hidden.restored(opened.workspace.collect())
                return commit_attempt(shop, prepared, self._number, collected), printed
            except AgentError as err:
                return Attempt(number=1, base=prepared.base, commit=None, problem=str(err)), printed

    def _raw(self, shop: Workshop, prepared: Prepared, seen: Seen) -> float:
        """Seconds of the raw test command on the change, twice. Raises ValueError if it cannot be measured."""
        total = 0.0
        for _ in range(2):
            with room(shop, prepared, "test", seen.head) as opened:
                env = environment(seen.head, prepared.settings)
                done = opened.workspace.run(shlex.split(prepared.settings.test), timeout_s=600, env=env)
            if done.exit_code not in (0, 1):
                raise ValueError(f"the raw command ended with {done.exit_code}: {done.output[-800:]}")
            total += done.seconds
        return total


def _timed(act: Callable[[], Any]) -> tuple[Any, float]:
    started = time.monotonic()
    value = act()
    return value, time.monotonic() - started


def _turned_down(prepared: Prepared, attempt: Attempt) -> Verdict:
    """What the judge says of an attempt without a commit; the flow hands the reason back to the agent."""
    nothing = {"attempt": attempt, "tested": Tested(commit="", rows=(), sandbox="")}
    return judge(prepared, Evidence(**nothing, scanned=Scanned(commit="", findings=(), scanners=())))  # type: ignore[arg-type]


def bare(at: Path, files: Mapping[str, bytes]) -> None:
    """A bare repository with one commit on `main`. Through `fast-import`, so git never has a work tree of theirs."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(at.parent),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", at], check=True, env=env)
    stream = bytearray(b"commit refs/heads/main\ncommitter bench <bench@example.invalid> 0 +0000\ndata 4\nbase\n")
    for path, content in files.items():
        stream += b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(content), content)
    subprocess.run(["git", "-C", at, "fast-import", "--quiet"], check=True, input=bytes(stream), env=env)
