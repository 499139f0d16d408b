"""Regular expressions that take a time which grows with the power of a text's length: one repetition in another one,
where a text can be shared out among the two in many ways. https://owasp.org/www-community/attacks/Regular_expression_Denial_of_Service_-_ReDoS"""

import functools
import re
import warnings
from collections.abc import Iterable
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_MOST = 2_000
"""Characters of a pattern that is looked at; nobody reads a longer one."""
_SAMPLE = [chr(number) for number in range(9, 127)] + ["é", "я", "中"]
_MANY = 10
"""Turns of a repetition with a bound: the time grows with that power of the text's length."""
_Item = tuple[Any, Any]


@functools.lru_cache(maxsize=2_000)
def is_slow(pattern: str) -> bool:
    """Whether a repetition holds a piece of no fixed length, and nothing says where a turn of it begins."""
    if not 4 <= len(pattern) <= _MOST or not re.search(r"[+*}]", pattern):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = parser.parse(pattern)
    except (re.error, OverflowError, RecursionError, ValueError):
        return False
    try:
        return _is_slow(tree)
    except RecursionError:
        return True


def _is_slow(items: Iterable[_Item]) -> bool:
    for code, value in items:
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            _, most, inner = value
            is_endless = most == codes.MAXREPEAT
            ways = _ways(_flat(list(inner))) if is_endless or most >= _MANY else []
            if any(_is_shared(way, is_endless) for way in ways):
                return True
        if any(_is_slow(inner) for inner in _within(code, value)):
            return True
    return False


def _within(code: Any, value: Any) -> list[Any]:
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        return [value[2]]
    if code is codes.SUBPATTERN:
        return [value[-1]]
    if code is codes.BRANCH:
        return list(value[1])
    return [value[1]] if code in (codes.ASSERT, codes.ASSERT_NOT) else []


def _flat(items: list[_Item]) -> list[_Item]:
    """Groups without their brackets."""
    found: list[_Item] = []
    for code, value in items:
        found += _flat(list(value[-1])) if code is codes.SUBPATTERN else [(code, value)]
    return found


def _ways(flat: list[_Item]) -> list[list[_Item]]:
    """The branches, where it is nothing but branches."""
    is_branches = len(flat) == 1 and flat[0][0] is codes.BRANCH
    return [_flat(list(branch)) for branch in flat[0][1][1]] if is_branches else [flat]


def _is_shared(flat: list[_Item], is_endless: bool) -> bool:
    """Whether a text can be shared out among the turns of what is repeated in many ways: a piece of it has no fixed
    length, and all else may be empty or reads the same characters."""
    pieces = [(_chars([one]), *_turns(one)) for one in flat]
    if any(code is codes.BRANCH and sum(not branch for branch in value[1]) > 1 for code, value in flat):
        return is_endless  # `a|a`: the parser takes out what branches begin with
    repeated = {
        chars
        for at, (chars, least, most) in enumerate(pieces)
        if chars and (most == codes.MAXREPEAT or (is_endless and most > least and (most > 1 or _shares(pieces, at))))
    }
    has_to_be = {_chars([one]) for one in flat if not _may_be_empty(one)} if repeated else set()
    return any(all(chars & one for one in has_to_be) for chars in repeated)


def _turns(item: _Item) -> tuple[int, int]:
    """How often a piece has to be there, and how often it may."""
    code, value = item
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        return value[0], value[1]
    return (0 if _may_be_empty(item) else 1), 1


def _shares(pieces: list[tuple[frozenset[str], int, int]], at: int) -> bool:
    """Whether another piece reads the same characters as the one at `at`, which may be left out."""
    return any(pieces[at][0] & chars for other, (chars, _, _) in enumerate(pieces) if other != at)


def _may_be_empty(item: _Item) -> bool:
    code, value = item
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        return bool(value[0] == 0) or all(map(_may_be_empty, value[2]))
    if code is codes.SUBPATTERN:
        return all(map(_may_be_empty, value[-1]))
    if code is codes.BRANCH:
        return any(all(map(_may_be_empty, branch)) for branch in value[1])
    return code in (codes.AT, codes.ASSERT, codes.ASSERT_NOT)


def _chars(items: list[_Item]) -> frozenset[str]:
    """Characters that a piece can read, of a sample; none if it is more than one piece."""
    flat = _flat(items)
    if len(flat) != 1:
        return frozenset()
    code, value = flat[0]
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        return _chars(list(value[2]))
    if code is codes.BRANCH:
        return frozenset().union(*(_chars(list(branch)) for branch in value[1]))
    if code is codes.ANY:
        return frozenset(_SAMPLE)
    if code is codes.LITERAL:
        return frozenset((chr(value),))
    if code is codes.NOT_LITERAL:
        return frozenset(_SAMPLE) - {chr(value)}
    return _chars_in(value) if code is codes.IN else frozenset()


_CATEGORIES = {
    codes.CATEGORY_DIGIT: r"\d", codes.CATEGORY_NOT_DIGIT: r"\D", codes.CATEGORY_SPACE: r"\s",
    codes.CATEGORY_NOT_SPACE: r"\S", codes.CATEGORY_WORD: r"\w", codes.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip
_OF_CATEGORY = {code: frozenset(re.findall(pattern, "".join(_SAMPLE))) for code, pattern in _CATEGORIES.items()}


def _chars_in(parts: list[_Item]) -> frozenset[str]:
    is_not, found = False, set[str]()
    for code, value in parts:
        if code is codes.NEGATE:
            is_not = True
        elif code is codes.LITERAL:
            found.add(chr(value))
        elif code is codes.RANGE:
            found.update(char for char in _SAMPLE if value[0] <= ord(char) <= value[1])
        elif code is codes.CATEGORY:
            found |= _OF_CATEGORY.get(value, frozenset())
    return frozenset(_SAMPLE) - found if is_not else frozenset(found).intersection(_SAMPLE)
