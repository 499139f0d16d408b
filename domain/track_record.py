"""What agents did, as a team can read it and count it again: from the ledger alone, with how much of it is luck.

A task counts for the agent whose attempt was merged; where none was, for the one that made its last attempt; before any
attempt, for the one that the brief names first. Its money and minutes are divided among its attempts.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from domain.history import AttemptHistory, Back, History, TaskHistory
from domain.share import Share

REASONS = 5
"""So many rules are named, those that refused most often."""
EXAMPLES = 3
"""So many runs are named for each."""
UNKNOWN = "not on record"
NO_MODEL = "none called"


class RecordLine(NamedTuple):
    """Of what the record is of."""

    agent: str
    model: str
    version: str
    repository: str


class Reason(NamedTuple):
    """A rule that refused attempts."""

    rule: str
    times: int
    runs: tuple[str, ...]
    """The newest of them."""


class TrackRecord(NamedTuple):
    """What one line of agents, or all, did."""

    line: RecordLine
    asked: int
    """Tasks, those of deleted runs too."""
    attempts: int
    judged: int
    """Tasks of which the gates judged the first attempt, or that had none they could judge."""
    at_first: int
    """Of these, tasks whose first attempt no gate refused."""
    merged: int
    live: int
    released: int
    """What was live, or was taken back before it was."""
    rolled_back: int
    """Of what was released, those that were taken back, whoever did it."""
    reverted: int
    usd: float
    minutes: float
    """Of sandbox time."""
    reasons: tuple[Reason, ...]

    @property
    def first_try(self) -> Share:
        return Share(self.at_first, self.judged)

    @property
    def merged_of_asked(self) -> Share:
        return Share(self.merged, self.asked)

    @property
    def taken_back(self) -> Share:
        return Share(self.rolled_back, self.released)

    @property
    def usd_per_live(self) -> float | None:
        """All money, also that of what came to nothing, by changes that went live and stayed; None without any."""
        return self.usd / self.stayed if self.stayed else None

    @property
    def minutes_per_live(self) -> float | None:
        return self.minutes / self.stayed if self.stayed else None

    @property
    def stayed(self) -> int:
        return self.released - self.rolled_back

    @property
    def data(self) -> dict[str, Any]:
        """As JSON data."""
        counts = ("asked", "attempts", "merged", "live", "released", "rolled_back", "reverted")
        return {
            **self.line._asdict(),
            **{name: getattr(self, name) for name in counts},
            "passed_gates_at_first_try": self.first_try.data,
            "merged_of_asked": self.merged_of_asked.data,
            "rolled_back_of_released": self.taken_back.data,
            "usd": round(self.usd, 6),
            "minutes": round(self.minutes, 2),
            "usd_per_live_change": _rounded(self.usd_per_live, 4),
            "minutes_per_live_change": _rounded(self.minutes_per_live, 2),
            "refused_by": [{"rule": each.rule, "times": each.times, "runs": list(each.runs)} for each in self.reasons],
        }


class _Part(NamedTuple):
    """What a task adds to a line."""

    line: RecordLine
    task: TaskHistory
    tries: tuple[AttemptHistory, ...]
    first: AttemptHistory | None
    """Of the agent in this task, also if that one called another model."""
    usd: float
    minutes: float
    is_its: bool
    """Whether the task counts for this line; otherwise only these attempts do."""


def records(
    histories: Iterable[History], by: Callable[[RecordLine], RecordLine] = lambda line: line
) -> tuple[TrackRecord, ...]:
    """One for each line, by name: an order by success would say more than the numbers do. `by`: lines that it makes
    equal are one."""
    parts: dict[RecordLine, list[_Part]] = defaultdict(list)
    back: dict[str, Back] = {}
    for history in histories:
        back.update(history.back)
        for task in history.tasks.values():
            for part in _parts(task):
                parts[by(part.line)].append(part)
    return tuple(_record(line, parts[line], back) for line in sorted(parts))


def total(histories: Iterable[History]) -> TrackRecord | None:
    """Of all together; None if nothing was asked for."""
    whole = records(histories, by=lambda _: RecordLine("all", "", "", ""))
    return whole[0] if whole else None


def by_agent(line: RecordLine) -> RecordLine:
    """For `records`: one line for each agent."""
    return RecordLine(line.agent, "", "", "")


def newest_released(history: History, agent: str, most: int) -> Share:
    """Of the newest changes of an agent that were released, so many at most: those that were taken back."""
    mine = [task for task in _owned_by(history, agent) if task.live or _gone(task, history)]
    mine = sorted(mine, key=lambda task: (task.merged_at or task.asked_at or EARLIEST, task.run_id))[-most:]
    return Share(sum(_gone(task, history) for task in mine), len(mine))


def newest_first_tries(history: History, agent: str, most: int) -> Share:
    """Of its newest tasks of which the gates judged the first attempt, so many at most: those that no gate refused."""
    firsts = [
        (task, next((one for _, one in sorted(task.tries.items()) if (one.agent or task.agents[0]) == agent), None))
        for task in _owned_by(history, agent)
    ]
    judged = [(task, one) for task, one in firsts if one and (one.is_refused is not None or one.commit is None)]
    judged = sorted(judged, key=lambda each: (each[1].at, each[0].run_id))[-most:]
    return Share(sum(one.is_refused is False for _, one in judged), len(judged))


EARLIEST = datetime(1, 1, 1, tzinfo=UTC)


def _owned_by(history: History, agent: str) -> Iterable[TaskHistory]:
    return (task for task in history.tasks.values() if task.agents and _owner(task) == agent)


def _owner(task: TaskHistory) -> str:
    tries = [task.tries[number] for number in sorted(task.tries)]
    return _line(task, _merged_of(task) or (tries[-1] if tries else None)).agent


def _gone(task: TaskHistory, history: History) -> bool:
    return any(commit in history.back for commit in (*task.live, task.merged or ""))


def _parts(task: TaskHistory) -> Iterable[_Part]:
    if not task.agents:
        return  # a rollback, say: nobody was asked to edit
    tries = tuple(task.tries[number] for number in sorted(task.tries))
    its = _merged_of(task) or (tries[-1] if tries else None)
    owner = _line(task, its)
    by_line: dict[RecordLine, list[AttemptHistory]] = {owner: []}
    for one in tries:
        by_line.setdefault(_line(task, one), []).append(one)
    others = {one.number for line, mine in by_line.items() if line != owner for one in mine}
    for line, mine in by_line.items():
        numbers = {one.number for one in mine}

        def is_its(attempt: int, line: RecordLine = line, numbers: set[int] = numbers) -> bool:
            """What is of no other agent's attempt, such as planning and releasing, is the owner's."""
            return attempt in numbers or (line == owner and attempt not in others)

        used = [used for paid, used in task.used.items() if is_its(paid.attempt)]
        usd = sum(each.usd for each in used) + sum(usd for paid, usd in task.reserved.values() if is_its(paid.attempt))
        seconds = sum(each.sandbox_s for each in used)
        first = next((one for one in tries if (one.agent or task.agents[0]) == line.agent), None)
        yield _Part(line, task, tuple(mine), first, usd, seconds / 60, line == owner)


def _merged_of(task: TaskHistory) -> AttemptHistory | None:
    """The attempt that was merged: its commit is another where the branch had moved."""
    if task.judged is None:
        return None
    own = next((one for one in task.tries.values() if one.commit == task.judged), None)
    asked = next((each.attempt for each in task.asked.values() if each.commit == task.judged), 0)
    return own or task.tries.get(task.commits.get(task.judged, asked))


def _line(task: TaskHistory, one: AttemptHistory | None) -> RecordLine:
    """Its model is the one that was called most: policy may have chosen another than the agent's own. An attempt that
    called none is put down to the one of the agent's other attempts."""
    agent = one.agent if one else ""
    same = {each.number for each in task.tries.values() if each.agent == agent}
    calls = {model: count for (attempt, model), count in task.models.items() if one and attempt == one.number}
    if not calls:
        calls = {model: count for (attempt, model), count in task.models.items() if attempt in same}
    model = max(sorted(calls), key=lambda name: calls[name]) if calls else NO_MODEL
    return RecordLine(
        (one.agent if one else "") or task.agents[0], model, (one.version if one else "") or UNKNOWN, task.repository
    )


