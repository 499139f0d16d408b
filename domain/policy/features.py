"""Whether a text asks for one change or for several. It would rather miss one than refuse an honest brief."""

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

CREATING = frozenset(("add", "implement", "create", "build", "introduce", "support", "integrate", "provide"))
HEAVY = CREATING | {"fix", "migrate", "redesign", "rewrite", "refactor", "upgrade"}
"""Work of its own. `remove the old helper and rename its callers` is one change; `fix X and add Y` is two."""
VERBS = HEAVY | {"rename", "remove", "replace", "move", "split", "delete", "drop"}

SUPPORT = re.compile(
    r"\b(?:tests?|testing|docs?|documentation|docstrings?|readme|changelog|changes file|comments?|type hints?"
    r"|annotations?|fixtures?|news|examples?|logging|release notes?|error messages?|regression|coverage|migrations?"
    r"|columns?|fields?|parameters?|arguments?|options?|flags?|settings?|helpers?|functions?|methods?|validation|index|handlers?"
    r"|constants?)\b",
    re.IGNORECASE,
)
"""What belongs to any change, or is only a part of one, is not a change of its own."""

POINTS_BACK = re.compile(
    r"\b(?:it|its|them|they|their|that|this|these|those|there|same|both|such|each)\b", re.IGNORECASE
)
ITEM = re.compile(r"^\s*(?:\d{1,2}[.)]|[-*+•])\s+(?:\[[ x]\]\s*)?(.+)$", re.MULTILINE)
FENCED = re.compile(r"^\s*(```|~~~).*?^\s*\1", re.MULTILINE | re.DOTALL)
INLINE_ITEM = re.compile(r"(?:^|\s)\(?[1-9][.)]\s+")
SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
JOINT = re.compile(r",?\s+(?:and\s+then|and\s+also|and|then|plus|as\s+well\s+as)\s+|,\s+(?=[a-z]+\s)", re.IGNORECASE)
AND_ALSO = re.compile(r"\b(?:and\s+also|as\s+well\s+as|plus)\s+((?:an?)\s+.+)", re.IGNORECASE)
LEAD = re.compile(
    r"^(?:(?:please|also|then|and|next|finally|secondly|additionally|we\s+(?:want|need)\s+to)\b[\s,:]*)+", re.IGNORECASE
)
STOP = {"a", "an", "the", "to", "of", "for", "in", "on", "with", "from", "by", "as", "at", "new", "old", "all", "into",
        "when", "where", "which", "who", "our", "my", "we", "be", "is", "are", "and", "or"}  # fmt: skip


class Clause(NamedTuple):
    """A request: its verb, what it is about, and how it was said."""

    verb: str
    words: frozenset[str]
    said: str

    def is_apart_from(self, earlier: "Clause") -> bool:
        return not (self.words & earlier.words) and not POINTS_BACK.search(self.said)


def separate_features(text: str) -> tuple[str, ...]:
    """The changes that `text` asks for, in its words, where they are more than one; else nothing."""
    text = FENCED.sub("", "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip()))
    for sentence in SENTENCE.split(ITEM.sub("", text)):
        if found := _apart(list(_clauses(sentence)), HEAVY):
            return found
        if found := _added_on(sentence):
            return found
    listed = [c for item in _items(text) if (c := _clause(item)) and not SUPPORT.search(item)]
    different = [pair for pair in combinations(listed, 2) if pair[0].verb != pair[1].verb]
    if any(later.is_apart_from(earlier) and {later.verb, earlier.verb} & HEAVY for earlier, later in different):
        return tuple(clause.said for clause in listed)
    if len(listed) > 2 and all(later.is_apart_from(earlier) for earlier, later in combinations(listed, 2)):
        return tuple(clause.said for clause in listed)
    openers = [c for sentence in SENTENCE.split(ITEM.sub("", text)) if (c := _clause(sentence)) and c.verb in HEAVY]
    openers = [c for c in openers if not SUPPORT.search(c.said)]
    if len(openers) > 2 and all(later.is_apart_from(earlier) for earlier, later in combinations(openers, 2)):
        return tuple(clause.said for clause in openers)
    return ()


def _items(text: str) -> Sequence[str]:
    """List items, one a line or all on one: `1. add this 2. fix that`."""
    lines = ITEM.findall(text)
    return lines if len(lines) > 1 else [part for part in INLINE_ITEM.split(text)[1:] if part.strip()]


def _clauses(sentence: str) -> Iterator[Clause]:
    for part in JOINT.split(sentence):
        if (clause := _clause(part)) and not SUPPORT.search(part):
            yield clause


def _clause(text: str) -> Clause | None:
    said = LEAD.sub("", text.strip()).strip(" .,;:")
    first, _, rest = said.partition(" ")
    if first.lower() not in VERBS or not rest.strip():
        return None
    words = {word.lower().rstrip("/").rstrip("s") for word in re.findall(r"[\w/]+", rest)} - STOP - {""}
    return Clause(first.lower(), frozenset(words), said)


def _apart(clauses: Sequence[Clause], verbs: frozenset[str]) -> tuple[str, ...]:
    heavy = [clause for clause in clauses if clause.verb in verbs]
    if any(later.is_apart_from(earlier) for earlier, later in combinations(heavy, 2)):
        return tuple(clause.said for clause in heavy)
    return ()


def _added_on(sentence: str) -> tuple[str, ...]:
    """`Add X and also a Y`: a second thing without a verb of its own."""
    clause, more = _clause(sentence), AND_ALSO.search(sentence)
    if not clause or not more or clause.verb not in CREATING or SUPPORT.search(more[1]) or POINTS_BACK.search(more[1]):
        return ()
    return (sentence[: more.start()].strip(" ,"), more[1].strip(" ."))
