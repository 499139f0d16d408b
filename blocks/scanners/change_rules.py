"""The rules over a change, in a process of its own with an end: how long they take, and how much memory, is decided by
what somebody else wrote. Nothing of the change is run there; it is read."""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from blocks.host.run import run
from blocks.scanners.tool import FAILED
from domain.policy.rule import Hit
from domain.task import Attempt, Finding, Prepared
from domain.trees import Tree

TIMEOUT_S, CPU_S = 900.0, 300
"""A busy machine is no fault of the change's."""
MEMORY_BYTES = 4 << 30
"""Beside what the trees take, and what is put together from them."""


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
    memory_bytes = MEMORY_BYTES + 2 * sum(len(one.content) for tree in (base, changed) for one in tree.values())
    env = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(Path(__file__).parents[2])}
    argv = [sys.executable, "-P", str(Path(__file__).with_name("rules_alone.py")), str(memory_bytes), str(CPU_S)]
    with tempfile.TemporaryFile() as asked:
        asked.write(json.dumps(told).encode() + b"\n")
        for tree in (base, changed):
            _write(tree, asked)
        asked.seek(0)
        return _asked(argv, env, asked, timeout_s)


def _write(tree: Tree, asked: IO[bytes]) -> None:
    """File after file, so that no tree is in memory a second time; also with names that are no UTF-8."""
    asked.write(b"%d\n" % len(tree))
    for path, entry in tree.items():
        asked.write(json.dumps([path, entry.mode, len(entry.content)]).encode() + b"\n")
        asked.write(entry.content)


def _asked(argv: Sequence[str], env: Mapping[str, str], asked: IO[bytes], timeout_s: float) -> tuple[Finding, ...]:
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


def _failed(why: str) -> Finding:
    return FAILED.finding(Hit(f"the rules over the change gave no answer: {why}"))
