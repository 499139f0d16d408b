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


def login(user: Annotated[User, Depends(second_factor)]):
    return user


def authorize(text, *, strict=True, **more):
    return text if strict else more


class User:
    @property
    def password(self):
        return self._password.shown()

    @password.setter
    def password(self, value):
        self._password = hashed(value)


class Client:
    @property
    def auth(self):
        return self._auth

    @property
    def is_authenticated(self):
        return self._ok


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
        ("strict=True", "strict=False"),
        ("Annotated[User, Depends(second_factor)]", "User"),
        ("hashed(value)", "value"),
        ("self._password.shown()", "self._password"),
        ("return self._ok", "return True"),
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
        ("return sum(items)", "return sum(items, 0)"),
        ("def authorize(text, ", "def authorize(text: str, "),
        ("import hmac\n", "import hmac\n\n\ndef verify(a):\n    return bool(a)\n"),
        ('    """A total."""\n', '    """The total of all."""\n'),
        ("def is_safe_path(path):", "# what is safe\ndef is_safe_path(path: str) -> bool:"),
    ],
)
def test_what_else_is_changed_or_new_is_not(old: str, new: str) -> None:
    assert old in CODE
    assert rules(BASE, {**BASE, **tree({"shop/code.py": CODE.replace(old, new)})}) == set()


@pytest.mark.parametrize(
    "name",
    ["auth_required", "roles_required", "role_required", "admin_required", "require_admin", "ensure_admin",
     "basic_auth", "token_auth", "auth_middleware", "auth", "require_auth"],
)  # fmt: skip
def test_usual_names_of_what_lets_through_are_known(name: str) -> None:
    base = {**BASE, **tree({"shop/more.py": f"def {name}(f):\n    return wrap(f)\n"})}
    assert rules(base, {**base, **tree({"shop/more.py": f"def {name}(f):\n    return f\n"})}) == {"guards"}


@pytest.mark.parametrize("name", ["author", "authors_of", "user", "users", "token", "admin_url", "needs_water"])
def test_names_that_only_look_so_are_not(name: str) -> None:
    base = {**BASE, **tree({"shop/more.py": f"def {name}(f):\n    return wrap(f)\n"})}
    assert rules(base, {**base, **tree({"shop/more.py": f"def {name}(f):\n    return f\n"})}) == set()


def test_a_file_of_guards_that_is_gone_is_looked_at() -> None:
    assert rules(BASE, {path: entry for path, entry in BASE.items() if path != "shop/code.py"}) == {"guards"}


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
