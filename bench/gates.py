"""Hostile and honest changes through the real gates: what they answer, whether that is right, and how long it takes.

    make bench-gates
    python bench/gates.py [--only NAME] [--project NAME] [--upstream | --own] [--kept FILE [--no-runs]] [--write]

Every case is made in a real sandbox, collected and committed by the platform, tested and scanned side by side, and
judged. `--only` takes a part of a case's name and may be given more than once, as may `--project`. `--upstream`
takes only what neighbouring releases of packages changed, `--own` all else. `--kept` adds each result to a file as it
comes, and takes what is in there instead of running the case again: delete the lines that you no longer believe.
`--no-runs` takes what is in there alone. `--write` puts the result of a whole run
into docs/gate-bench.md and docs/gate-bench-upstream.md, or into the one of the two that it is about. Package archives
come from the package index, pinned by SHA-256. The last line is one JSON object.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from bench.gate_cases import CASES, HONEST, UPSTREAM, Case, supply
from bench.gate_cases.projects import NAMES
from bench.gate_report import PAGE, UPSTREAM_PAGE, matrix, misses, page, seconds, summary, upstream_page
from bench.gate_result import Result, keep, kept
from bench.gate_workbench import workbench
from domain.task import Decision
from kits.registry import serving


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Hostile and honest changes through the real gates.")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="part of a case's name")
    parser.add_argument("--project", action="append", default=[], choices=NAMES, help="cases of one project")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--upstream", action="store_true", help="only what releases of packages changed")
    which.add_argument("--own", action="store_true", help="all but what releases of packages changed")
    parser.add_argument("--kept", type=Path, metavar="FILE", help="results that are kept from run to run")
    parser.add_argument("--no-runs", action="store_true", help="run nothing: take what --kept has, and say of how many")
    parser.add_argument("--write", action="store_true", help="put the result of a whole run into the docs")
    asked = parser.parse_args(arguments)
    chosen = [
        case
        for case in (UPSTREAM if asked.upstream else CASES if asked.own else (*CASES, *UPSTREAM))
        if (not asked.only or any(part in case.name for part in asked.only))
        and (not asked.project or case.project in asked.project)
    ]
    if asked.write and (asked.only or asked.project):
        parser.error("--write is for a whole run: leave --only and --project out")
    if asked.no_runs:
        results = list(kept(asked.kept, chosen).values()) if asked.kept else []
    else:
        results = run(chosen, asked.kept)
    print("\n".join(["", *matrix(results), "", *seconds(results), "", *misses(results)]))
    if asked.write and len(results) < len(chosen) and not asked.no_runs:
        parser.exit(1, "nothing is written: some cases are wrong themselves\n")
    if asked.write:
        if not asked.own:
            UPSTREAM_PAGE.write_text(
                upstream_page([result for result in results if result.case in UPSTREAM], len(UPSTREAM))
            )
        if not asked.upstream:
            PAGE.write_text(page([result for result in results if result.case not in UPSTREAM]))
    print(json.dumps(summary(results)))


def run(cases: Sequence[Case], at: Path | None = None) -> list[Result]:
    """The results, in the order of the cases; those in the file `at` are not run again. A line is printed for each, and
    for one that is wrong itself, which gives no result."""
    warnings.simplefilter("ignore")
    results = kept(at, cases) if at else {}
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as folder, serving() as registry:
        supply.publish(registry)
        with workbench(Path(folder), registry) as bench:
            for number, case in enumerate(cases, 1):
                passed = time.monotonic() - started
                if case.name not in results:
                    try:
                        results[case.name] = bench.run(case, with_raw=case in HONEST)
                    except ValueError as err:  # the case itself is wrong; the others are not
                        print(f"{number:>4}/{len(cases)} {passed:>6.0f} s  WRONG {case.name}: {err}", flush=True)
                        continue
                    if at:
                        keep(results[case.name], at)
                print(f"{number:>4}/{len(cases)} {passed:>6.0f} s  {_line(results[case.name])}", flush=True)
    return [results[case.name] for case in cases if case.name in results]


def _line(result: Result) -> str:
    mark = "MISS" if result.miss else "    "
    rules = ", ".join(result.verdict.rules[:3])
    asked = "fine" if result.verdict.decision is Decision.ACCEPTED else str(result.verdict.decision)
    return f"{mark} {result.case.name}: {asked}{f' ({rules})' if rules else ''}"


if __name__ == "__main__":
    main()
