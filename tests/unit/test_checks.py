"""What checkers say, read line by line. The outputs are those of the real programs, shortened."""

import pytest

from domain.checks import MAX_PROBLEMS, Problem, new_problems, read_problems

RUFF_FULL = """\
F401 [*] `os` imported but unused
 --> shop/app.py:1:8
  |
1 | import os
  |        ^^
  |
help: Remove unused import: `os`

invalid-syntax: Expected an expression
 --> shop/new.py:4:1
  |
4 | (
  |  ^
  |

Found 2 errors.
[*] 1 fixable with the `--fix` option.
"""
MYPY = """\
shop/app.py:3: error: Incompatible return value type (got "int", expected "str")  [return-value]
shop/app.py:3: note: Perhaps you need a cast
shop/twice.py: error: Source file found twice under different module names: "a" and "b"
Found 2 errors in 2 files (checked 4 source files)
"""
ESLINT = """\

/work/src/cart.js
   1:7   error    'unused' is assigned a value but never used  no-unused-vars
  12:15  warning  Unexpected console statement                 no-console

/work/src/b.js
  2:1  error  Parsing error: Unexpected token

✖ 3 problems (2 errors, 1 warning)
"""
TSC = """\
src/cart.ts(3,5): error TS2322: Type 'string' is not assignable to type 'number'.
src/b.ts:7:1 - error TS2304: Cannot find name 'x'.

7 x
  ~
Found 2 errors in 2 files.
"""
SAID: dict[str, tuple[str, list[tuple[str, int | None, str]]]] = {
    "ruff, in full": (
        RUFF_FULL,
        [("shop/app.py", 1, "F401 [*] `os` imported but unused"),
         ("shop/new.py", 4, "invalid-syntax: Expected an expression")],
    ),
    "ruff, short": ("shop/app.py:1:8: F401 [*] `os` imported\nFound 1 error.\n", [
        ("shop/app.py", 1, "F401 [*] `os` imported")
    ]),
    "flake8": ("./app.py:1:80: E501 line too long (90 > 79 characters)\n", [
        ("app.py", 1, "E501 line too long (90 > 79 characters)")
    ]),
    "mypy": (
        MYPY,
        [("shop/app.py", 3, 'error: Incompatible return value type (got "int", expected "str") [return-value]'),
         ("shop/twice.py", None,
          'error: Source file found twice under different module names: "a" and "b"')],
    ),
    "pyright": ("/work/app.py\n  /work/app.py:3:9 - error: \"x\" is not defined (reportUndefined)\n", [
        ("app.py", 3, 'error: "x" is not defined (reportUndefined)')
    ]),
    "pylint": ("************* Module app\napp.py:1:0: C0114: Missing module docstring (missing-module-docstring)\n", [
        ("app.py", 1, "C0114: Missing module docstring (missing-module-docstring)")
    ]),
    "eslint": (
        ESLINT,
        [("src/cart.js", 1, "error 'unused' is assigned a value but never used no-unused-vars"),
         ("src/cart.js", 12, "warning Unexpected console statement no-console"),
         ("src/b.js", 2, "error Parsing error: Unexpected token")],
    ),
    "eslint, unix": ("/work/src/a.js:1:7: 'x' is never used. [Error/no-unused-vars]\n\n1 problem\n", [
        ("src/a.js", 1, "'x' is never used. [Error/no-unused-vars]")
    ]),
    "tsc": (
        TSC,
        [("src/cart.ts", 3, "error TS2322: Type 'string' is not assignable to type 'number'."),
         ("src/b.ts", 7, "error TS2304: Cannot find name 'x'.")],
    ),
    "black": ("would reformat /work/shop/app.py\n\n1 file would be reformatted.\n", [
        ("shop/app.py", None, "would reformat")
    ]),
    "ruff format": ("Would reformat: shop/app.py\n1 file would be reformatted\n", [
        ("shop/app.py", None, "Would reformat")
    ]),
    "prettier": ("Checking formatting...\n[warn] src/a.js\n[warn] Code style issues found in the above file.\n", [
        ("src/a.js", None, "is not in the wanted form")
    ]),
    "gcc": ("src/a.c:3:5: error: expected ';' before 'return'\n    3 |     return 0;\n", [
        ("src/a.c", 3, "error: expected ';' before 'return'")
    ]),
    "go vet": ("# shop\n./main.go:5:2: undefined: x\n", [("main.go", 5, "undefined: x")]),
    "coloured": ("\\x1b[1m./app.py\\x1b[0m:1:1: F821 Undefined name `x`\n", [("app.py", 1, "F821 Undefined name `x`")]),
}  # fmt: skip


