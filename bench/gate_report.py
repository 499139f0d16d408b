"""What a run of the gate bench says: a confusion matrix, seconds, misses, one JSON line, and a page of the docs."""

import statistics
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from bench.gate_cases.case import FINE
from bench.gate_cases.items import ELSEWHERE, ITEMS
from bench.gate_result import Result
from domain.task import Decision

PAGE = Path(__file__).resolve().parent.parent / "docs" / "gate-bench.md"
UPSTREAM_PAGE = PAGE.with_name("gate-bench-upstream.md")
DECISIONS = (Decision.ACCEPTED, Decision.NEEDS_PERSON, Decision.REFUSED)

INTRODUCTION = """# The gate bench

`make bench-gates` sends hostile and honest changes through the real gates and says what they answered. A gate that a
change can talk its way past is no gate, and one with false alarms gets switched off: both are counted.

Each case is a change that a pair of hands makes in a real sandbox. What is there afterwards is collected, validated and
committed by the platform, tested and scanned side by side, and judged, with real scanners and real tests on a prepared
base: the example shop, and releases of packages from the package index, pinned by SHA-256. Nothing else is wrong with a
hostile change than what its line says: it lies over the good change, or over nothing where a trick is to stand in for
the work.

*Neutralised*: the change goes through without what was hostile in it, and a witness shows that none of it ran.
*Needs a person* is a right answer to an honest change too: some files are always looked at. Only a refusal is a miss.

A row is kept from run to run, and not all are of the same rules. 172 hostile changes (all but those of Go, Rust and
`machine.py`, and some of `loosened.py` and `surroundings.py`) were run again just before the rules `weakness` and
`protection` were there: one answered otherwise, and is refused now. Of the
286 hostile changes below, 246 went through the gates, and the 40 of `quiet.py` through the rules over a change alone:
their tests and scans were not run. Honest changes were run before these two rules, which ask about none of the 38
that could be looked at without a sandbox. Seconds are of an earlier run, on a machine with less to do.

`python bench/gates.py --only NAME --project NAME` runs some of them; `--write` makes this page again.
"""


UPSTREAM_INTRODUCTION = """# Honest changes at large

`make bench-gates` also sends what neighbouring releases of packages changed through the gates: nobody here wrote the
packages, the changes or the tests. A pair of releases is taken if tests of the newer one are red on the older and green
on the newer, and the change has at most 500 lines of code; not by what the gates say. Those tests are the acceptance.
Only a refusal is a miss: a person may be asked. `python bench/gates.py --upstream --write` makes this page again.
"""


def upstream_page(results: Sequence[Result], pairs: int) -> str:
    """The text of docs/gate-bench-upstream.md. `pairs`: how many there are, run or not."""
    packages = {result.case.project.split()[0] for result in results}
    counted = Counter(result.verdict.decision for result in results)
    said = ", ".join(f"{counted[decision]} {decision}" for decision in DECISIONS)
    return "\n".join(
        [
            UPSTREAM_INTRODUCTION,
            f"{len(results)} changes of {len(packages)} packages: {said}."
            + (f" {pairs - len(results)} more pairs were not run." if len(results) < pairs else "")
            + f" Measured on {date.today():%d %B %Y}.\n",
            "| change | project | what it does | answer | rules that decided |\n|---|---|---|---|---|",
            *(_honest_row(result) for result in results),
            "",
        ]
    )


def matrix(results: Sequence[Result]) -> list[str]:
    """What was due against what was answered."""
    counted = Counter((result.case.expect.value, result.verdict.decision) for result in results)
    lines = [f"{'due':<14}" + "".join(f"{decision.value:>18}" for decision in DECISIONS)]
    for expect in dict.fromkeys(result.case.expect.value for result in results):
        lines.append(f"{expect:<14}" + "".join(f"{counted[expect, decision]:>18}" for decision in DECISIONS))
    return lines


