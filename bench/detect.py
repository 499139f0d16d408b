"""Detection on projects that nobody here wrote: source archives of the package index, as they are.

Each archive is a repository without lockgate.toml. It is detected, installed and its suite run in a sandbox, then the
same test command runs in a plain virtual environment beside it: `uv pip install -e` of the archive with the same
extras, groups and files. The last line is JSON: {"projects", "ran_as_plain", "refused_with_reason", "wrong"}.

`python bench/detect.py [--only NAME] [--write]`. The plain side runs the project's code with your rights: use a machine
that you can throw away.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from defusedxml import ElementTree
from packaging.requirements import Requirement
from uv import find_uv_bin

from bench.detect_projects import PROJECTS
from blocks.workshop import Workshop
from domain.detect import detect
from domain.ports import Tree, TreeEntry
from domain.project import ProjectSettings
from tasks.prove import Proof, prove
from tests.e2e import sdists

PAGE = Path(__file__).parent.parent / "docs" / "detect-bench.md"
PLAIN_S = 900
COUNTED = ("passed", "failed", "error")


class Row(NamedTuple):
    """One project. `verdict`: as plain, refused, or wrong."""

    project: str
    verdict: str
    detected: str
    here: str
    plain: str
    reason: str = ""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    home = Path(os.environ.setdefault("LOCKGATE_HOME", str(Path.home() / ".lockgate" / "bench-detect")))
    home.mkdir(parents=True, exist_ok=True)
    kept = home / "detect-bench.json"
    known = {row[0]: Row(*row) for row in json.loads(kept.read_text())} if kept.exists() else {}
    shop = Workshop()
    for name, sha256 in PROJECTS.items():
        if arguments.only and name not in arguments.only:
            continue
        started = time.monotonic()
        known[name] = row = compared(shop, name, sha256)
        kept.write_text(json.dumps(list(known.values())))
        said = f"{row.verdict:9} {name}: {row.here} | plain {row.plain} {row.reason}"
        print(f"{said} ({time.monotonic() - started:.0f} s)", flush=True)
    rows = [known[name] for name in PROJECTS if name in known]
    if arguments.write:
        PAGE.write_text(page(rows))
    print(json.dumps(result(rows)))


def compared(shop: Workshop, name: str, sha256: str) -> Row:
    """One project in the sandbox and in a plain environment."""
    tree: Tree = {path: TreeEntry(0o100644, content) for path, content in sdists.files(name, sha256).items()}
    detected = detect(tree)
    settings = detected.settings
    said = ", ".join(f"{found.value} ({found.path})" for found in detected.found)
    if not detected.kind:
        return Row(name, "refused", "", "nothing detected", "not run", detected.missing[0].how)
    proof = prove(shop, name, tree, settings)
    outcomes = plain(tree, settings)
    here = counted(Counter(outcome.value for outcome in proof.suite.cases.values()) if proof.suite else Counter())
    beside = counted(Counter(outcomes.values()))
    reason = proof.problem or (proof.suite.problem if proof.suite else None) or ""
    return Row(name, verdict(proof, outcomes, reason), said, here, beside, " ".join(reason.split())[:300])


def verdict(proof: Proof, outcomes: dict[str, str], reason: str) -> str:
    """As plain, where as many tests pass, fail and break; refused, where a reason was given instead; else wrong."""
    if reason:
        return "refused"
    assert proof.suite is not None
    here = Counter(outcome.value for outcome in proof.suite.cases.values())
    there = Counter(outcomes.values())
    passed, plainly = here["passed"], there["passed"]
    if not passed:
        return "refused" if not plainly else "wrong"
    return "as plain" if passed >= plainly * 0.98 else "wrong"


def plain(tree: Tree, settings: ProjectSettings) -> dict[str, str]:
    """Test → outcome in a plain virtual environment; empty where it cannot be installed or reports nothing."""
    with tempfile.TemporaryDirectory(prefix="plain-") as directory:
        work, venv, report = Path(directory, "work"), Path(directory, "venv"), Path(directory, "report.xml")
        for path, entry in tree.items():
            target = work / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(entry.content)
        python = venv / "bin" / "python"
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("LOCKGATE", "PYTEST"))},
            "VIRTUAL_ENV": str(venv),
            "PATH": f"{venv}/bin:{os.environ['PATH']}",
            "SETUPTOOLS_SCM_PRETEND_VERSION": _version(tree),
        }
        if not _ran([find_uv_bin(), "venv", "-q", "--python", sys.executable, str(venv)], work, environment):
            return {}
        if settings.lock and settings.lock.endswith("uv.lock"):
            words = [word for group in settings.groups for word in ("--group", group)]
            words += [word for extra in settings.extras for word in ("--extra", extra)]
            _ran([find_uv_bin(), "sync", "-q", "--frozen", "--active", *words], work, environment)
        else:
            own = f".[{','.join(settings.extras)}]" if settings.extras else "."
            words = ["-e", own] if settings.install else []
            words += [
                word for path in (*settings.requirement_files, *filter(None, [settings.lock])) for word in ("-r", path)
            ]
            words += [word for group in settings.groups for word in ("--group", group)]
            words += [str(Requirement(line)) for line in settings.requirements]
            _ran([find_uv_bin(), "pip", "install", "-q", "pytest", *words], work, environment)
        command = settings.test.replace("python -m", f"{python} -m", 1)
        _ran(
            ["sh", "-c", f"{command} -p no:cacheprovider --junitxml={report} -q"],
            work,
            {**environment, **settings.environment},
        )
        if not report.exists():
            return {}
        cases = ElementTree.fromstring(report.read_bytes()).iter("testcase")
        return {f"{case.get('classname')}::{case.get('name')}": _outcome(case) for case in cases}


def _outcome(case: "ElementTree.Element") -> str:
    found = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
    return {"failure": "failed"}.get(found, found)


def _version(tree: Tree) -> str:
    entry = tree.get("PKG-INFO")
    lines = entry.content.decode("utf-8", "replace").splitlines() if entry else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("Version:")), "0.0.0")


def _ran(argv: list[str], work: Path, environment: dict[str, str]) -> bool:
    try:
        return subprocess.run(argv, cwd=work, env=environment, capture_output=True, timeout=PLAIN_S).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def counted(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[word]} {word}" for word in COUNTED if counts[word]) or "nothing ran"


def result(rows: list[Row]) -> dict[str, int]:
    counts = Counter(row.verdict for row in rows)
    return {
        "projects": len(rows),
        "ran_as_plain": counts["as plain"],
        "refused_with_reason": counts["refused"],
        "wrong": counts["wrong"],
    }


def page(rows: list[Row]) -> str:
    lines = [
        "# Detection on real projects",
        "",
        "Written by `python bench/detect.py --write`; do not edit. Source archives of the package index, as they are,",
        "with no lockgate.toml: detected, installed and tested in a sandbox, then with the same command in a plain",
        "virtual environment. `as plain`: at least 98 % as many tests pass as there.",
        "",
        f"`{json.dumps(result(rows))}`",
        "",
        "| project | verdict | in the sandbox | plain | detected, or why not |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        why = (row.reason or row.detected).replace("|", "/")
        lines.append(f"| {row.project} | {row.verdict} | {row.here} | {row.plain} | {why} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
