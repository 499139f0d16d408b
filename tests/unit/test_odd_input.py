"""Files that nobody would write by hand, as a hostile change or a broken tool writes them: a reason, never a crash."""

import contextlib
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from blocks import kept
from domain.detect import detect
from domain.detect.asked import asked
from domain.errors import InputError
from domain.policy.change import Change
from domain.policy.change_tests import TEST_RULES
from domain.policy.rule import apply
from domain.project import ProjectSettings
from tests.unit.policy_cases import attempt, prepared, tree

DEEP = "[" * 5000 + "]" * 5000


@pytest.mark.parametrize(
    "files",
    [
        *(
            {"pyproject.toml": f"a = {DEEP}\n"},
            {"package.json": DEEP},
            {"mise.toml": f"a = {DEEP}", "package.json": "{}"},
        ),
        *({"setup.py": f"x = {'-' * 20_000}1\n"}, {"noxfile.py": f"x = {'-' * 20_000}1\n"}),
    ],
    ids=lambda files: next(iter(files)),
)
def test_files_that_are_too_deep_are_not_read(files: dict[str, str]) -> None:
    found = tree({**files, "tests/test_a.py": "def test_a(): pass\n"})
    settings = detect(found).settings
    with contextlib.suppress(InputError):  # a reason
        asked(found, settings)


@pytest.mark.parametrize(
    ("lock", "content"),
    [
        ("Pipfile.lock", '{"default": {"a": 1}, "develop": []}'),
        ("poetry.lock", "package = [1, 2]\n"),
        ("pdm.lock", "package = 1\n"),
        ("pylock.toml", "packages = [{name = 'a', wheels = 1}]\n"),
    ],
)
def test_a_lock_that_no_tool_makes_is_refused_with_its_name(lock: str, content: str) -> None:
    with pytest.raises(InputError, match=lock):
        asked(tree({lock: content, "pyproject.toml": "[project]\nname = 'a'\n"}), ProjectSettings(lock=lock))


def test_an_existing_entry_point_in_the_tree_is_no_way_to_a_plugin() -> None:
    path = "shop.egg-info/entry_points.txt"
    base, head = tree({path: "[console_scripts]\n"}), tree({path: "[pytest11]\nx = shop.app\n"})
    done = attempt(head).model_copy(update={"changed_paths": (path,)})
    assert [one.rule for one in apply(TEST_RULES, Change(prepared(), done, base, head))] == ["test-shadow"]


def test_a_copy_of_the_blocks_that_cannot_be_opened_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    (tmp_path / "credentials").mkdir()
    for _ in range(2):
        (tmp_path / "credentials" / "encryption-key").write_bytes(Fernet.generate_key())
        kept.keep({"a/b": {"x": 1}})
        assert kept.fields("a", "b") == {"x": 1}
