"""The recorded projects are what they say: real, whole, small, and nothing in the change but upstream's own fix.

Nothing here runs a line of theirs. That the acceptance is red on the older release and green on the newer one is for
the pipeline to find out, in a sandbox.
"""

import json
import os
import subprocess
from pathlib import Path
from urllib.error import HTTPError

import pytest

from domain.brief import Brief
from domain.task import Plan
from kits import sdists
from kits.pypi_projects import PROJECTS, ReleasePair, brief, change, fetch, recorded, repository

CONFIGURES_TESTS = ("conftest.py", "pytest.ini", "setup.cfg", "tox.ini", "pyproject.toml", "noxfile.py")


@pytest.fixture(params=PROJECTS, ids=lambda project: project.name)
def project(request: pytest.FixtureRequest) -> ReleasePair:
    found: ReleasePair = request.param
    try:
        fetch(found)
    except HTTPError:
        raise  # the index answered: a release that is gone is a failure, not a reason to skip
    except OSError as err:
        if "CI" in os.environ:
            raise
        pytest.skip(f"the package index cannot be reached and {found.name} is not in the cache: {err}")
    return found


def git(bare: Path, *arguments: str, index: Path | None = None, stdin: bytes = b"") -> str:
    environment = {"PATH": os.environ["PATH"], "GIT_DIR": str(bare), "GIT_CONFIG_GLOBAL": "/dev/null"}
    if index:
        environment["GIT_INDEX_FILE"] = str(index)
    ran = subprocess.run(["git", *arguments], input=stdin, capture_output=True, check=True, env=environment, cwd=bare)
    return ran.stdout.decode()


def test_the_repository_is_the_older_release_as_one_commit(project: ReleasePair, tmp_path: Path) -> None:
    bare = repository(project, tmp_path / "upstream.git")
    older, _ = fetch(project)
    paths = git(bare, "ls-tree", "-r", "--name-only", "-z", "main").rstrip("\0").split("\0")
    assert git(bare, "rev-list", "--count", "main").strip() == "1"
    assert set(paths) <= older.keys()
    assert not [path for path in paths if "PKG-INFO" in path or ".egg-info/" in path]
    assert all(git(bare, "show", f"main:{path}").encode() == older[path] for path in paths if path.endswith(".py"))


def test_the_same_project_gives_the_same_commit(project: ReleasePair, tmp_path: Path) -> None:
    once, again = (repository(project, tmp_path / name) for name in ("once.git", "again.git"))
    assert git(once, "rev-parse", "main") == git(again, "rev-parse", "main")


def test_the_recorded_patch_makes_the_newer_source_of_the_older_one(project: ReleasePair, tmp_path: Path) -> None:
    bare, index = repository(project, tmp_path / "upstream.git"), tmp_path / "index"
    patch = (recorded(project, tmp_path / "recording") / "attempt-1.patch").read_bytes()
    git(bare, "read-tree", "main", index=index)
    git(bare, "apply", "--cached", "--whitespace=nowarn", "-", index=index, stdin=patch)
    for path, content in change(project).items():
        assert content is not None
        assert git(bare, "show", f":{path}", index=index).encode() == content
    touched = git(bare, "diff", "--cached", "--name-only", "main", index=index).split()
    assert touched == list(change(project))


def test_the_change_holds_no_test_and_no_test_configuration(project: ReleasePair) -> None:
    names = [path.rsplit("/", 1)[-1] for path in change(project)]
    assert not [path for path in change(project) if path.startswith(f"{project.tests}/")]
    assert not [
        name for name in names if name in CONFIGURES_TESTS or name.startswith("test_") or name.endswith(".lock")
    ]
    assert [name for name in names if name.endswith(".py")], "a fix changes source, not only words"


def test_the_change_is_text_and_fits_its_scope(project: ReleasePair, tmp_path: Path) -> None:
    lines = (recorded(project, tmp_path / "recording") / "attempt-1.patch").read_text().splitlines()
    changed = [line for line in lines if line[:1] in "+-" and line[:4] not in ("+++ ", "--- ") and line]
    assert 0 < len(changed) <= brief(project, tmp_path).scope.max_changed_lines


def test_the_acceptance_is_the_newer_release_and_not_what_is_there_already(
    project: ReleasePair, tmp_path: Path
) -> None:
    older, newer = fetch(project)
    for file in brief(project, tmp_path).acceptance.files:
        assert file.content.encode() == newer[file.path] != older.get(file.path)
    for test in project.expected_red:
        path, *_, name = test.split("::")
        assert path in project.acceptance
        assert f"def {name}(".encode() in newer[path]


def test_the_brief_survives_the_way_through_the_api(project: ReleasePair, tmp_path: Path) -> None:
    asked = brief(project, tmp_path / "upstream.git")
    assert Brief.model_validate_json(asked.model_dump_json()) == asked
    assert (asked.environment, asked.budget.attempts, asked.goal.count("`") % 2) == (None, 1, 0)


def test_the_recording_says_that_it_is_one(project: ReleasePair, tmp_path: Path) -> None:
    at = recorded(project, tmp_path / project.name)
    plan = Plan.model_validate(json.loads((at / "plan.json").read_text()))
    assert plan.paths == tuple(change(project))
    assert not plan.questions
    assert all("recording of upstream's own fix" in said for said in (plan.steps[0], (at / "attempt-1.md").read_text()))


def test_an_archive_in_the_cache_that_was_tampered_with_is_not_used(
    project: ReleasePair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{project.name}-{project.older_sha256}.tar.gz").write_bytes(b"something else")
    monkeypatch.setenv("LOCKGATE_TEST_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(OSError):
        sdists.files(project.name, project.older_sha256)
