"""The bill: what counts, under what it is summed, and how people see it."""

import io
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from defusedxml import ElementTree
from pydantic import SecretStr
from rich.console import Console

from blocks.ledger.ledger import Ledger
from blocks.ledger.reading import Reader
from blocks.ledger.rows import Entry
from domain.errors import InputError
from domain.history import History
from domain.models import Metered, Reserved, TokenUsage
from domain.task import BillLine, End, Outcome
from domain.team_bill import team_bill
from domain.value import Value
from station import bill as station_bill
from station.bill import as_data, short, show_bill, table
from station.desk.team import spending
from tasks.pages import bill_plot
from tasks.pages.bill import KINDS, Bill, By, bill, bill_of, dollars, markdown
from tasks.pages.bill_plot import bars

SVG = "{http://www.w3.org/2000/svg}"
SONNET, HAIKU = "anthropic/claude-sonnet-5", "anthropic/claude-haiku-4-5"


def call(name: str, run: str = "run-1", **fields: Any) -> dict[str, Any]:
    given = {"step": "edit", "attempt": 1, "agent": "codex/a", "environment": None, "model": SONNET, "usd": 0.5}
    return {"run_id": run, "call": name, **given, **fields}


def sandbox(step: str, seconds: float, run: str = "run-1", **fields: Any) -> BillLine:
    return BillLine(run_id=run, step=step, attempt=1, sandbox_s=seconds, **fields)


def entries(*told: tuple[str, str, Value]) -> list[Entry]:
    """Entries of (day, kind, value), in this order."""
    return [
        Entry(
            number=number, at=datetime.fromisoformat(f"2026-03-{day}T12:00:00").replace(tzinfo=UTC), kind=kind,
            run_id=value.model_dump()["run_id"], key=str(number), type=type(value).__name__,
            body=value.model_dump(mode="json"), hash="",
        )
        for number, (day, kind, value) in enumerate(told, 1)
    ]  # fmt: skip


TOKENS = TokenUsage(input=1000, output=100, cache_read=800, cache_write=50)
ENTRIES = entries(
    ("01", "bill", sandbox("prepare", 3.0)),
    ("01", "reserved", Reserved(**call("a", step="plan", usd=2.0, model=HAIKU))),
    ("01", "metered", Metered(**call("a", step="plan", usd=0.25, model=HAIKU), tokens=TOKENS, status=200)),
    ("01", "bill", sandbox("plan", 10.0, agent="codex/a")),
    ("02", "reserved", Reserved(**call("b", usd=2.0))),
    ("02", "metered", Metered(**call("b", usd=0.5), tokens=TOKENS, status=200)),
    ("02", "reserved", Reserved(**call("lost", usd=2.0))),
    ("02", "bill", sandbox("edit", 60.5, agent="codex/a")),
    ("03", "reserved", Reserved(**call("a", run="run-2", agent="aider/b", usd=2.0))),
    ("03", "metered", Metered(**call("a", run="run-2", agent="aider/b", usd=0.125), tokens=TOKENS, status=200)),
    ("03", "outcome", Outcome(run_id="run-1", title="Add a search", end=End.LIVE, sentence="live", environment="shop")),
)
MADE = bill(ENTRIES)


def sums(column: By, made: Bill = MADE) -> dict[str, tuple[float, int, float]]:
    return {line.name: (line.usd, line.calls, line.sandbox_s) for line in made.by(column)}


def test_the_total_is_metered_calls_lost_calls_in_full_and_sandbox_seconds() -> None:
    total = MADE.total
    assert (total.usd, total.calls, total.unmetered, total.sandbox_s) == (0.25 + 0.5 + 2.0 + 0.125, 4, 1, 73.5)
    assert total.tokens == TokenUsage(input=3000, output=300, cache_read=2400, cache_write=150)


BROKEN_DOWN = {
    By.STEP: {"edit": (2.625, 3, 60.5), "plan": (0.25, 1, 10.0), "prepare": (0.0, 0, 3.0)},
    By.AGENT: {"codex/a": (2.75, 3, 70.5), "aider/b": (0.125, 1, 0.0), "no agent": (0.0, 0, 3.0)},
    By.MODEL: {SONNET: (2.625, 3, 0.0), HAIKU: (0.25, 1, 0.0), "sandbox": (0.0, 0, 73.5)},
    By.ENVIRONMENT: {"shop": (2.75, 3, 73.5), "merged alone": (0.125, 1, 0.0)},
    By.DAY: {"2026-03-01": (0.25, 1, 13.0), "2026-03-02": (2.5, 2, 60.5), "2026-03-03": (0.125, 1, 0.0)},
    By.TASK: {"Add a search (run-1)": (2.75, 3, 73.5), "run-2": (0.125, 1, 0.0)},
}


