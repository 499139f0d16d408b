"""Briefs from files: what is pulled in from beside them, what replaces what, and errors that name file and field."""

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from domain.brief import Brief
from domain.errors import InputError
from domain.project import ProjectSettings
from flows.briefs import read_brief

HEAD = 'title = "Add a search"\ngoal = "Search finds things"\n'
PLAIN = HEAD + 'repository = "shop.git"\n[acceptance]\ncommand = "grep search shop.py"\n'


def written(folder: Path, text: str | bytes, name: str = "brief.toml") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_toml_and_json_give_the_same_brief(tmp_path: Path) -> None:
    data = {"title": "Add a search", "goal": "Search finds things", "repository": "shop.git",
            "acceptance": {"command": "grep search shop.py"}}  # fmt: skip
    toml = read_brief(written(tmp_path, PLAIN))
    assert toml == read_brief(written(tmp_path, json.dumps(data), "brief.json"))
    assert (toml.title, toml.acceptance.command, toml.budget.attempts) == ("Add a search", "grep search shop.py", 3)


def test_files_are_pulled_in_from_beside_the_brief(tmp_path: Path) -> None:
    written(tmp_path, "def test_ü(): ...\n", "tests/search.py")
    added = '[[acceptance.files]]\npath = "tests/test_search.py"\nfrom = "tests/search.py"\n'
    direct = '[[acceptance.files]]\npath = "tests/data.txt"\ncontent = "1"\n'
    files = read_brief(written(tmp_path, f'{HEAD}repository = "x"\n{added}{direct}')).acceptance.files
    assert [(file.path, file.content) for file in files] == [
        ("tests/test_search.py", "def test_ü(): ...\n"),
        ("tests/data.txt", "1"),
    ]


def test_project_settings_are_pulled_in_from_beside_the_brief(tmp_path: Path) -> None:
    written(tmp_path, 'test = "make check"\n', "shop.toml")
    brief = read_brief(written(tmp_path, f'project_file = "shop.toml"\n{PLAIN}'))
    assert brief.project == ProjectSettings(test="make check")


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("shop.git", "{folder}/shop.git"),
        (".", "{folder}"),
        ("../shop.git", "{above}/shop.git"),
        ("/srv/shop.git", "/srv/shop.git"),
        ("https://example.org/shop.git", "https://example.org/shop.git"),
        ("file:///srv/shop.git", "file:///srv/shop.git"),
        ("ssh://git@example.org/shop.git", "ssh://git@example.org/shop.git"),
        ("git@example.org:shop.git", "git@example.org:shop.git"),
    ],
)
def test_a_repository_that_is_a_path_is_taken_relative_to_the_brief(tmp_path: Path, named: str, meant: str) -> None:
    file = written(tmp_path / "briefs", PLAIN.replace("shop.git", named, 1))
    expected = meant.format(folder=tmp_path / "briefs", above=tmp_path)
    assert read_brief(file).repository == expected
    assert read_brief(file, repository=None).repository == expected, "nothing was given instead"


def test_what_is_given_on_the_command_line_replaces_what_the_brief_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "briefs", f'environment = "shop"\n{PLAIN}')
    monkeypatch.chdir(tmp_path)
    given = read_brief(file, repository="other.git", agent="replay/shop", environment=None)
    assert given.repository == str(tmp_path / "other.git"), "relative to where the person stands"
    assert (given.agent, given.environment) == ("replay/shop", "shop")
    assert read_brief(file, repository="https://example.org/x").repository == "https://example.org/x"


