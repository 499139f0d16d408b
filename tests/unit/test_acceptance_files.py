"""The acceptance files of a brief: merged as given, counted in no budget, and hidden where the brief says so."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from blocks.workshop import Workshop
from domain.brief import Acceptance, AcceptanceFile
from domain.errors import AgentError
from domain.prompts import Material, edit_prompt
from domain.task import Finding, Prepared, Severity
from domain.trees import Tree
from tasks.edit import commit_attempt, with_acceptance
from tasks.security_scan import _of_brief
from tests.unit.policy_cases import PROJECT, head, prepared, tree

PATH = "tests/acceptance/test_search.py"
GIVEN = AcceptanceFile(path=PATH, content="def test_search():\n    assert 1\n")
HIDDEN = AcceptanceFile(path="tests/test_hidden.py", content="def test_secret():\n    assert 1\n", keep=False)
REPLACED = AcceptanceFile(path="tests/test_app.py", content="def test_newer():\n    assert 1\n")


def ready(*files: AcceptanceFile) -> Prepared:
    told = prepared()
    brief = told.brief.model_copy(update={"acceptance": Acceptance(files=files)})
    return told.model_copy(update={"brief": brief})


class Forge:
    """Keeps what is committed; each changed file counts as three lines."""

    def __init__(self) -> None:
        self.made: Tree = {}

    def tree(self, repository: str, commit: str) -> Tree:
        return dict(PROJECT)

    def commit(self, repository: str, base: str, tree: Tree, message: str, author: str) -> tuple[str, str]:
        if tree == PROJECT:
            raise AgentError("the agent changed nothing")
        self.made = tree
        return "c" * 40, "t" * 40

    def changes(self, repository: str, base: str, commit: str) -> tuple[tuple[str, int, int], ...]:
        paths = sorted(p for p in PROJECT.keys() | self.made.keys() if PROJECT.get(p) != self.made.get(p))
        return tuple((path, 2, 1) for path in paths)


def test_what_the_person_gives_is_in_the_commit_and_costs_the_agent_no_lines() -> None:
    forge = Forge()
    shop = cast(Workshop, SimpleNamespace(forge=forge))
    told = ready(GIVEN, HIDDEN, REPLACED)
    made = commit_attempt(shop, told, 1, head({"shop/app.py": "X = 1\n"}))
    assert forge.made[PATH].content == GIVEN.content.encode()
    assert forge.made["tests/test_app.py"].content == REPLACED.content.encode()
    assert HIDDEN.path not in forge.made
    assert (made.changed_paths, made.changed_lines) == (("shop/app.py", PATH, "tests/test_app.py"), 3)
    with pytest.raises(AgentError, match="changed nothing"):
        commit_attempt(shop, told, 1, dict(PROJECT))


def test_what_the_agent_put_in_its_place_stays_for_the_rules_to_see() -> None:
    other = {PATH: "def test_search():\n    pass\n"}
    assert with_acceptance(tree(other), {}, ready(GIVEN).brief) == tree(other)
    for inside in ({"tests/acceptance": "a file\n"}, {f"{PATH}/x.py": "a directory\n"}):
        assert with_acceptance(tree(inside), {}, ready(GIVEN).brief) == tree(inside)


def test_what_a_scanner_says_of_a_given_file_goes_to_a_person_and_not_to_the_agent() -> None:
    brief = ready(GIVEN).brief
    there, altered = tree({PATH: GIVEN.content, "a.py": ""}), tree({PATH: "x\n", "a.py": ""})

    def weighs(path: str | None, files: Tree) -> Severity:
        one = Finding(gate="scan", rule="bandit/B1", severity=Severity.REFUSE, message="weak", path=path)
        return _of_brief(one, brief, files).severity

    assert weighs(PATH, there) is Severity.PERSON
    assert {weighs(PATH, altered), weighs("a.py", there), weighs(None, there)} == {Severity.REFUSE}


def test_the_agent_reads_what_is_given_and_not_what_is_hidden() -> None:
    fields: dict[str, Any] = {"prepared": ready(GIVEN, HIDDEN), "tree": PROJECT}
    text = edit_prompt(Material(**fields))
    assert GIVEN.content.strip() in text
    assert "test_hidden" not in text
    assert "test_secret" not in text
    assert "tests that you are not shown pass" in text