@pytest.mark.parametrize("column", By)
def test_it_is_broken_down_dearest_first_and_days_in_their_order(column: By) -> None:
    assert list(sums(column).items()) == list(BROKEN_DOWN[column].items())


def read(*parts: list[Entry]) -> History:
    made = History()
    for part in parts:
        made.take(part)
    return made


@pytest.mark.parametrize("cut", range(len(ENTRIES)))
@pytest.mark.parametrize("column", [By.TASK, By.AGENT, By.ENVIRONMENT, By.DAY])
def test_the_bill_of_a_team_has_the_same_sums_wherever_reading_stopped(column: By, cut: int) -> None:
    made = team_bill([read(ENTRIES[:cut], ENTRIES[cut:])])
    assert list(sums(column, made).items()) == list(BROKEN_DOWN[column].items())
    assert (made.usd, made.total.unmetered) == (MADE.usd, 1)


def test_the_bill_of_a_team_tells_each_of_thirty_days_and_the_dearest_tasks() -> None:
    many = [("20", "bill", sandbox("edit", float(number), run=f"run-{number:02}")) for number in range(1, 13)]
    late = spending([read(ENTRIES), read(entries(*many))], date(2026, 3, 31))
    assert [line.name for line in late.days] == [f"2026-03-{day:02}" for day in range(2, 32)]
    assert [(line.name, line.usd, line.sandbox_s) for line in reversed(late.used)] == [
        ("2026-03-02", 2.5, 60.5), ("2026-03-03", 0.125, 0.0), ("2026-03-20", 0.0, 78.0)
    ]  # fmt: skip
    assert (late.total.usd, late.before.usd, late.before.sandbox_s) == (2.625, 0.25, 13.0)
    dearest = ["run-1", "run-2", *(f"run-{number:02}" for number in range(12, 4, -1))]
    assert ([line.run_id for line in late.tasks], late.others) == (dearest, 4)
    assert late.sizes(late.tasks)[:3] == [2.5, 0.125, 0.0], "bars compare money where there is some"
    free = spending([read(entries(*many))], date(2026, 3, 31))
    assert free.sizes(free.tasks)[0] == 12.0, "and else the time of sandboxes"
    assert not spending([read(ENTRIES)], date(2026, 5, 1)).agents


def test_the_order_of_the_entries_does_not_matter() -> None:
    assert bill(reversed(ENTRIES)).total == MADE.total
    assert bill(e for kind in KINDS for e in ENTRIES if e.kind == kind).charges == MADE.charges


def test_calls_of_two_runs_with_one_name_are_two() -> None:
    assert MADE.total.calls == len({(e.run_id, e.body["call"]) for e in ENTRIES if e.kind == "reserved"})


def test_a_call_is_never_counted_twice() -> None:
    again = entries(
        ("01", "reserved", Reserved(**call("a", usd=2.0))),
        ("01", "metered", Metered(**call("a", usd=0.5))),
        ("01", "metered", Metered(**call("a", usd=0.5))),
    )
    assert bill(again).usd == 0.5
    assert bill(again[1:2]).usd == 0.5, "metered counts without its reservation too"


def test_free_calls_that_were_metered_are_free() -> None:
    refused = entries(
        ("01", "reserved", Reserved(**call("a", usd=2.0))), ("01", "metered", Metered(**call("a", usd=0.0, status=401)))
    )
    assert (bill(refused).usd, bill(refused).total.unmetered) == (0.0, 0)


def test_many_small_sums_have_no_dust() -> None:
    assert bill(entries(*[("01", "metered", Metered(**call(str(n), usd=0.1))) for n in range(10)])).usd == 1.0


def test_what_a_running_task_is_for_is_known_by_its_calls_and_else_not_yet() -> None:
    told = entries(
        ("01", "bill", sandbox("prepare", 3.0, run="one")), ("01", "bill", sandbox("plan", 2.0, run="two")),
        ("01", "metered", Metered(**call("a", run="one", environment="shop"))),
        ("01", "bill", sandbox("test", 4.0, run="one")),
    )  # fmt: skip
    assert sums(By.ENVIRONMENT, bill(told)) == {"shop": (0.5, 1, 7.0), "not known yet": (0.0, 0, 2.0)}