@pytest.mark.parametrize("checker", SAID)
def test_a_checkers_own_form_is_read(checker: str) -> None:
    output, problems = SAID[checker]
    assert [(p.path, p.line, p.message) for p in read_problems(output) or () if p.path] == problems


@pytest.mark.parametrize(
    "output",
    [
        "",
        "All checks passed!\n",
        "make: *** No rule to make target 'lint'.  Stop.\n",
        "12:30:01 INFO linting\nfailed\n",
        "see https://example.org:8080/help: it is there\n",
        'Traceback (most recent call last):\n  File "/work/a.py", line 3, in <module>\nValueError: 1:2\n',
        "a.py:1:1: F401 one\n[... 12 bytes cut ...]\nb.py:1:1: F401 two\n",
    ],
)
def test_what_is_of_no_known_form_or_not_whole_is_not_guessed(output: str) -> None:
    assert read_problems(output) is None


def test_a_flood_is_not_compared() -> None:
    line = "a.py:1:1: F401 one\n"
    assert len(read_problems(line * MAX_PROBLEMS) or ()) == MAX_PROBLEMS
    assert read_problems(line * (MAX_PROBLEMS + 1)) is None


def said(*problems: str) -> tuple[Problem, ...]:
    return read_problems("\n".join(problems)) or ()


NEW: dict[str, tuple[tuple[str, ...], tuple[str, ...], list[str]]] = {
    "the same": (("a.py:1: x",), ("a.py:1: x",), []),
    "the same where lines moved": (("a.py:1: x", "a.py:5: y"), ("a.py:3: x", "a.py:9: y"), []),
    "another line in its words": (
        ("a.py:4:1: F811 Redefinition of unused `x` from line 2",),
        ("a.py:9:1: F811 Redefinition of unused `x` from line 7",),
        [],
    ),
    "one that went away": (("a.py:1: x", "a.py:2: y"), ("a.py:1: x",), []),
    "another message": (("a.py:1: x",), ("a.py:1: y",), ["a.py:1 y"]),
    "another file": (("a.py:1: x",), ("b.py:1: x",), ["b.py:1 x"]),
    "once more in the same file": (("a.py:1: x",), ("a.py:1: x", "a.py:8: x"), ["a.py:8 x"]),
    "another number that is no line": (
        ("a.py:1: E501 too long (90 > 79)",),
        ("a.py:1: E501 too long (99 > 79)",),
        ["a.py:1 E501 too long (99 > 79)"],
    ),
    "another program's word": (
        ("a.py:1: x", "Found 2 errors in 3 files (0.31s)"),
        ("a.py:1: x", "Found 1 error in 12 files (0.29s)", "cannot read the list"),
        [":None cannot read the list"],
    ),
    "a secret under another name": (
        ("a.py:1: S105 password: redacted_github_pat_0123abcd",),
        ("a.py:1: S105 password: redacted_github_pat_89abcdef",),
        [],
    ),
}


@pytest.mark.parametrize("name", NEW)
def test_only_what_base_does_not_say_is_new(name: str) -> None:
    base, head, new = NEW[name]
    assert [f"{p.path}:{p.line} {p.message}" for p in new_problems(said(*base), said(*head))] == new


@pytest.mark.parametrize("line", ["." * 200_000, " " * 200_000 + "x", "a.b" * 60_000 + "!", "a:1:" * 60_000])
def test_a_hostile_line_is_read_in_one_pass(line: str) -> None:
    assert len(read_problems(f"{line}\na.py:1: x\n") or ()) >= 1


def test_a_number_of_a_line_that_is_none_is_no_place() -> None:
    (problem,) = read_problems(f"shop/a.py:{'1' * 5_000}: error: x\n") or ()
    assert problem == Problem(path="shop/a.py", line=None, message="error: x")
