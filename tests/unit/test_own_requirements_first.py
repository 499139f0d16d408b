"""What a change wants built anew is judged before any of it is fetched."""

from types import SimpleNamespace
from typing import Any

import pytest

from domain.errors import InputError
from domain.project import ProjectSettings
from domain.task import Severity
from domain.toolchain import BuiltProject
from tasks.room import own_requirements
from tasks.room.requirements import _refuse_computed, names_of, needs_build
from tests.unit.policy_cases import PROJECT, attempt, prepared, tree

BUILT = BuiltProject(directory="", name="shop", filename="shop-1-py3-none-any.whl", wheel="w", roots=(), sources=())


def shop(severity: Severity) -> Any:
    found = SimpleNamespace(severity=severity)
    scanner = SimpleNamespace(name="dependencies", scan=lambda *_: (found,))
    return SimpleNamespace(scanners_for=lambda _: (scanner,), dependencies=scanner)


def test_a_refused_change_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    monkeypatch.setattr(own_requirements, "needs_build", lambda *_: True)
    monkeypatch.setattr(own_requirements, "installation", lambda *given: fetched.append(given) or ((), ()))
    monkeypatch.setattr(own_requirements, "toolchain_of", lambda *_: None)
    monkeypatch.setattr(own_requirements, "_refuse_takeovers", lambda *_: None)
    ready = prepared().model_copy(update={"projects": (BUILT,), "requirements": ("a==1",)})
    given = (ready, attempt(PROJECT), PROJECT, {**PROJECT})
    assert own_requirements.with_its_own(shop(Severity.REFUSE), *given) == (ready, "")
    assert fetched == []
    monkeypatch.setattr(
        own_requirements,
        "installation",
        lambda *given: fetched.append(given) or SimpleNamespace(requirements=("b==1",), projects=(BUILT,)),
    )
    made = own_requirements.with_its_own(shop(Severity.PERSON), *given).prepared
    assert (made.requirements, len(fetched)) == (("b==1",), 1)


def test_what_cannot_be_read_of_what_a_change_wants_is_told_unless_a_rule_refuses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unread(*_: object) -> None:
        raise InputError("the option '--odd' is not known here")

    monkeypatch.setattr(own_requirements, "needs_build", lambda *_: False)
    monkeypatch.setattr(own_requirements, "installation", unread)
    ready = prepared()
    given = (ready, attempt(PROJECT), PROJECT, {**PROJECT})
    assert own_requirements.with_its_own(shop(Severity.REFUSE), *given) == (ready, "")
    told = own_requirements.with_its_own(shop(Severity.PERSON), *given)
    assert told == (ready, "the option '--odd' is not known here")


def test_what_a_build_computes_is_asked_for_if_base_has_it_or_the_tree_declares_it() -> None:
    known = names_of(("Pytest==9 --hash=sha256:0", "-c flask>1"), (BUILT.model_copy(update={"needs": ("hatchling",)}),))
    assert known == {"pytest", "flask", "shop", "hatchling"}
    declares = tree(
        {"pyproject.toml": '[project]\nname = "shop"\ndependencies = ["six>1"]', "requirements/web.txt": "a-b  # why\n"}
    )
    _refuse_computed(declares, "", ["flask", "six", "A_b>1 ; python_version > '3'"], known)
    listed = {
        "pyproject.toml": '[project]\nname = "shop"\ndynamic = ["dependencies"]\n',
        "setup.py": "setup(install_requires=['six'])",
    }
    _refuse_computed(tree({**listed, "dev-requirements.txt": "mock \\\n >1\n"}), "", ["six", "mock"], known)
    for line in ("shop-key-12345", "six\n shop-key-12345"):
        with pytest.raises(InputError, match="shop-key-12345"):
            _refuse_computed(declares, "", ["six", line], known)


def test_a_project_is_built_anew_if_a_list_that_it_names_changes_wherever_it_lies() -> None:
    base = tree(
        {"setup.cfg": "[options]\ninstall_requires = file: docs/needs.md\n", "docs/needs.md": "", "docs/a.md": ""}
    )
    for path, is_built in (("docs/needs.md", True), ("docs/a.md", False)):
        assert needs_build((BUILT,), ProjectSettings(), base, {**base, **tree({path: "six\n"})}) is is_built
