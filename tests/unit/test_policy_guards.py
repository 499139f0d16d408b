"""Functions that decide what is let through, and programs that builds run: what a person is asked to look at."""

import pytest

from domain.policy import change_findings
from domain.trees import Tree
from tests.unit.policy_cases import PROJECT, attempt, prepared, tree

CODE = """import hmac


def same(a, b):
    return hmac.compare_digest(a, b)


def is_safe_path(path):
    return ".." not in path


def send(path):
    if not is_safe_path(path):
        return Response(403, "no")
    return Response(200, path)


class Signer:
    def unsign(self, text):
        if not text:
            raise BadSignature(text)
        return text


def base_name(name):
    # avoid directory traversal
    return name.rpartition("/")[2]


class Client:
    @property
    def auth(self):
        return self._auth


def total(items):
    \"\"\"A total.\"\"\"
    return sum(items)
"""
BASE = {
    **PROJECT,
    **tree(
        {
            "shop/code.py": CODE,
            "scripts/check.sh": "set -e\npytest\n",
            "scripts/other.sh": "pytest\n",
            "docs/conf.py": "project = 'shop'\n",
            ".readthedocs.yml": "sphinx:\n  configuration: docs/conf.py\n",
            "docs/deploy.sh": "set -e\nscp -r site docs.example.org:\n",
            ".github/workflows/ci.yml": "run: bash scripts/check.sh && docs/deploy.sh\n",
        }
    ),
}


def rules(base: Tree, head: Tree) -> set[str]:
    found = {finding.rule for finding in change_findings(prepared(), attempt(head), base, head)}
    return found & {"guards", "build-files", "test-shadow"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("compare_digest(a, b)", "compare_digest(a[:8], b[:8])"),
        ('return ".." not in path', "return True"),
        ("if not is_safe_path(path)", "if not path"),
        ("if not text:", "if text is None:"),
        ('name.rpartition("/")[2]', "name"),
        ("def same(a, b):\n    return hmac.compare_digest(a, b)\n", ""),
    ],
)
def test_what_decides_what_is_let_through_is_looked_at(old: str, new: str) -> None:
    assert old in CODE
    assert rules(BASE, {**BASE, **tree({"shop/code.py": CODE.replace(old, new)})}) == {"guards"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return sum(items)", "return sum(items) + 1"),
        ("return self._auth", "return self._auth or None"),
        ("import hmac\n", "import hmac\n\n\ndef verify(a):\n    return bool(a)\n"),
        ('    """A total."""\n', '    """The total of all."""\n'),
        ("def is_safe_path(path):", "# what is safe\ndef is_safe_path(path: str) -> bool:"),
    ],
)
def test_what_else_is_changed_or_new_is_not(old: str, new: str) -> None:
    assert old in CODE
    assert rules(BASE, {**BASE, **tree({"shop/code.py": CODE.replace(old, new)})}) == set()


def test_a_program_that_a_build_runs_is_looked_at_and_others_are_not() -> None:
    assert rules(BASE, {**BASE, **tree({"scripts/check.sh": "exit 0\n"})}) == {"build-files"}
    assert rules(BASE, {**BASE, **tree({"scripts/other.sh": "exit 0\n"})}) == set()
    assert rules(BASE, {**BASE, **tree({"docs/conf.py": "project = 'shops'\n"})}) == set()
    assert rules(BASE, {**BASE, **tree({"docs/deploy.sh": "exit 0\n"})}) == {"build-files"}


def test_a_command_of_the_project_by_the_name_of_a_tool_is_refused() -> None:
    text = '[project]\nname = "shop"\n\n[project.scripts]\n'
    base = {**BASE, **tree({"pyproject.toml": text})}
    assert rules(base, {**base, **tree({"pyproject.toml": text + 'pytest = "shop:main"\n'})}) == {"test-shadow"}
    assert rules(base, {**base, **tree({"pyproject.toml": text + 'shop = "shop:main"\n'})}) == set()
