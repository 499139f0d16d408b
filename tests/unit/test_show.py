"""What people look at shows what an agent wrote, exactly, and renders none of it."""

import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from blocks.targets.timeline import Timeline
from domain.brief import Brief
from domain.policy import judge
from domain.task import CaseOutcome, CaseRow, Finding, Severity
from tasks.pages import show
from tasks.pages.show import Output, bullets, count, fence, quote
from tests.unit.policy_cases import evidence, prepared

PAGE = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = [
    "![a picture](https://evil.example/pixel.png)",
    "![a picture][ref]",
    "[click](javascript:alert(1))",
    "[ref]: https://evil.example",
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<!-- hidden -->",
    "<https://evil.example>",
    "&lt;b&gt; &#x3c;",
    "# heading",
    "**bold** __bold__ *it* _it_ ~~gone~~",
    "`code` ``more`` ```fence",
    "a | b | c",
    "\\",
    "\\`\\*",
    "trailing \\",
    "---",
    "***",
    "===",
    "- item",
    "+ item",
    "1. item",
    "1) item",
    "    indented",
    "> quoted",
    "~~~",
    "$x$ $$y$$",
    ":smile: ::: note",
    "2 * 3 * 4 = 24",
    "tests/test_a.py::test_x[a-1.5]",
    "plain words, nothing else.",
    "",
]
ADDRESSES = ["see https://evil.example/a?b=c", "ftp://evil.example", "WWW.evil.example", "www.www.a", "me@evil.example",
             "git@evil.example:x/y", "mailto:me@evil.example", "`@@`@", "://@www."]  # fmt: skip
INVISIBLE = {
    "\x1b[31mred\x1b[0m": "�[31mred�[0m",
    "\x07bell\x08\r": "�bell��",
    "safe\u202egnp.exe": "safe�gnp.exe",
    "a\u2066b\u2069": "a�b�",
    "zero\u200bwidth\ufeff": "zero�width�",
    "a\u2028b\u0085c": "a�b�c",
    "\ud800": "�",
    "tag\U000e0041": "tag�",
    "two\nlines": "two lines",
}


def tokens(markdown: str) -> Iterator[Token]:
    for block in PAGE.parse(markdown):
        yield block
        yield from block.children or ()


def shown(markdown: str, *kinds: str) -> str:
    """The text that a page shows; every token has to be of these kinds."""
    allowed = {"inline", "text", *kinds}
    found = list(tokens(markdown))
    assert {token.type for token in found} <= allowed, markdown
    return "".join(token.content for token in found if token.type in ("text", "code_inline"))


PARAGRAPH = ("paragraph_open", "paragraph_close")
LIST = ("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close")
TABLE = [f"{name}_{end}" for name in ("table", "thead", "tbody", "tr", "th", "td") for end in ("open", "close")]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_quote_shows_exactly_the_text_wherever_it_stands(text: str) -> None:
    assert "".join(shown(quote(text), *PARAGRAPH, "code_inline")) == text.strip()
    assert shown(f"# {quote(text)}", "heading_open", "heading_close", "code_inline") == text.strip()
    assert shown(bullets([text]), *LIST, *PARAGRAPH, "code_inline") == text.strip()
    row = f"| a | b |\n|---|---|\n| {quote(text)} | end |"
    assert shown(row, *TABLE, "code_inline") == f"ab{text.strip()}end"


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_is_shown_and_never_in_one_piece_that_a_page_would_link(text: str) -> None:
    assert shown(quote(text), *PARAGRAPH, "code_inline") == text
    outside_of_code = [token.content for token in tokens(quote(text)) if token.type == "text"]
    assert not any(re.search(r"://|www\.|@", piece, re.IGNORECASE) for piece in outside_of_code)


@pytest.mark.parametrize("text", INVISIBLE)
def test_what_moves_hides_or_reorders_text_is_a_mark(text: str) -> None:
    assert shown(quote(text), *PARAGRAPH) == INVISIBLE[text]
    inside = INVISIBLE[text].replace("two lines", "two\nlines")
    assert [token.content for token in tokens(fence(text))] == [f"{inside}\n"]


FENCED = [
    "plain",
    "```\nout\n```",
    "````\nout",
    "`````` and ``` and `",
    "~~~\nout\n~~~",
    "</code></pre><script>alert(1)</script>",
    "![x](https://evil.example/x.png)",
    "    indented\n\n\nlater",
    "\tmake",
    "```diff",
    "",
]


@pytest.mark.parametrize("text", FENCED)
@pytest.mark.parametrize("language", ["", "diff"])
def test_a_fence_holds_all_of_its_text_and_ends_only_at_its_end(text: str, language: str) -> None:
    page = f"{fence(text, language)}\n\nafter"
    fenced, *rest = list(tokens(page))
    assert (fenced.type, fenced.info, fenced.content.rstrip("\n")) == ("fence", language, text.rstrip())
    assert [token.content for token in rest if token.type == "text"] == ["after"]


