"""Why a test failed, in one sentence, out of what its program printed."""

import pytest

from domain.policy.feedback import cause_of


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("    def test():\n>       assert 1 == 2\nE       assert 1 == 2\n\na.py:3: AssertionError", "assert 1 == 2"),
        ("Traceback:\n  ValueError: first\nmore\nImportError: no x\n", "ImportError: no x"),
        ("/work/a.js:5\nimport x\n^^^^^^\n\nSyntaxError: no import\n    at load (node:x)\n", "SyntaxError: no import"),
        ("AssertionError [ERR_ASSERTION]: not equal\n    at a.js:1\n", "AssertionError [ERR_ASSERTION]: not equal"),
        ("error[E0425]: cannot find function `x`\n --> src/lib.rs:1:1\n", "error[E0425]: cannot find function `x`"),
        ("expected 8\n    got 7\n", "expected 8 got 7"),
    ],
)  # fmt: skip
def test_the_error_is_told_and_not_the_stack(message: str, why: str) -> None:
    assert cause_of(message).why == why


def test_a_number_of_a_line_that_is_none_is_no_place() -> None:
    assert cause_of(f"shop/a.py:{'1' * 5_000}: AssertionError\n").line is None
