"""Whether anything may be released to an environment, by what is on record of it."""

from collections.abc import Iterable, Sequence

from domain.entry import Entry
from domain.known_by import known_as
from domain.records import HELD, LIVE, OPENED, ROLLED_BACK, kinds_of

KINDS = kinds_of(LIVE, ROLLED_BACK, HELD, OPENED)
"""Entries that tell."""
STOPS = kinds_of(ROLLED_BACK, HELD, OPENED)
"""Those without the many that went well. Where these alone hold nothing, all of them hold nothing."""
IN_A_ROW = 3
"""So many releases in a row that had to leave are no accident: something else is wrong."""


def why_held(environment: str, entries: Iterable[Entry]) -> str | None:
    """Why nothing may be released there, by all entries of `KINDS`; None if something may."""
    why, row = None, 0
    for entry in sorted(entries, key=lambda entry: entry.number):
        if entry.body["environment"] != environment:
            continue
        if entry.kind == HELD.kind:
            known = known_as(bool(entry.body.get("signed_in")), str(entry.body.get("way", "")))
            why = f"{environment!r} is held by {entry.body['by']} ({known}): {entry.body['reason']}"
        elif entry.kind == OPENED.kind:
            why, row = None, 0
        elif entry.kind == LIVE.kind:
            row = 0
        elif not is_asked_for(entry):
            row += 1
            if row >= IN_A_ROW:
                why = f"{environment!r} is held: {row} releases in a row were rolled back"
    return why


def is_asked_for(entry: Entry) -> bool:
    """Whether a person asked for a rollback. Entries of older versions say it by their key alone."""
    return bool(entry.body.get("is_asked_for", entry.key == entry.body["environment"]))


def live_before(lived: Sequence[str], now: str | None) -> tuple[str, ...]:
    """Revisions that were seen live before `now` was, the newest first. `lived`: all that were, oldest first.

    Never a later one: rolling back twice does not go forward.
    """
    seen = list(lived)
    if now in seen:
        seen = seen[: len(seen) - 1 - seen[::-1].index(now)]
    return tuple(dict.fromkeys(revision for revision in reversed(seen) if revision != now))