def seconds(results: Sequence[Result]) -> list[str]:
    """Median and longest time of each gate."""
    lines = [f"{'gate':<14}{'median s':>18}{'longest s':>18}"]
    for name in ("test", "scan", "judge", "wall"):
        values = [value for value in (getattr(result, f"{name}_s") for result in results) if value is not None]
        if values:
            shown = "side by side" if name == "wall" else name
            lines.append(f"{shown:<14}{statistics.median(values):>18.3f}{max(values):>18.3f}")
    return lines


def misses(results: Iterable[Result]) -> list[str]:
    """Every answer that was not right, and why."""
    return [f"MISS {one.case.name} ({one.case.project}): {one.miss}" for one in results if one.miss] or ["no miss"]


def summary(results: Sequence[Result]) -> dict[str, int | float | None]:
    """The last line."""
    hostile = [result for result in results if result.case.expect is not FINE]
    honest = [result for result in results if result.case.expect is FINE]
    ratios = [result.ratio for result in honest if result.ratio is not None]
    return {
        "hostile": len(hostile),
        "hostile_passed": sum(result.hostile_passed for result in hostile),
        "wrong_reason": sum(result.miss is not None and not result.hostile_passed for result in hostile),
        "honest": len(honest),
        "honest_refused": sum(result.verdict.is_refused for result in honest),
        "median_ratio": round(statistics.median(ratios), 2) if ratios else None,
    }


def page(results: Sequence[Result]) -> str:
    """The text of docs/gate-bench.md."""
    told = summary(results)
    asked = sum(one.verdict.decision is Decision.NEEDS_PERSON for one in results if one.case.expect is FINE)
    result = (
        f"{told['hostile']} hostile changes: {told['hostile_passed']} passed, {told['wrong_reason']} were stopped for "
        f"another reason than the stated one. {told['honest']} honest ones: {told['honest_refused']} refused, {asked} "
        f"sent to a person. The gates' time over what an honest change may take (1.3 × its own suite twice, and 5 s) "
        f"is {told['median_ratio']} in the median."
    )
    parts = [
        INTRODUCTION,
        "## Result\n",
        f"Measured on {date.today():%d %B %Y}.\n",
        textwrap.fill(result, 120) + "\n",
        "```\n" + "\n".join([*matrix(results), "", *seconds(results), "", *misses(results)]) + "\n```\n",
        "## Hostile changes\n",
        "| change | project | what it does | due | answer | rules that decided |\n|---|---|---|---|---|---|",
        *(_row(result) for result in results if result.case.expect is not FINE),
        "\n## Honest changes\n",
        "| change | project | what it does | answer | rules that decided |\n|---|---|---|---|---|",
        *(_honest_row(result) for result in results if result.case.expect is FINE),
        "\n## The checklist\n",
        "| what is tried | what is due | cases |\n|---|---|---|",
        *(_item(item, due, results) for item, due in ITEMS.items()),
        "\nWhat no change can try by itself has suites of its own:\n",
        *(f"- {what}: `{suite}`" for what, suite in ELSEWHERE.items()),
    ]
    return "\n".join(parts) + "\n"


def _row(result: Result) -> str:
    case = result.case
    return f"| {_cell(case.name)} | {case.project} | {_cell(case.what)} | {case.expect} | {_answer(result)} |"


def _honest_row(result: Result) -> str:
    name = result.case.name.removeprefix(f"{result.case.project}: ")
    return f"| {_cell(name)} | {result.case.project} | {_cell(result.case.what)} | {_answer(result)} |"


def _answer(result: Result) -> str:
    rules = ", ".join(f"`{rule}`" for rule in result.verdict.rules[:4])
    mark = " **MISS**" if result.miss else ""
    return f"{result.verdict.decision}{mark} | {rules}"


def _item(item: str, due: str, results: Iterable[Result]) -> str:
    names = (_cell(result.case.name) for result in results if result.case.item == item)
    return f"| {_cell(item)} | {due} | {', '.join(names)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
