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


ADDRESSES = ("https://h:99999/simple", "https://h:x/simple", "https://[x/simple", "https://a:b@h\u2100/simple")


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("pyproject.toml", '[[tool.uv.index]]\nurl = "{}"\n'),
        ("pyproject.toml", '[[tool.poetry.source]]\nname = "a"\nurl = "{}"\n'),
        ("pyproject.toml", '[[tool.pdm.source]]\nurl = "{}"\n'),
        ("uv.toml", 'extra-index-url = ["{}"]\n'),
        ("pip.conf", "[global]\nindex-url = {}\n"),
        ("requirements.txt", "--index-url {}\n"),
        ("Pipfile.lock", '{{"_meta": {{"sources": [{{"url": "{}"}}]}}, "default": {{}}}}'),
        ("uv.lock", '[[package]]\nname = "a"\nsource = {{registry = "{}"}}\n'),
    ],
)
def test_an_index_whose_address_cannot_be_read_is_refused_with_its_file(path: str, content: str, address: str) -> None:
    lock = path if path.endswith(".lock") else None
    files = (path,) if path == "requirements.txt" else ()
    settings = ProjectSettings(lock=lock, requirement_files=files, requirements=("a",))
    with pytest.raises(InputError, match=f"^{path} names a package index") as told:
        asked(tree({"pyproject.toml": "", path: content.format(address)}), settings)
    assert "a:b" not in str(told.value)


@pytest.mark.parametrize("odd", ['["x"]', "{a = 1}", "1", "[[1]]"])
def test_the_name_of_an_index_that_is_none_is_no_crash(odd: str) -> None:
    uv = f'[tool.uv]\nsources.a = {{index = {odd}}}\nindex = [{{name = {odd}, url = "https://h/x", explicit = true}}]\n'
    poetry = f'[tool.poetry]\ndependencies.a = {{source = {odd}}}\nsource = [{{name = {odd}, url = "https://h/x"}}]\n'
    for content in (uv, poetry, poetry.replace('"https://h/x"', '"https://h/x", priority = "explicit"')):
        found = asked(tree({"pyproject.toml": content}), ProjectSettings(requirements=("a",))).indexes
        assert [one.url for one in found] == ["https://h/x"]


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
