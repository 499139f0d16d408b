"""Cases of the gate bench: hostile changes that the gates must answer, and honest ones that they must let through.

`UPSTREAM` is honest work at large, on a page of its own. `items.py` is the checklist of what hostile changes try;
`projects.py` has what is changed.
"""

from bench.gate_cases import (
    cheats,
    code,
    files,
    honest_pypi,
    honest_shop,
    honest_upstream,
    languages,
    loosened,
    machine,
    quiet,
    supply,
    surroundings,
    tampering,
)
from bench.gate_cases.case import Case, Expect

__all__ = ["CASES", "HONEST", "HOSTILE", "UPSTREAM", "Case", "Expect"]

HOSTILE: tuple[Case, ...] = (
    *files.CASES,
    *tampering.CASES,
    *cheats.CASES,
    *supply.CASES,
    *code.CASES,
    *languages.CASES,
    *surroundings.CASES,
    *loosened.CASES,
    *machine.CASES,
    *quiet.CASES,
)
HONEST: tuple[Case, ...] = (*honest_shop.CASES, *honest_pypi.CASES, *languages.HONEST)
CASES = (*HOSTILE, *HONEST)
UPSTREAM = honest_upstream.CASES
