"""`lockgate init` on real repositories, with a real sandbox and without a station."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from blocks.workshop import Workshop
from domain.project import ProjectSettings
from kits.briefs import git
from station import init as module
from station.init import init
from tasks.running.prove import Proof
from tests.unit.policy_cases import tree

TESTS = "import unittest\nclass TestIt(unittest.TestCase):\n    def test_it(self): "


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work tree on a branch that is neither `main` nor `master`, with a submodule."""
    for path in (tmp_path.parent, tmp_path):
        path.chmod(0o755)
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "_shop", lambda: Workshop(sandboxes="bubblewrap"))
    other, at = tmp_path / "other", tmp_path / "repository"
    for place, files in (
        (other, {"sums.py": "x = 1\n"}),
        (
            at,
            {
                "tox.ini": "[testenv]\ncommands = python -m unittest discover -s tests",
                "tests/test_a.py": f"{TESTS}pass",
            },
        ),
    ):
        place.mkdir()
        git(place, "init", "--quiet", "--initial-branch", "trunk")
        for name, text in files.items():
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text(text)
        git(place, "add", "--all")
        git(place, "commit", "--quiet", "--message", "all")
    return at


def told(repository: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    code = init(str(repository), None, "", write=False, as_json=True)
    return code, json.loads(capsys.readouterr().out)


def test_init_proves_the_default_branch_and_says_what_its_tests_miss(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = told(repository, capsys)
    assert (code, said["tests"], said["missing"]) == (0, {"passed": 1}, [])
    assert tomllib.loads(said["lockgate_toml"]) == {"test": "python -m unittest discover -s tests"}

    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", "--quiet", "../other", "vendored")
    (repository / "tests" / "test_a.py").write_text(f"{TESTS}import vendored.sums")
    git(repository, "commit", "--quiet", "--all", "--message", "needs it")
    code, said = told(repository, capsys)
    assert (code, said["tests"]) == (1, {"error": 1})
    assert any("'vendored': a submodule" in line for line in said["missing"]), said


@pytest.mark.parametrize(
    ("problem", "how"),
    [
        ("ModuleNotFoundError: No module named 'yaml'", 'such as `requirements = ["yaml"]`'),
        ("/lockgate/platform/start: 13: exec: go: not found\n", "the program 'go': name an `image` that has it"),
        ("bash: line 1: cargo: command not found", "the program 'cargo': name an `image` that has it"),
        ("Error: Cannot find module '/work/node_modules/a/dist/a.js'", 'such as `test = "npm run build && npm test"`'),
        ("Could not find '/work/packages/a/dist/'", 'such as `test = "npm run build && npm test"`'),
        ('Error: Failed to resolve entry for package "@w/a".', 'such as `test = "npm run build && npm test"`'),
        ("Error: Cannot find module '../dist/a.js'", 'such as `test = "npm run build && npm test"`'),
        ("fatal: not a git repository (or any parent)", "tests see the files alone"),
        ("failed to fetch `https://github.com/rust-lang/crates.io-index`", "Cargo 1.68 or newer"),
        ("setup failed: No compatible signature found in package metadata", 'COREPACK_INTEGRITY_KEYS = "0"'),
    ],
)
def test_what_is_missing_is_told_with_how_to_name_it(problem: str, how: str) -> None:
    [said] = module.missing_of(Proof(problem=problem), ProjectSettings(), {})
    assert how in said


def test_what_the_repository_has_itself_is_named_by_its_place_and_not_as_a_package_of_that_name() -> None:
    proof = Proof(problem="ModuleNotFoundError: No module named 'sums'")
    [said] = module.missing_of(proof, ProjectSettings(), tree({"python2/sums.py": "", "python3/sums/__init__.py": ""}))
    assert "requirements" not in said
    assert "python2 and python3" in said
    assert 'directory = "python3"' in said
