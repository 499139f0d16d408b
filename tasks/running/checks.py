"""The project's own commands: build, lint, types, an acceptance command. No file of the tree takes their place."""

import functools
import json
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from domain.checks import Problem, read_problems
from domain.commands import argv_of
from domain.errors import AgentError, InputError
from domain.ports import Completed, Workspace
from domain.project import ProjectSettings
from domain.reports import MAX_MESSAGE
from domain.trees import Tree
from tasks.room.room import in_directory
from tasks.running.abreast import a_place, abreast
from tasks.running.canaries import PLATFORM
from tasks.running.runners import environment, roots

STOPPED = 124
"""Stands for the exit code of a command that the platform stopped."""
_GUARD = {"PYTHONPATH": PLATFORM, "PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1"}
"""Nothing of the tree is on `sys.path` while Python starts, and `-m` does not look there first."""


class Checked(NamedTuple):
    """What the commands said, by their names. `problems`: of those whose output is of a known form."""

    codes: dict[str, int]
    messages: dict[str, str]
    problems: dict[str, tuple[Problem, ...]]
    output: str
    seconds: float = 0.0
    """In sandboxes, all of them together."""


def run_checks(
    commands: Mapping[str, str | None],
    tree: Tree,
    settings: ProjectSettings,
    opened: Callable[[], AbstractContextManager[Workspace]],
    *,
    product: Collection[str] = (),
) -> Checked:
    """Each command in a workspace of its own, side by side. In Python they find installed modules before the tree's:
    `-m ruff` is the ruff that the project asked for. Those named in `product` try the product, so they find the tree's
    first.

    Raises InputError if the tree keeps the platform's own files from being written.
    """
    asked = {name: command for name, command in commands.items() if command}
    runs = [
        functools.partial(_run, opened, command, tree, settings, name in product) for name, command in asked.items()
    ]
    checked = Checked({}, {}, {}, "")
    for (name, command), run in zip(asked.items(), abreast(*runs), strict=True):
        done, seconds = run.result()
        code = STOPPED if done.problem else done.exit_code
        checked.codes[name] = code
        if code:
            checked.messages[name] = f"{done.output}\n{done.problem or ''}".strip()[-MAX_MESSAGE:]
        if not done.problem and (problems := read_problems(done.output)):
            checked.problems[name] = problems
        checked = checked._replace(
            output=f"{checked.output}\n$ {command}\n{done.output}", seconds=checked.seconds + seconds
        )
    return checked


def _run(
    opened: Callable[[], AbstractContextManager[Workspace]],
    command: str,
    tree: Tree,
    settings: ProjectSettings,
    tree_first: bool,
) -> tuple[Completed, float]:
    """How it ended, and the seconds that a sandbox was open for it."""
    env = environment(tree, settings)
    told = {"roots": roots(env), "is_first": tree_first}
    program = Path(__file__).with_name("inside_checks.py").read_bytes()
    with a_place():
        started = time.monotonic()
        with opened() as workspace:
            try:
                workspace.write(f"{PLATFORM}/sitecustomize.py", program)
                workspace.write(f"{PLATFORM}/told.json", json.dumps(told).encode())
            except AgentError as err:
                raise InputError(f"the platform's files cannot be put beside the project's: {err}") from err
            words = argv_of(command)
            argv = words if tree_first else in_directory(settings, words)
            done = workspace.run(argv, timeout_s=settings.test_timeout_s, env={**env, **_GUARD})
        return done, time.monotonic() - started