def _record(line: RecordLine, parts: list[_Part], back: dict[str, Back]) -> TrackRecord:
    mine = [part.task for part in parts if part.is_its]
    first = [part.first for part in parts if part.is_its and part.first]
    judged = [one for one in first if one.is_refused is not None or one.commit is None]
    gone = [[back[commit] for commit in (task.live | {task.merged or ""}) if commit in back] for task in mine]
    rules: dict[str, list[str]] = defaultdict(list)
    for part in parts:
        for one in part.tries:
            for rule in dict.fromkeys(one.rules) if one.is_refused else ():
                rules[rule].append(part.task.run_id)
    most = sorted(rules.items(), key=lambda each: (-len(each[1]), each[0]))[:REASONS]
    return TrackRecord(
        line=line,
        asked=len(mine),
        attempts=sum(len(part.tries) for part in parts),
        judged=len(judged),
        at_first=sum(one.is_refused is False for one in judged),
        merged=sum(task.merged is not None for task in mine),
        live=sum(bool(task.live) for task in mine),
        released=sum(bool(task.live or found) for task, found in zip(mine, gone, strict=True)),
        rolled_back=sum(map(bool, gone)),
        reverted=sum(any(each.is_reverted for each in found) for found in gone),
        usd=sum(part.usd for part in parts),
        minutes=sum(part.minutes for part in parts),
        reasons=tuple(Reason(rule, len(runs), tuple(dict.fromkeys(reversed(runs)))[:EXAMPLES]) for rule, runs in most),
    )


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