def test_since_leaves_earlier_days_out() -> None:
    assert list(sums(By.DAY, bill(ENTRIES, date(2026, 3, 2)))) == ["2026-03-02", "2026-03-03"]
    assert bill(ENTRIES, date(2026, 4, 1)).charges == ()


def test_a_call_that_was_metered_on_the_next_day_belongs_to_that_day() -> None:
    night = entries(
        ("01", "reserved", Reserved(**call("a", usd=2.0))), ("02", "metered", Metered(**call("a", usd=0.5)))
    )
    assert list(sums(By.DAY, bill(night))) == ["2026-03-02"]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(url=SecretStr(f"sqlite:///{tmp_path}/ledger.db"))
    for entry in ENTRIES:
        kinds: dict[str, type[Value]] = {
            "bill": BillLine, "reserved": Reserved, "metered": Metered, "outcome": Outcome
        }  # fmt: skip
        ledger.record(entry.run_id, entry.kind, entry.key, kinds[entry.kind].model_validate(entry.body))
    ledger.record("run-1", "scratchpad", "1", BillLine(run_id="run-1", step="edit", attempt=1, usd=99))
    return ledger


def test_it_is_read_from_the_ledger_for_one_run_or_all(ledger: Ledger) -> None:
    assert bill_of(ledger).usd == MADE.usd
    assert bill_of(ledger, "run-2").usd == 0.125
    assert bill_of(ledger, "no such run").charges == ()


# --- what people see


def test_the_markdown_has_the_sum_a_picture_and_a_table_a_column() -> None:
    text = markdown(MADE)
    assert text.startswith("# $2.88\n\n4 model calls and 73.5 s of sandbox time. 1 call not seen to the end")
    assert "](data:image/svg+xml;base64,PHN2Zy" in text
    assert [line for line in text.split("\n") if line.startswith("## ")] == [f"## By {column}" for column in By]
    assert "| Add a search \\(run-1\\) | 2.7500 | 3 | 2,000 | 1,600 | 200 | 73.5 |" in text
    assert text.count("| **total** | 2.8750 | 4 | 3,000 | 2,400 | 300 | 73.5 |") == len(By)


def test_the_markdown_of_one_task_leaves_out_what_has_one_row() -> None:
    text = markdown(bill([e for e in ENTRIES if e.run_id == "run-1"]))
    assert "By task" not in text and "By day" not in text and "## By step" in text


def test_names_are_shown_and_not_rendered() -> None:
    hostile = entries(("01", "metered", Metered(**call("a", model="x/![](http://evil.example/p.png)|`$\\frac"))))
    rows = [line for line in markdown(bill(hostile)).split("\n") if line.startswith("| ") and "evil" in line]
    assert rows and all(r"!\[\]\(http`://`evil.example/p.png\)\|" in row for row in rows)


