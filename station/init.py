"""`lockgate init`: what a repository is, proven by running its suite once, and the lockgate.toml that says so."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from blocks.workshop import Workshop, workshop
from domain.detect import Detected, detect
from domain.errors import InputError, LockgateError
from domain.policy.feedback import cause_of
from domain.project import ProjectSettings
from domain.services import looked_for
from domain.task import CaseOutcome
from domain.trees import Tree
from tasks.prepare import left_out
from tasks.running.prove import Proof, prove

_SHOWN = 10
_FAILING = (CaseOutcome.FAILED, CaseOutcome.ERROR)


def init(repository: str, branch: str | None, directory: str, write: bool, as_json: bool) -> int:
    """Look, prove, tell. Returns the exit code: 0 where the suite runs and something passes, else 1.

    `write`: into the work tree at `repository`, for a person to commit. Nothing is committed or pushed.
    """
    target = Path(repository) / "lockgate.toml"
    if write and not Path(repository).is_dir():
        raise InputError("--write needs a work tree on this machine: leave it out, and the file is printed")
    if write and target.exists():
        raise InputError(f"{target} is there already: remove it first, or leave out --write")
    shop = _shop()
    commit, tree = _newest(shop, repository, branch)
    detected = detect(tree, directory)
    proof = _proven(shop, repository, tree, detected)
    text = toml_of(detected.settings)
    missing = [*(f"{one.what}: {one.how}" for one in detected.missing), *missing_of(proof, detected.settings, tree)]
    missing += left_out(shop, repository, commit, tree)
    if as_json:
        print(json.dumps(_told(commit, detected, proof, missing, text)))
    else:
        _show(commit, detected, proof, missing)
        if not write:
            print(f"\n# lockgate.toml\n{text}", end="")
    if write and detected.kind:
        target.write_text(text)
        if not as_json:
            print(f"\nwrote {target}: read it, and commit it on the branch that briefs name")
    return 0 if proof.suite and not proof.suite.problem and _counts(proof)["passed"] else 1


def toml_of(settings: ProjectSettings) -> str:
    """The settings as lockgate.toml: the test command, and what is not as it is by default."""
    chosen: dict[str, Any] = settings.model_dump(mode="json", exclude_defaults=True)
    chosen = {"test": settings.test, **chosen}
    plain = {key: value for key, value in chosen.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in chosen.items() if isinstance(value, dict)}
    lines = [f"{key} = {_toml(value)}" for key, value in plain.items()]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{_key(key)} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def missing_of(proof: Proof, settings: ProjectSettings, tree: Tree) -> list[str]:
    """What the proving run says is missing, and how to name it. What the repository has itself is not to be installed:
    the package of that name is somebody else's."""
    texts = [proof.problem or ""]
    if proof.suite:
        texts += [*proof.suite.messages.values(), proof.suite.problem or ""]
    found: dict[str, None] = {}
    for text in texts:
        for module in re.findall(r"No module named '([\w.]+)'", text):
            top = module.split(".")[0]
            if places := _places_of(top, tree):
                there = " and ".join(places[:3])
                how = f'`directory = "{places[-1]}"` if its tests are there too, else `sources = ["{places[-1]}"]`'
                found[f"the module {top!r}, which the repository has in {there}: write {how}"] = None
            else:
                found[f'the module {top!r}: name what brings it, such as `requirements = ["{top}"]`'] = None
        for fixture in re.findall(r"fixture '(\w+)' not found", text):
            found[f"the fixture {fixture!r}: name the pytest plugin that brings it under `requirements`"] = None
        absent = r"No such file or directory: '([\w.+-]+)'|(?:^|: )([\w.+-]+): (?:command )?not found$"
        for program in map("".join, re.findall(absent, text, re.MULTILINE)):
            found[f"the program {program!r}: name an `image` that has it, or a package under `requirements`"] = None
        if re.search(r"Name or service not known|Temporary failure in name resolution|Network is unreachable", text):
            found["a network: tests reach nothing unless `[[egress.test]]` names the hosts"] = None
        if _UNBUILT.search(text):
            how = 'write it before them, such as `test = "npm run build && npm test"`'
            found[f"what the project builds before its tests: {how}"] = None
        if "not a git repository" in text:
            found["the history of git: tests see the files alone, so name a command for `test` that asks no git"] = None
        if "github.com/rust-lang/crates.io-index" in text:
            found["Cargo 1.68 or newer, which needs no git to fetch crates: name an `image` that has it"] = None
        if "No compatible signature found in package metadata" in text:
            how = 'if it signs none, write `environment = {COREPACK_INTEGRITY_KEYS = "0"}`, or a hash in packageManager'
            found[f"signatures of the npm registry, for Corepack: {how}"] = None
    return [*looked_for(texts, settings.services), *found][:_SHOWN]


