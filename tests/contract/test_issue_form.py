"""The issue form that `lockgate init --forge` writes is one to GitHub, and what it renders is a brief to us."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from check_jsonschema import builtin_schemas
from jsonschema_rs import Draft7Validator
from typer.testing import CliRunner

from domain.errors import InputError
from station.cli import app
from station.issue_form import AT_GITLAB, FORM, PLACE, TEMPLATE, write_form
from tests.unit.test_issues import brief, read


def rendered(**filled: str) -> str:
    """As GitHub renders it: the label as a heading, `_No response_` for what was left empty."""
    form: Any = yaml.safe_load(FORM)
    fields = [one for one in form["body"] if one["type"] != "markdown"]
    assert set(filled) <= {one["id"] for one in fields}
    return "\n\n".join(
        f"### {one['attributes']['label']}\n\n{filled.get(one['id'], '_No response_')}" for one in fields
    )


def test_it_is_an_issue_form_to_github() -> None:
    schema = resources.files(builtin_schemas) / "vendor" / "github-issue-forms.json"
    assert list(Draft7Validator(json.loads(schema.read_text())).iter_errors(yaml.safe_load(FORM))) == []
    assert "labels" not in yaml.safe_load(FORM), "GitHub would put them on in the name of whoever opens the issue"


def test_what_it_renders_is_a_brief() -> None:
    (box,) = (one["attributes"]["value"] for one in yaml.safe_load(FORM)["body"] if one.get("id") == "acceptance")
    test = box.replace("NAME.py\n", "double.py\nimport sums\n\n\ndef test_double():\n    assert sums.double(4) == 8")
    found = brief(
        rendered(goal="`double(a)` returns twice `a`", acceptance=test, scope="`sums.py`", environment="none")
    )
    assert found.acceptance.files[0].path == "tests/acceptance/test_double.py"
    assert (found.scope.paths, found.environment, found.scope.max_changed_lines) == (("sums.py",), None, 400)


def test_its_box_as_it_was_given_is_no_test() -> None:
    (box,) = (one["attributes"]["value"] for one in yaml.safe_load(FORM)["body"] if one.get("id") == "acceptance")
    assert read(rendered(goal="`double(a)` returns twice `a`", acceptance=box)).brief is None


def test_gitlab_gets_a_template_with_the_same_headings_which_is_a_brief_when_it_is_filled_in(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitlab-ci.yml").write_text("test: {script: make test}\n")
    assert str(AT_GITLAB) in write_form(str(tmp_path))
    text = (tmp_path / AT_GITLAB).read_text()
    labels = [one["attributes"]["label"] for one in yaml.safe_load(FORM)["body"] if "label" in one["attributes"]]
    assert text == TEMPLATE and [line[4:] for line in text.splitlines() if line.startswith("### ")] == labels
    empty = read(text)
    assert empty.brief is None and empty.hidden == ()
    test = text.replace("NAME.py\n", "double.py\nimport sums\n\n\ndef test_double():\n    assert sums.double(4) == 8")
    found = brief(test.replace("### Goal\n", "### Goal\n\n`double(a)` returns twice `a`"))
    assert found.acceptance.files[0].path == "tests/acceptance/test_double.py" and found.scope.paths == ()


def test_it_is_written_into_a_work_tree_once_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "shop" / ".git").mkdir(parents=True)
    said = CliRunner().invoke(app, ["init", str(tmp_path / "shop"), "--forge"])
    assert said.exit_code == 0 and "commit it" in said.output, said.output
    assert (tmp_path / "shop" / PLACE).read_text() == FORM
    with pytest.raises(InputError, match="there already"):
        write_form(str(tmp_path / "shop"))
    assert write_form("https://github.com/acme/shop.git") == FORM
    (tmp_path / "trap" / ".git").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "trap" / ".github").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="leads out"):
        write_form(str(tmp_path / "trap"))
    assert list((tmp_path / "elsewhere").iterdir()) == []
