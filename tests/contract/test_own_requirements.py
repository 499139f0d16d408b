"""A change that brings a dependency is tested with it, once no rule refuses it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blocks.workshop import Workshop
from domain.trees import Tree, TreeEntry
from kits.briefs import FILES, repository
from tests.contract.by_steps import a_workshop, brief, entry, gated, prepared_by

LOCKED = {
    **FILES,
    "lockgate.toml": 'lock = "requirements.txt"\ntest = "python -m pytest -q"\n',
    "requirements.txt": "pytest==9.2.0\n",
}
WITH_SIX = "\n\nimport six\n\n\ndef double(a):\n    return 2 * six.integer_types[0](a)\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with a_workshop(tmp_path_factory.mktemp("home")) as made:
        yield made


def brings(line: str, code: str) -> Callable[[Tree], Tree]:
    def change(tree: Tree) -> Tree:
        lines = tree["requirements.txt"].content.decode() + line
        return {
            **tree,
            "requirements.txt": entry(lines),
            "sums.py": TreeEntry(0o100644, tree["sums.py"].content + code.encode()),
        }

    return change


def test_a_dependency_that_no_rule_refuses_is_there_for_the_tests(shop: Workshop, tmp_path: Path) -> None:
    at = repository(tmp_path / "six.git", LOCKED)
    ready = prepared_by("own-six", brief(at))
    with_six = brings("six==1.17.0\n", WITH_SIX)
    seen = gated(shop, ready, lambda tree: {**with_six(tree), "jest.config.js": entry("")})
    rows = {row.test: (row.base, row.head) for row in seen.tested.rows if row.kind == "acceptance"}
    assert {str(head) for _, head in rows.values()} == {"passed"}, seen.tested
    assert not seen.verdict.is_refused, seen.verdict.reasons
    assert any(reason.startswith("jest.config.js: tested without this file") for reason in seen.verdict.reasons)


DYNAMIC = {
    **FILES,
    "lockgate.toml": 'install = true\nrequirements = ["pytest==9.2.0"]\ntest = "python -m pytest -q"\n',
    "pyproject.toml": '[project]\nname = "sums"\nversion = "1"\ndynamic = ["dependencies"]\n[tool.setuptools]\n'
    'py-modules = ["sums"]\n[tool.setuptools.dynamic]\ndependencies = {file = "needs.lst"}\n[build-system]\n'
    'requires = ["setuptools==80.9.0"]\nbuild-backend = "setuptools.build_meta"\n',
    "needs.lst": "iniconfig\n",
}


def test_a_dependency_of_a_list_by_any_name_is_installed_and_told_and_one_that_code_computes_is_refused(
    shop: Workshop, tmp_path: Path
) -> None:
    at = repository(tmp_path / "dynamic.git", DYNAMIC)
    ready = prepared_by("own-dynamic", brief(at))

    def lists(tree: Tree) -> Tree:
        code = entry(tree["sums.py"].content.decode() + WITH_SIX)
        return {**tree, "needs.lst": entry("iniconfig\nsix==1.17.0\n"), "sums.py": code}

    seen = gated(shop, ready, lists)
    assert seen.verdict.decision == "needs a person", seen.verdict.reasons
    assert {"dependencies", "installed-anew"} <= set(seen.verdict.rules)
    assert "needs.lst: what is installed is changed" in " ".join(seen.verdict.reasons)
    assert "six==1.17.0 is installed for the change, and not for base" in " ".join(seen.verdict.reasons)

    def computes(tree: Tree) -> Tree:
        text = tree["pyproject.toml"].content.decode().split("[tool.setuptools.dynamic]")[0]
        text += DYNAMIC["pyproject.toml"][DYNAMIC["pyproject.toml"].index("[build-system]") :]
        code = "from setuptools import setup\nsetup(install_requires=['iniconfig', ''.join(['s', 'ix'])])\n"
        return {**lists(tree), "needs.lst": tree["needs.lst"], "pyproject.toml": entry(text), "setup.py": entry(code)}

    refused = gated(shop, ready, computes).verdict
    assert refused.is_refused
    assert "computes when it is built that it needs six" in " ".join(refused.reasons)


def test_a_dependency_that_a_rule_refuses_is_never_fetched(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = repository(tmp_path / "missing.git", LOCKED)
    ready = prepared_by("own-missing", brief(at))
    asked: list[tuple[str, ...]] = []
    ensure = type(shop.toolchains).ensure

    def noted(self: object, wanted: tuple[str, ...], sandbox: object, **more: object) -> Path:
        asked.append(wanted)
        return ensure(self, wanted, sandbox, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(shop.toolchains), "ensure", noted)
    seen = gated(shop, ready, brings("six==99.98.97\n", WITH_SIX))
    assert seen.verdict.is_refused
    assert any("six" in reason for reason in seen.verdict.reasons)
    assert asked
    assert not [wanted for wanted in asked if "six==99.98.97" in wanted]
