"""The example's brief is a brief, its patches apply, and each attempt is as large and as careful as its story says."""

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from domain.brief import Brief
from domain.project import ProjectSettings
from domain.task import Plan

SHOP = Path(__file__).parents[2] / "examples" / "shop"


def read_brief() -> Brief:
    data: dict[str, Any] = tomllib.loads((SHOP / "brief.toml").read_text())
    for file in data["acceptance"]["files"]:
        file["content"] = (SHOP / file.pop("from")).read_text()
    return Brief.model_validate(data)


def git(repository: Path, *args: str) -> str:
    """Runs git with nobody's configuration, so the machine's own settings cannot change the outcome."""
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *args], check=False, cwd=repository, env=env, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def patch(attempt: int) -> Path:
    return SHOP / "attempts" / f"attempt-{attempt}.patch"


def changes(repository: Path, attempt: int) -> dict[str, int]:
    """Path → added plus removed lines."""
    rows = (line.split("\t") for line in git(repository, "apply", "--numstat", str(patch(attempt))).splitlines())
    return {path: int(added) + int(removed) for added, removed, path in rows}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", "shop.db")
    copy = Path(shutil.copytree(SHOP / "repository", tmp_path / "shop", ignore=ignored))
    git(copy, "init", "--quiet")
    return copy


def test_the_brief_is_valid_and_carries_its_acceptance_test() -> None:
    brief = read_brief()
    assert (brief.title, brief.agent, brief.environment) == ("Add a /v2/search endpoint", "replay/shop", "shop")
    [file] = brief.acceptance.files
    assert file.path == "tests/acceptance/test_v2_search.py"
    assert "/v2/search" in file.content


def test_the_settings_name_pinned_requirements_and_every_command() -> None:
    settings = ProjectSettings.model_validate(tomllib.loads((SHOP / "repository" / "lockgate.toml").read_text()))
    assert settings.requirements and all("==" in line for line in settings.requirements)
    assert settings.lint and settings.migrate and settings.migrate.down
    assert settings.run and "{port}" in settings.run
    assert settings.release_environment == {"SHOP_ENV": "production"}


def test_the_plan_is_valid_and_asks_for_nothing_new() -> None:
    plan = Plan.model_validate(json.loads((SHOP / "attempts" / "plan.json").read_text()))
    assert plan.steps and not (plan.dependencies or plan.migrations or plan.questions)


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_each_patch_applies_to_the_base_and_has_a_message(repository: Path, attempt: int) -> None:
    git(repository, "apply", "--check", str(patch(attempt)))
    assert patch(attempt).with_suffix(".md").read_text().strip()


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_each_patch_stays_in_the_paths_of_the_brief(repository: Path, attempt: int) -> None:
    assert read_brief().scope.paths == ("shop/**", "tests/**")
    assert all(path.startswith(("shop/", "tests/")) for path in changes(repository, attempt))


def test_attempt_1_is_over_the_budget_and_skips_an_existing_test(repository: Path) -> None:
    assert sum(changes(repository, 1).values()) > 2 * read_brief().scope.max_changed_lines
    assert (repository / "tests/test_search.py").exists()
    git(repository, "apply", str(patch(1)))
    assert "@pytest.mark.skip" in (repository / "tests/test_search.py").read_text()


@pytest.mark.parametrize("attempt", [2, 3])
def test_the_later_attempts_are_within_the_budget_and_leave_existing_files_in_tests_alone(
    repository: Path, attempt: int
) -> None:
    changed = changes(repository, attempt)
    assert sum(changed.values()) <= read_brief().scope.max_changed_lines
    tests = {path for path in changed if path.startswith("tests/")}
    assert tests and not any((repository / path).exists() for path in tests)


@pytest.mark.parametrize("attempt", [2, 3])
def test_the_later_attempts_change_just_what_the_plan_names(repository: Path, attempt: int) -> None:
    plan = Plan.model_validate(json.loads((SHOP / "attempts" / "plan.json").read_text()))
    assert tuple(sorted(changes(repository, attempt))) == plan.paths


def test_only_attempt_2_needs_a_setting_that_production_lacks() -> None:
    settings = tomllib.loads((SHOP / "repository" / "lockgate.toml").read_text())
    assert "SHOP_SYNONYMS_FILE" not in settings["release_environment"]
    refusal = "SHOP_SYNONYMS_FILE is not set"
    assert [refusal in patch(attempt).read_text() for attempt in (1, 2, 3)] == [False, True, False]
