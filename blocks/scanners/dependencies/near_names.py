"""Names that are easily taken for a much used one."""

import re
from functools import cache
from importlib import resources

from domain.dependencies import Ecosystem

_LOOK_ALIKES = str.maketrans("013457", "oleast")
_AFFIX = re.compile(
    r"(?:^(?:python|py|node|js|lib|the|real|my|official)-)|(?:-(?:python|py|js|node|lib|api|sdk|cli|dev|core|official)$)|(?<=[a-z])[0-9]$"
)
SHORT, LONG = 5, 12
"""Letters from which one edit counts, and two."""


def near(ecosystem: Ecosystem, name: str) -> str | None:
    """A much used name that this one is not, and looks like; None if there is none."""
    popular = _popular(ecosystem)
    if name.lower() in popular:
        return None
    mine = _folded(name)
    forms = {mine, _folded(_AFFIX.sub("", name.lower().replace("_", "-").replace(".", "-")))}
    for other, folded in popular.items():
        if folded in forms:
            return other
    letters = set(mine)
    for other, folded in popular.items():
        most = 0 if len(folded) < SHORT else 1 if len(folded) < LONG else 2
        is_close = abs(len(folded) - len(mine)) <= most and len(letters.symmetric_difference(folded)) <= 2 * most
        if most and is_close and distance(mine, folded, most) <= most:
            return other
    return None


def is_popular(ecosystem: Ecosystem, name: str) -> bool:
    """Whether it is itself a much used name."""
    return name in _popular(ecosystem)


@cache
def _popular(ecosystem: Ecosystem) -> dict[str, str]:
    """Name → the same without what eyes skip."""
    text = resources.files(__package__).joinpath(f"popular-{ecosystem.lower()}.txt").read_text("utf-8")
    return {name: _folded(name) for name in text.split("\n") if name and not name.startswith("#")}


def _folded(name: str) -> str:
    """Without separators and scope marks; look-alikes are one letter."""
    bare = re.sub(r"[-_.@/]", "", name.lower()).translate(_LOOK_ALIKES)
    return bare.replace("rn", "m").replace("vv", "w")


def distance(one: str, other: str, most: int) -> int:
    """Edits from one word to the other, a swap of neighbours counting once; `most` + 1 where there are more.

    https://en.wikipedia.org/wiki/Damerau–Levenshtein_distance#Optimal_string_alignment_distance
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, start=1):
        earlier, before, row = before, row, [i]
        for j, right in enumerate(other, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > most and (not before or min(before) > most):
            return most + 1
    return min(row[-1], most + 1)