def test_bullets_of_nothing_say_so() -> None:
    assert bullets([]) == "- none"


def test_a_review_renders_nothing_that_the_agent_or_a_tool_wrote() -> None:
    evil = "![x](https://evil.example/x.png) <script>alert(1)</script> ``` `"
    finding = Finding(gate="scan", rule="secret", severity=Severity.PERSON, message=evil, path="a`b.py", line=1)
    seen = evidence(findings=(finding,))
    ready = prepared()
    goal = ready.brief.model_copy(update={"title": evil, "goal": f"```\n{evil}", "environment": evil})
    ready = ready.model_copy(update={"brief": Brief.model_validate(goal.model_dump())})
    page = show.review(ready, seen, judge(ready, seen), f"+```\n+{evil}\n", "f" * 64)
    found = {token.type for token in tokens(page)}
    assert not found & {"image", "link_open", "html_block", "html_inline", "table_open"}
    assert page.endswith(f"Your answer is bound to `{'f' * 64}`.")


def test_the_table_of_tests_renders_no_name_of_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(show, "_guarded", lambda create: create())
    monkeypatch.setattr(show, "create_table_artifact", lambda **fields: made.append(fields))
    name = "tests/test_a.py::test_x[![x](https://evil.example/x.png)]"
    row = CaseRow(test=name, kind="new", base=CaseOutcome.MISSING, head=CaseOutcome.PASSED)
    show.tested(evidence(rows=(row,)).tested, 1)
    assert [shown(cells["test"], *PARAGRAPH, "code_inline") for cells in made[0]["table"]] == [name]
    assert (made[0]["table"][0]["base"], made[0]["table"][0]["change"]) == ("∅ missing", "✅ passed")


def test_outside_of_a_run_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(show, "create_markdown_artifact", lambda **fields: made.append(fields))
    monkeypatch.setattr(show, "create_table_artifact", lambda **fields: made.append(fields))
    show.tested(evidence().tested, 1)
    show.scanned(evidence().scanned, 1)
    show.prepared(prepared(), 1)
    assert made == []


def test_tests_are_counted_by_kind() -> None:
    def row(kind: str, base: str, head: str) -> CaseRow:
        return CaseRow(test="t", kind=kind, base=CaseOutcome(base), head=CaseOutcome(head))

    rows = [row("acceptance", "failed", "passed"), row("existing", "passed", "passed"),
            row("existing", "passed", "failed")]  # fmt: skip
    assert count(rows) == "- acceptance: 1 of 1 pass (on base 0)\n- existing: 1 of 2 pass (on base 2)"
    assert count([]) == "- no tests ran"


def test_a_long_diff_is_cut_and_says_so() -> None:
    page = show._shorten("\n".join(f"+{n}" for n in range(show.DIFF_LINES + 7)))
    assert page.splitlines()[-2:] == [f"+{show.DIFF_LINES - 1}", "… 7 more lines: see the commit"]
    assert show._shorten("+1\n+2") == "+1\n+2"


# --- the agent's output in the run's log


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Stands in for the run's log."""
    monkeypatch.setattr(show, "get_run_logger", lambda: logging.getLogger("tests.show"))
    logging.getLogger("tests.show").propagate = True
    caplog.set_level(logging.INFO, logger="tests.show")
    return caplog


def test_output_is_logged_line_by_line_however_it_comes(log: pytest.LogCaptureFixture) -> None:
    output = Output()
    for chunk in ("on", "e\ntw", "o\n", "\nthree"):
        output(chunk)
    assert log.messages == ["agent │ one", "agent │ two", "agent │ "]
    output.flush()
    output.flush()
    assert log.messages[3:] == ["agent │ three"]


def test_output_is_bounded_in_lines_and_in_length_and_says_once_that_there_is_more(
    log: pytest.LogCaptureFixture,
) -> None:
    output = Output(max_lines=3)
    output("x" * 10_000 + "\n" + "y\n" * 10_000 + "the end")
    output.flush()
    assert log.messages == [f"agent │ {'x' * 500}", "agent │ y", "agent │ y", "agent │ … the rest is in the transcript"]


def test_output_with_a_percent_sign_is_no_format(log: pytest.LogCaptureFixture) -> None:
    Output()("100%s %d\n")
    assert log.messages == ["agent │ 100%s %d"]


def test_what_a_step_does_is_logged_at_once_harmless_and_bounded(log: pytest.LogCaptureFixture) -> None:
    timeline = Timeline(clean=lambda text: text.replace("secret", "***"), also=show.progress())
    timeline.say("100%s of the traffic, \x1b[2Jsecret\nmore")
    assert log.messages == ["100%s of the traffic, �[2J*** more"]
    assert timeline.lines[0].endswith("\x1b[2J***\nmore")
    timeline.say("x" * 10_000)
    assert log.messages[1] == "x" * 500


def test_outside_of_a_run_nobody_listens() -> None:
    show.progress()("a line")
