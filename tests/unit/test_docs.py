"""Docs that can be tested are: what they name exists, and the other way round."""

import re
from pathlib import Path

import typer.main

from docs.fields import settings
from domain.brief import Brief
from domain.project import ProjectSettings
from station.cli import app

PROJECT = Path(__file__).parents[2]


def test_the_list_of_settings_is_the_models() -> None:
    assert (PROJECT / "docs" / "settings.md").read_text() == settings(), "run python -m docs.fields > docs/settings.md"


def test_every_setting_of_a_project_and_a_brief_says_what_it_is() -> None:
    for model in (ProjectSettings, Brief):
        assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_every_command_and_flag_in_the_readme_exists() -> None:
    text = (PROJECT / "README.md").read_text() + (PROJECT / "docs" / "operating.md").read_text()
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = re.findall(r"lockgate ([a-z-]+)((?: [^`\n]*)?)`", text)
    assert named
    for command, rest in named:
        assert command in commands, command
        flags = {option for parameter in commands[command].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= flags, rest


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z][a-z-]+)", (PROJECT / "README.md").read_text())):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_link_in_the_docs_leads_somewhere() -> None:
    for page in (*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")):
        for link in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_each_argument_of_a_command_is_explained_where_it_stands() -> None:
    page = (PROJECT / "docs" / "settings.md").read_text()
    commands = page[page.index("### `lockgate ") :]
    assert [line for line in commands.splitlines() if line.endswith((": None", ": see above"))] == []