def test_a_plot_that_cannot_be_drawn_does_not_hide_the_bill(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise OSError("no space left")

    monkeypatch.setattr(bill_plot, "bars", broken)
    text = markdown(MADE)
    assert "No plot: OSError" in text and "## By step" in text


def test_an_empty_bill_is_a_bill() -> None:
    assert markdown(bill([])).startswith("# $0.00\n\n0 model calls and 0.0 s")


PLOTS = {
    "one bar": (["edit"], {"m": {"edit": 1.0}}),
    "several parts": (["edit", "plan"], {"m": {"edit": 1.0}, "n": {"edit": 0.5, "plan": 2.0}}),
    "more parts than colours": (["edit"], {f"m{n}": {"edit": 1.0} for n in range(12)}),
    "equal long names": (["x" * 60 + "1", "x" * 60 + "2"], {"m": {"x" * 60 + "1": 1.0}}),
    "mathematics": (["$\\frac{1"], {"$^_$": {"$\\frac{1": 1.0}}),
    "no glyphs": (["日本\n\x00"], {"_hidden": {"日本\n\x00": 1.0}}),
    "nothing": ([], {}),
}


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.filterwarnings("error")
def test_any_sums_can_be_drawn(name: str) -> None:
    names, parts = PLOTS[name]
    drawn = ElementTree.fromstring(bars(names, parts, "US dollars"))
    boxes = [float(box.get("width", "0")) for box in drawn.iter(f"{SVG}rect") if box.get("height") == "16"]
    shown = min(len(parts), 7)
    assert len(boxes) == shown * (len(names) + 1)  # one a part and bar, and one a part in the legend
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert len(texts) == 2 * len(names) + shown and all(texts)


def test_bars_are_as_long_as_their_sums() -> None:
    drawn = ElementTree.fromstring(bars(["edit", "plan"], {"m": {"edit": 1.0}, "<n>": {"edit": 1.0, "plan": 0.5}}, "$"))
    edit, more, none, half = [float(box.get("width", "0")) for box in list(drawn.iter(f"{SVG}rect"))[1:5]]
    assert (edit, none) == (more, 0.0) and half == pytest.approx(edit / 2)
    assert "<n>" in [text.text for text in drawn.iter(f"{SVG}text")]


def test_a_larger_bill_is_another_picture() -> None:
    one, two = (bars(["edit", "plan"], {"m": {"edit": 1.0, "plan": plan}}, "US dollars") for plan in (1.0, 2.0))
    assert one != two


def on_terminal(made: Bill, column: By, width: int = 100) -> str:
    screen = Console(file=io.StringIO(), width=width, highlight=False)
    screen.print(table(made.by(column), made.total, column))
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_the_terminal_shows_sums_with_bars_that_compare_them() -> None:
    lines = on_terminal(MADE, By.STEP).split("\n")
    (edit,), (plan,) = ([line for line in lines if line.strip().startswith(step)] for step in ("edit", "plan"))
    assert edit.split()[:7] == ["edit", "3*", "2.0k", "1.6k", "200", "60.5", "$2.62"]
    assert edit.count("█") == 16 > plan.count("█") > 0
    assert any(line.split() == ["total", "4", "3.0k", "2.4k", "300", "73.5", "$2.88"] for line in lines)


def test_without_money_the_bars_compare_sandbox_time() -> None:
    free = bill([e for e in ENTRIES if e.kind == "bill"])
    lines = on_terminal(free, By.STEP).split("\n")
    assert [line.count("█") for line in lines if "edit" in line] == [16]


@pytest.mark.parametrize("width", [80, 200])
def test_no_number_is_cut_on_a_terminal_of_80_columns_or_more(width: int) -> None:
    assert "$2.62" in on_terminal(MADE, By.STEP, width)


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    hostile = entries(("01", "metered", Metered(**call("a", model="x/\x1b[2J[red]y"))))
    text = on_terminal(bill(hostile), By.MODEL)
    assert "\x1b" not in text and "[red]y" in text


@pytest.fixture
def of_all(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger that the command finds without a server."""
    monkeypatch.setattr(station_bill, "ledger_of", lambda run: Reader(ledger.url.get_secret_value()))
    monkeypatch.setattr(station_bill, "read_run", lambda run: None)
    return ledger


def test_the_command_prints_tables_or_one_json_object(of_all: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    show_bill()
    told = capsys.readouterr().out
    assert "Add a search (run-1)" in told and "* 1 call not seen to the end" in told
    show_bill("run-2", by="model", as_json=True)
    data = json.loads(capsys.readouterr().out)
    assert data == as_data(bill_of(of_all, "run-2"), [By.MODEL])
    assert (data["usd"], data["sandbox_s"], data["by"]["model"][0]["name"]) == (0.125, 0.0, SONNET)


def test_a_day_in_the_future_has_no_bill(of_all: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    show_bill(since="2999-01-01")
    assert capsys.readouterr().out == "nothing was used since 2999-01-01\n"


@pytest.mark.parametrize(("by", "since", "why"), [("colour", None, "task, step"), (None, "yesterday", "2026-01-31")])
def test_wrong_use_is_named(of_all: Ledger, by: str | None, since: str | None, why: str) -> None:
    with pytest.raises(InputError, match=why):
        show_bill(by=by, since=since)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (1000, "1.0k"), (12_345, "12.3k"), (123_456, "123k"), (4_500_000, "4.5M"), (2e9, "2.0G")],
)  # fmt: skip
def test_counts_are_short(count: float, text: str) -> None:
    assert short(int(count)) == text


@pytest.mark.parametrize(("usd", "text"), [(0, "$0.00"), (0.0042, "$0.0042"), (0.5, "$0.50"), (1234.5, "$1,234.50")])
def test_dollars_have_digits_where_they_matter(usd: float, text: str) -> None:
    assert dollars(usd) == text