def _places_of(module: str, tree: Tree) -> list[str]:
    """The directories below the root that a module or package of that name is in, sorted."""
    names = re.compile(rf"(.+)/{re.escape(module)}(?:\.py|/__init__\.py)")
    return sorted({found[1] for path in tree if (found := names.fullmatch(path))})


_UNBUILT = re.compile(
    r"Cannot find (?:module|package) '(?:/work/|\.\.?/)|Could not find '\S{0,200}?\b(?:dist|build|out)\b"
    r"|Failed to resolve entry for package"
)
"""As Node, its test runner and vitest say it, of a member of the workspace too."""


def _shop() -> Workshop:
    """The default workshop, or one with its defaults where no server runs: looking needs none."""
    try:
        return workshop("default")
    except (LockgateError, RuntimeError, OSError, ValueError):
        return Workshop()
    except Exception as err:
        if type(err).__module__.split(".")[0] in ("httpx", "httpcore", "prefect"):
            return Workshop()
        raise


def _proven(shop: Workshop, repository: str, tree: Tree, detected: Detected) -> Proof:
    """What cannot be proven is told beside what was detected, also where the platform lacks something."""
    if not detected.kind:
        return Proof(problem="nothing was detected")
    try:
        return prove(shop, repository, tree, detected.settings)
    except LockgateError as err:
        return Proof(problem=str(err))


def _newest(shop: Workshop, repository: str, branch: str | None) -> tuple[str, Tree]:
    commit = shop.forge.base(repository, branch or shop.forge.default_branch(repository))
    return commit, shop.forge.tree(repository, commit)


def _counts(proof: Proof) -> Counter[str]:
    return Counter(outcome.value for outcome in proof.suite.cases.values()) if proof.suite else Counter()


def _show(commit: str, detected: Detected, proof: Proof, missing: list[str]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(title=f"Detected at {commit[:12]}", title_justify="left")
    for column in ("what", "value", "told by"):
        table.add_column(column, overflow="fold")
    for found in detected.found:
        table.add_row(escape(found.what), escape(found.value), escape(found.path))
    if proof.installed:
        for project in proof.installed.projects:
            table.add_row("built in a sandbox", escape(project.filename), escape(project.directory or "."))
        table.add_row("installed", f"{len(proof.installed.requirements)} requirements", "")
    console.print(table)
    if proof.suite:
        counts = _counts(proof)
        said = ", ".join(f"{counts[word]} {word}" for word in ("passed", "failed", "error", "skipped") if counts[word])
        by = f"{proof.suite.runner}, {proof.suite.sandbox}, {proof.suite.seconds:.0f} s"
        console.print(f"Suite: {said or 'no test was found'} ({by})")
        failing = [test for test, outcome in proof.suite.cases.items() if outcome in _FAILING]
        for test in failing[:_SHOWN]:
            console.print(escape(f"  {test}: {cause_of(proof.suite.messages.get(test, '')).why}"))
        if len(failing) > _SHOWN:
            console.print(f"  and {len(failing) - _SHOWN} more")
    if problem := proof.problem or (proof.suite and proof.suite.problem):
        console.print(escape(f"The suite cannot be run: {problem}"))
    for line in missing:
        console.print(escape(f"Missing: {line}"))


def _told(commit: str, detected: Detected, proof: Proof, missing: list[str], text: str) -> dict[str, Any]:
    return {
        "commit": commit,
        "detected": [found.model_dump() for found in detected.found],
        "tests": dict(_counts(proof)),
        "problem": proof.problem or (proof.suite.problem if proof.suite else None),
        "missing": missing,
        "lockgate_toml": text,
    }


def _toml(value: Any) -> str:
    """A value as TOML: its basic strings, numbers, booleans and arrays are those of JSON, but for DEL."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_toml(one)}" for key, one in value.items() if one is not None) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
