"""The rules over a change, in a process of its own with an end: how long they take, and how much memory, is decided by
what somebody else wrote. Nothing of the change is run there; it is read."""

import base64
import json
import os
import resource
import signal
import sys
from pathlib import Path

from blocks.host.run import run
from blocks.scanners.tool import FAILED
from domain.policy import change_findings
from domain.policy.rule import Hit
from domain.task import Attempt, Finding, Prepared
from domain.trees import Tree, unpack

TIMEOUT_S, CPU_S = 900.0, 300
"""A busy machine is no fault of the change's."""
MEMORY_BYTES = 4 << 30
"""Beside what the trees take."""


def rules_over(
    prepared: Prepared, attempt: Attempt, base: Tree, head: Tree, *, timeout_s: float = TIMEOUT_S
) -> tuple[Finding, ...]:
    """What the rules see in a change. If they come to no end, that is one refusing finding. Safe to repeat."""
    changed = {path: entry for path, entry in head.items() if base.get(path) != entry}
    told = {
        "prepared": prepared.model_dump(mode="json"),
        "attempt": attempt.model_dump(mode="json"),
        "gone": sorted(base.keys() - head.keys()),
    }
    asked = b"\n".join([json.dumps(told).encode(), _packed(base), _packed(changed)])
    memory_bytes = MEMORY_BYTES + 8 * len(asked)
    env = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(Path(__file__).parents[2])}
    argv = [sys.executable, "-P", "-m", "blocks.scanners.change_rules", str(memory_bytes)]
    try:
        done = run(argv, env=env, timeout_s=timeout_s, stdin=asked)
    except OSError as err:
        return (_failed(f"they cannot be started: {err.strerror or err}"),)
    if done.code is None:
        return (_failed(f"they took longer than {timeout_s:g} s"),)
    if done.code == -signal.SIGKILL:
        return (_failed(f"they took more than {CPU_S} s of computing, or too much memory"),)
    if done.code:
        said = done.err.decode("utf-8", "replace").strip().splitlines()[-1:]
        return (_failed(f"they ended with exit code {done.code}: {''.join(said)[:300]}"),)
    return tuple(Finding.model_validate(one) for one in json.loads(done.out))


def _packed(tree: Tree) -> bytes:
    """As `pack`, also with names that are no UTF-8."""
    return json.dumps({path: [one.mode, base64.b64encode(one.content).decode()] for path, one in tree.items()}).encode()


def _failed(why: str) -> Finding:
    return FAILED.finding(Hit(f"the rules over the change gave no answer: {why}"))


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    told, of_base, of_change = sys.stdin.buffer.read().split(b"\n", 2)
    given = json.loads(told)
    base = unpack(of_base)
    gone = set(given["gone"])
    head = {path: entry for path, entry in base.items() if path not in gone} | unpack(of_change)
    prepared, attempt = Prepared.model_validate(given["prepared"]), Attempt.model_validate(given["attempt"])
    findings = change_findings(prepared, attempt, base, head)
    print(json.dumps([finding.model_dump(mode="json") for finding in findings]))


if __name__ == "__main__":
    _main()