FILE_IN = f'{HEAD}repository = "x"\n[[acceptance.files]]\npath = "tests/test_a.py"\n'
WRONG: dict[str, tuple[str, str | bytes, str]] = {
    "not TOML": ("a.toml", "title = ", "not valid TOML"),
    "not JSON": ("a.json", "{", "not valid JSON"),
    "JSON without end": ("a.json", "[" * 100_000, "not valid JSON"),
    "not a table": ("a.json", "[1]", "not a list"),
    "not UTF-8": ("a.toml", b'title = "\xff"', "cannot be read"),
    "nothing": ("a.toml", "", "title: Field required"),
    "a misspelt field": ("a.toml", "acceptanse = 1\n" + PLAIN, "acceptanse: Extra inputs"),
    "a misspelt field inside": ("a.toml", PLAIN + "commands = 1\n", r"acceptance\.commands: Extra inputs"),
    "a wrong type": ("a.toml", PLAIN + "[budget]\nattempts = 0\n", r"budget\.attempts"),
    "two faults": ("a.toml", 'title = ""\nrepository = "x"\n[acceptance]\n', "title: .*; goal: "),
    "acceptance of a wrong type": ("a.toml", f'{HEAD}repository = "x"\nacceptance = 3\n', "acceptance"),
    "files of a wrong type": ("a.toml", f'{HEAD}repository = "x"\n[acceptance]\nfiles = 3\n', r"acceptance\.files"),
    "a file above": ("in/a.toml", FILE_IN + 'from = "../encryption-key"\n', "lies outside of"),
    "a file by its whole path": ("in/a.toml", FILE_IN + 'from = "/etc/hostname"\n', "lies outside of"),
    "a file behind a link": ("in/a.toml", FILE_IN + 'from = "link"\n', "lies outside of"),
    "a device": ("in/a.toml", FILE_IN + 'from = "pipe"\n', "it is no file"),
    "settings above": ("in/a.toml", f'project_file = "../typo.toml"\n{PLAIN}', "lies outside of"),
    "a token in the URL": ("a.toml", PLAIN.replace("shop.git", "https://x:s3cret@h/x", 1), "repository: .*block"),
    "a glob without end": ("a.toml", PLAIN + f'[scope]\npaths = ["{"**/" * 500}"]\n', r"scope\.paths\.0.*at most 400"),
    "a file of a wrong type": ("a.toml", f'{HEAD}repository = "x"\n[acceptance]\nfiles = [3]\n', r"files\.0"),
    "a path outside": ("a.toml", FILE_IN.replace("tests/", "../") + 'content = ""\n', "must be a relative path"),
    "a file that is not there": ("a.toml", FILE_IN + 'from = "nowhere.py"\n', r"nowhere\.py: cannot be read"),
    "a file that is a directory": ("a.toml", FILE_IN + 'from = "."\n', "cannot be read"),
    "a file without a name": ("a.toml", FILE_IN + "from = 3\n", "3 is not the name of a file"),
    "a file with a name that no file has": ("a.toml", FILE_IN + 'from = "a\\u0000"\n', "cannot be read"),
    "a file without content": ("a.toml", FILE_IN, r"acceptance\.files\.0\.content: Field required"),
    "settings that are not there": ("a.toml", f'project_file = "no.toml"\n{PLAIN}', r"no\.toml: cannot be read"),
    "settings without a name": ("a.toml", f"project_file = [1]\n{PLAIN}", "not the name of a file"),
    "settings that are not TOML": ("a.toml", f'project_file = "broken.toml"\n{PLAIN}', r"project_file broken\.toml"),
    "settings with a misspelt field": ("a.toml", f'project_file = "typo.toml"\n{PLAIN}', r"project.*tset"),
    "a repository that is no path": ("a.toml", PLAIN.replace("shop.git", "a\\u0000b", 1), "is not a path"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_brief_is_said_with_its_file_and_field(tmp_path: Path, name: str) -> None:
    written(tmp_path, "test = ", "broken.toml")
    written(tmp_path, 'tset = "x"', "typo.toml")
    written(tmp_path, "secret", "encryption-key")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "encryption-key")
    os.mkfifo(tmp_path / "in" / "pipe")
    file_name, text, told = WRONG[name]
    with pytest.raises(InputError, match=told) as caught:
        read_brief(written(tmp_path, text, file_name))
    assert file_name in str(caught.value) or "repository" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_brief_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml: cannot be read"):
        read_brief(tmp_path / "nowhere.toml")


def test_the_examples_brief_is_one(tmp_path: Path) -> None:
    overrides: dict[str, Any] = {"repository": str(tmp_path / "shop.git")}
    brief = read_brief(Path(__file__).parents[2] / "examples" / "shop" / "brief.toml", **overrides)
    assert brief.acceptance.files[0].content.strip()


@pytest.mark.parametrize(
    ("repository", "is_fine"),
    [
        ("https://ghp_token@example.org/shop.git", False),
        ("HTTPS://ann:token@example.org/shop.git", False),
        ("https://ann:to/ken@example.org/shop.git", False),
        ("ssh://git:password@example.org/shop.git", False),
        ("ftp://ann:token@example.org/shop.git", False),
        ("ann:token@example.org/shop.git", False),
        ("https://example.org/shop.git?private_token=x", False),
        (" https://ann:token@example.org/shop.git", False),
        ("https:/ann:token@example.org/shop.git", False),
        ("https://oauth2%3Atoken%40example.org/shop.git", False),
        ("https://example.org/ghp_0123456789abcdefghijABCDEFGHIJ/shop.git", False),
        ("ssh://glpat-0123456789abcdefghij@example.org/shop.git", False),
        ("https://example.org:8443/~ann/shop.git", True),
        ("/srv/ghp_tools/shop.git", True),
        ("ssh://git@example.org:22/shop.git", True),
        ("git@example.org:ann/shop.git", True),
        ("/srv/a:b@c/shop.git", True),
    ],
)
def test_no_secret_in_a_repositorys_address_gets_past_the_schema_or_the_brief(repository: str, is_fine: bool) -> None:
    data = {"title": "Add a search", "goal": "x", "repository": repository, "acceptance": {}}
    assert jsonschema.Draft202012Validator(Brief.model_json_schema()).is_valid(data) == is_fine
    if is_fine:
        assert Brief.model_validate(data).repository == repository
    else:
        with pytest.raises(ValidationError) as caught:
            Brief.model_validate(data)
        assert "token" not in str(caught.value).replace("password or token", "").replace("keep the token", "")
