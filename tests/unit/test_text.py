"""Text that others wrote is made safe to show in one place."""

import re
from pathlib import Path

import pytest

from domain.text import block, one_line

PROJECT = Path(__file__).parents[2]
OWN_FORM = {
    "domain/text.py",
    "domain/health.py",  # quotes it besides
    "tasks/running/inside_unittest.py",  # runs in sandboxes, without any of ours
    "blocks/gateway/audit.py",  # a form that is in ledgers already
}


@pytest.mark.parametrize(
    ("text", "line", "lines"),
    [
        ("plain – ünï", "plain – ünï", "plain – ünï"),
        ("\x1b[2J\x1b]0;owned\x07", "�[2J�]0;owned�", "�[2J�]0;owned�"),
        ("two\nlines\tand a tab", "two lines�and a tab", "two\nlines\tand a tab"),
        ("turned \u202e around", "turned � around", "turned � around"),
        ("nothing\u200bseen \r", "nothing�seen �", "nothing�seen �"),
    ],
)
def test_what_commands_a_screen_is_replaced(text: str, line: str, lines: str) -> None:
    assert one_line(text) == line
    assert block(text) == lines


def test_what_is_escaped_can_be_told_apart() -> None:
    assert one_line("\x1b\u202e", escape=True) == "\\x1b\\u202e"
    assert block("a\n\x9b", escape=True) == "a\n\\x9b"


def test_a_long_line_is_cut_and_shows_it() -> None:
    assert one_line("abcdef", 4) == "abc…"
    assert one_line("abcd", 4) == "abcd"


def test_nobody_writes_it_again() -> None:
    again = re.compile(r"\bc\.isprintable\(\)[^\n]* else ")
    files = (
        file
        for folder in ("domain", "blocks", "tasks", "flows", "station")
        for file in (PROJECT / folder).rglob("*.py")
    )
    found = {str(file.relative_to(PROJECT)) for file in files if again.search(file.read_text())}
    assert found == OWN_FORM
