"""Command lines of a project: plain words, or a line for the shell where it needs one."""

import re
import shlex
from pathlib import PurePosixPath

_SHELL = re.compile(r"[;&|<>`\n]|\$[({A-Za-z_]")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_BUILTINS = ("cd", "export", "set", "source", ".", "exec", "if", "for", "while", "(", "{", "!")


def argv_of(command: str) -> list[str]:
    """The words to run: those of the line, or `sh -c` and the line where only a shell understands it (`cd web && npm
    test`, `CI=1 npm test`). Raises ValueError if it cannot be split into words, or is empty."""
    words = shlex.split(command)
    if not words:
        raise ValueError("it is empty")
    return ["sh", "-c", command] if is_for_shell(command) else words


def is_for_shell(command: str) -> bool:
    """Whether an operator, a variable or a shell's own word stands in it outside of single quotes."""
    bare = re.sub(r"'[^']*'", "", command)
    bare = re.sub(r'"([^"\\]|\\.)*"', lambda match: "".join(re.findall(r"`|\$[({A-Za-z_]", match[0])), bare)
    words = shlex.split(command)
    return bool(_SHELL.search(bare)) or bool(words and (words[0] in _BUILTINS or _ASSIGNMENT.fullmatch(words[0])))


def commands_in(command: str) -> list[list[str]]:
    """The words of each command in a line: `cd web && CI=1 npm test` → [[cd, web], [npm, test]]. Without assignments
    before a command, and without `env` and what it sets."""
    lexer = shlex.shlex(command.replace("\n", ";"), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(";&|()<>"):
            found.append([])
        elif found[-1] or not (_ASSIGNMENT.fullmatch(word) or PurePosixPath(word).name == "env"):
            found[-1].append(word)
    return [words for words in found if words]
