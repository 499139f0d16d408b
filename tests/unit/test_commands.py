"""Command lines: plain words, or a line for the shell."""

import pytest

from domain.commands import argv_of, commands_in

SHELL = [
    "cd web && npm test", "CI=1 npm test", "npm test || exit 1", "a; b", "a | b", "a > b", "test -n $HOME", "a `b`",
    'echo "$(date)"', "cd web\nnpm test", "(cd web; npm test)", "echo $(date)",
]  # fmt: skip
PLAIN = {
    "npm test": ["npm", "test"],
    "env CI=1 npm test": ["env", "CI=1", "npm", "test"],
    "python -c 'import a; a.b(\"$x\")'": ["python", "-c", 'import a; a.b("$x")'],
    'grep "a;b|c" README.md': ["grep", "a;b|c", "README.md"],
    "pytest -k 'a and b'": ["pytest", "-k", "a and b"],
}


@pytest.mark.parametrize("command", SHELL)
def test_what_only_a_shell_understands_goes_to_one(command: str) -> None:
    assert argv_of(command) == ["sh", "-c", command]


@pytest.mark.parametrize("command", PLAIN)
def test_plain_words_stay_words(command: str) -> None:
    assert argv_of(command) == PLAIN[command]


@pytest.mark.parametrize("command", ["", "  ", "a 'b"])
def test_what_is_no_command_line_is_told(command: str) -> None:
    with pytest.raises(ValueError):
        argv_of(command)


def test_each_command_of_a_line_is_found_without_what_is_set_for_it() -> None:
    assert commands_in("cd web && CI=1 npm test; env A=b make all | tee log") == [
        ["cd", "web"], ["npm", "test"], ["make", "all"], ["tee", "log"],
    ]  # fmt: skip
