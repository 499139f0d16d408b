"""Puts a planted fault before a reviewer, where the team has turned that on and it is time for one."""

import functools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from blocks.ledger import history
from blocks.workshop import Workshop
from domain.diffs import files_of
from domain.errors import LockgateError
from domain.history import Asking, History, TaskHistory
from domain.planted import ACTIVE_DAYS, MOST_TEXT, RUN, Planted, PlantedFault, address_of, faults, seed, slots
from domain.policy.reviewers import canonical_name
from domain.records import PLANTED, PREPARED
from domain.task import Prepared
from domain.trees import LINK, Tree

MOST_LOOKED_AT = 20
"""So many merged changes are tried, for all reviewers together, before it is left for the next time."""
MOST_FILES = 50
"""Of a change with more files the others are not looked at."""


def plant(shop: Workshop, now: datetime | None = None) -> list[str]:
    """Put on record what is due. Safe to repeat: one for each slot of a reviewer's week. It says of nobody that one
    waits."""
    if not shop.planted.per_week:
        return []
    now, left = now or datetime.now(UTC), iter(range(MOST_LOOKED_AT))
    ledger, read = shop.ledger.identity(), history.read(shop.ledger.url.get_secret_value())
    for reviewer in _reviewers(read, now):
        for key in slots(ledger, reviewer, shop.planted.per_week, now):
            if key not in read.planted and (made := _made(shop, read, reviewer, seed(ledger, key), left)):
                task, asking, fault = made
                planted = Planted(
                    id=address_of(ledger, key), reviewer=reviewer, run_id=task.run_id, question=asking.key,
                    **fault._asdict(),
                )  # fmt: skip
                shop.ledger.record(RUN, *PLANTED.at(key), planted)
    return []


def _reviewers(read: History, now: datetime) -> list[str]:
    """Who answered a review of late, at the door: nobody else has a page that one could be shown on."""
    given = [one for task in read.tasks.values() for one in task.given if one.signed_in and not one.forge]
    since = now - timedelta(days=ACTIVE_DAYS)
    return sorted({canonical_name(one.by): one.by for one in given if one.at >= since}.values())


def _made(
    shop: Workshop, read: History, reviewer: str, number: int, left: Iterator[int]
) -> tuple[TaskHistory, Asking, PlantedFault] | None:
    """Of a change that was merged and that this reviewer has not seen; `left`: one for each that may be looked at."""
    found = list(_unseen(read, canonical_name(reviewer)))
    for at, _ in zip(range(len(found)), left, strict=False):
        task, asking = found[(number + at) % len(found)]
        try:
            begun = shop.ledger.entries(run_id=task.run_id, kind=PREPARED.kind)
            prepared = Prepared.model_validate(begun[-1].body)  # the newest base is that of the merged change
            files = files_of(shop.forge.diff(prepared.brief.repository, prepared.base, asking.commit))[0][:MOST_FILES]
            paths = {file.path for file in files}
            tree = shop.forge.files(prepared.brief.repository, asking.commit, paths, MOST_TEXT)
        except (LockgateError, ValueError, IndexError):
            continue  # it is not here any more
        possible = faults(files, prepared.settings.test_paths, functools.partial(_text, tree))
        if possible:
            return task, asking, possible[number % len(possible)]
    return None


def _text(tree: Tree, path: str) -> str | None:
    file = tree.get(path)
    return file.content.decode("utf-8", "replace") if file and file.mode != LINK else None


def _unseen(read: History, name: str) -> Iterator[tuple[TaskHistory, Asking]]:
    for task in sorted(read.tasks.values(), key=lambda task: task.run_id):
        saw = {who for _, who, _ in task.looks} | {canonical_name(one.by) for one in task.given}
        if task.merged is None or name in saw or name == canonical_name(task.asked_by):
            continue
        for asking in task.asked.values():
            if asking.attempt and asking.commit == task.judged:
                yield task, asking
                break
