"""Whether an agent gets anywhere. Money is no sign of it: a breaker that looked at spend was wrong every time."""

import re
from collections.abc import Sequence

from domain.task import Attempt, Feedback

LIMIT = 3
"""Equal attempts that are enough. Two happen to good agents: the second has the feedback of the first."""

MAX_POINT = 20_000
JUDGES = frozenset(("reviewer", "merge"))
"""People and branches that moved: their words may repeat without the agent being stuck."""

# What differs between two runs of the same failure. Plain numbers stay: "8 failed" after "12 failed" is progress.
VARYING = (
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"), "TIME"),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b"), "TIME"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE), "ID"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "ADDRESS"),
    (re.compile(r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{7,64}\b"), "ID"),
    (re.compile(r"\b\d+(?:\.\d+)?\s?(?:s|ms|µs|us|seconds?|minutes?)\b"), "DURATION"),
    (re.compile(r"(?:/tmp|/var/tmp|/private/var/folders)/[^\s'\":,)\]]+"), "TEMPORARY"),
    (re.compile(r"(\b127\.0\.0\.1|\blocalhost|\[::1\]):\d+"), r"\1:PORT"),
    (re.compile(r"\b(pid|PID|process)[ =:]+\d+"), r"\1 NUMBER"),
    (re.compile(r"(\.\w+):\d+(?::\d+)?"), r"\1:LINE"),
    (re.compile(r"\b(line|lines) \d+"), r"\1 NUMBER"),
)


def no_progress(attempts: Sequence[Attempt], feedback: Sequence[Feedback], limit: int = LIMIT) -> str | None:
    """Why going on is of no use, as a sentence; None if it may be.

    `attempts` and `feedback` in the order they happened. The same tree `limit` times, or the same failures `limit`
    times in a row.
    """
    if len(attempts) >= limit and (tree := attempts[-1].tree):
        same = [attempt.number for attempt in attempts if attempt.tree == tree]
        if len(same) >= limit:
            return f"no progress: attempts {_listed(same)} made the same change"
    last = feedback[-limit:]
    if len(last) == limit and not any(each.source in JUDGES for each in last):
        points = last[-1].points
        if points and len({failures_of(each) for each in last}) == 1:
            numbers, why = [each.attempt for each in last], " ".join(points[0].split())[:300]
            return f"no progress: attempts {_listed(numbers)} failed in the same way: {why}"
    return None


def failures_of(feedback: Feedback) -> tuple[str, ...]:
    """Its points without what differs from run to run, sorted: equal for equal failures."""
    return (feedback.source, *sorted({normalised(point) for point in feedback.points}))


def normalised(text: str) -> str:
    """Text with times, durations, addresses, ids, ports, temporary paths and line numbers taken out."""
    text = text[:MAX_POINT]
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return " ".join(text.split())


def _listed(numbers: Sequence[int]) -> str:
    words = [str(number) for number in numbers]
    return f"{', '.join(words[:-1])} and {words[-1]}"
