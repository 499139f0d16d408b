"""Small briefs for the end-to-end tests: a repository of one function, and what to make of it."""

import os
import subprocess
from pathlib import Path
from typing import Any

SETTINGS = 'requirements = ["pytest==9.2.0"]\ntest = "python -m pytest -q"\n'
FILES = {
    "lockgate.toml": SETTINGS,
    "sums.py": "def add(a, b):\n    return a + b\n",
    "tests/test_sums.py": "from sums import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n",
}
ACCEPTANCE = "import sums\n\n\ndef test_double():\n    assert sums.double(4) == 8\n"
GOOD = "printf '\\n\\ndef double(a):\\n    return 2 * a\\n' >> sums.py\n"


def repository(at: Path, files: dict[str, str] | None = None, *, bare: bool = True) -> Path:
    """A repository with one commit on `main`, made from `files`."""
    work = at.with_name(f"{at.name}-work") if bare else at
    work.mkdir(parents=True)
    git(work, "init", "--quiet", "--initial-branch=main")
    for path, content in (FILES if files is None else files).items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(content)
    if files is None or files:
        git(work, "add", "--all")
        git(work, "commit", "--quiet", "--message", "start")
    if bare:
        git(work, "clone", "--quiet", "--bare", str(work), str(at))
    return at


def brief(at: Path, agent: str, **fields: Any) -> dict[str, Any]:
    """Add `double` to sums.py, with any field replaced."""
    return {
        "title": "Add a double function",
        "goal": "Add `double(a)` to `sums.py`, which returns twice its argument",
        "repository": str(at),
        "acceptance": {"files": [{"path": "tests/acceptance/test_double.py", "content": ACCEPTANCE}]},
        "agent": agent,
        "budget": {"attempts": 1},
        **fields,
    }


def git(work: Path, *words: str) -> str:
    """Git with an author and no configuration of this machine."""
    who = {f"GIT_{role}_{part}": "tester" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **who}
    done = subprocess.run(["git", *words], cwd=work, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
