"""What a person has to hear of, by the ledger: which incidents there are, when each ends, who is told. Pure."""

from collections.abc import Iterable
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from domain.entry import Entry
from domain.policy.holding import KINDS as OF_HOLDING
from domain.policy.holding import why_held
from domain.records import (
    ANSWERS,
    APPROVAL,
    ATTEMPT,
    LACKING,
    LIVE,
    MERGED,
    NOTIFIED,
    NOTIFYING,
    OPENED,
    OUTCOME,
    PLAN,
    QUESTION,
    READY,
    ROLLED_BACK,
    kinds_of,
)
from domain.value import Value
from domain.windows import Zone

RUN = "notices"
"""The run that the ledger has what was told under."""


class Class(StrEnum):
    """A class of event. Each has a route of its own."""

    REVIEW = "review"
    QUESTION = "question"
    ROLLED_BACK = "rolled_back"
    HELD = "held"
    FROZEN = "frozen"
    GAVE_UP = "gave_up"
    BUDGET = "budget"
    PAGER = "pager"


WAITING = (Class.REVIEW, Class.QUESTION)
"""What somebody is reminded of."""
URGENT = (Class.ROLLED_BACK, Class.HELD, Class.FROZEN, Class.PAGER)
"""What quiet hours do not hold back."""
Step = Literal["first", "reminder", "escalation", "end"]
KINDS = (
    *kinds_of(QUESTION, APPROVAL, PLAN, ATTEMPT, ANSWERS, LACKING, READY, MERGED, OUTCOME, NOTIFIED, NOTIFYING),
    *OF_HOLDING,
)
"""Entries that tell of incidents, and of what was told about them."""


class Notices(Value):
    """Who is told of what, and when. Channels are blocks, as type/name."""

    routes: dict[Class, tuple[str, ...]] = Field(
        {}, description="Class of event → channels: the first is told; the next one if that fails"
    )
    otherwise: tuple[str, ...] = Field((), description="The channels of every class without a route")
    remind_hours: float = Field(4, gt=0, description="After so long, who has not answered is reminded, once")
    escalate_hours: float = Field(24, gt=0, description="After so long it goes to `escalate_to`, once")
    escalate_to: tuple[str, ...] = Field((), description="Channels; empty: nothing is escalated")
    quiet_from: time | None = Field(None, description="From then on nobody hears of what is not urgent")
    quiet_until: time | None = Field(None, description="Then what was held back comes, as one digest")
    zone: Zone = Field("UTC", description="IANA time zone of the quiet hours")
    desk: str = Field("", description="Address of the desk in messages; default: the one on this machine")

    @model_validator(mode="after")
    def _both_or_none(self) -> "Notices":
        if (self.quiet_from is None) != (self.quiet_until is None):
            raise ValueError("`quiet_from` and `quiet_until` go together")
        return self

    def route(self, kind: Class) -> tuple[str, ...]:
        """The channels of a class, in the order in which they are tried; empty: nobody hears of it."""
        return self.routes.get(kind, self.otherwise)

    @property
    def channels(self) -> tuple[str, ...]:
        """Every channel that is named, once."""
        named = (*(one for route in self.routes.values() for one in route), *self.otherwise, *self.escalate_to)
        return tuple(dict.fromkeys(named))

    def is_quiet(self, now: datetime) -> bool:
        """Whether `now` is within the quiet hours, which may go over midnight."""
        if self.quiet_from is None or self.quiet_until is None:
            return False
        at = now.astimezone(ZoneInfo(self.zone)).time()
        if self.quiet_from <= self.quiet_until:
            return self.quiet_from <= at < self.quiet_until
        return at >= self.quiet_from or at < self.quiet_until


class Incident(Value):
    """One thing that a person has to hear of."""

    key: str = Field(description="The same for as long as it lasts: channels know by it what belongs together")
    kind: Class
    what: str = Field(description="One line")
    why: str = ""
    run_id: str | None = None
    environment: str | None = None
    since: datetime
    ended: datetime | None = None


class Message(Value):
    """What a channel gets."""

    key: str = Field(description="The incident's")
    subject: str
    body: str
    urgent: bool = False
    is_over: bool = Field(False, description="The incident has ended")


class Notifying(Value):
    """A message is about to be sent: were we killed now, it would be sent once more, with the same key."""

    key: str
    step: Step
    channel: str
    keys: tuple[str, ...] = Field(description="Of the incidents in it: several in a digest")


class Notified(Notifying):
    """How that ended, as it was observed."""

    problem: str | None = Field(None, description="None: the channel took it")


class Incidents:
    """All of them, by taking the entries of `KINDS` in their order. What was told of each is known too."""

    def __init__(self) -> None:
        self.known: dict[str, Incident] = {}
        self.told: dict[tuple[str, Step], list[Notified]] = {}
        """(incident, step) → every message about it of which the end was seen."""
        self.begun: dict[tuple[str, Step, str], int] = {}
        """(message, step, channel) → how often it was begun."""
        self.seen: dict[tuple[str, Step, str], int] = {}
        """The same → how often its end was seen."""
        self._of_environment: dict[str, list[Entry]] = {}
        self._broken: dict[str, str] = {}

    def take(self, entries: Iterable[Entry]) -> None:
        """Entries that came since. What another version wrote is passed over: it was told by that one."""
        for entry in entries:
            try:
                self._take(entry)
            except (LookupError, TypeError, ValueError, AttributeError):
                continue

    def begin(self, incident: Incident) -> None:
        """One that no single entry tells of, such as a budget that is nearly used up."""
        self.known.setdefault(incident.key, incident)

    def is_delivered(self, key: str, step: Step) -> bool:
        """Whether a channel took it."""
        return any(one.problem is None for one in self.told.get((key, step), ()))

    def _take(self, entry: Entry) -> None:
        run, body = entry.run_id, entry.body
        match entry.kind:
            case "question":
                what = f"a review of attempt {body['attempt']} waits"
                who = ", ".join(body.get("reviewers") or ())
                if body.get("again"):
                    what = f"{what}, again: {body['again']}"
                self._open(entry, Class.REVIEW, _asking(entry), what, f"Who may approve: {who}" if who else "")
            case "approval":
                if not body["waits_for"]:
                    self._end(f"{Class.REVIEW}/{run}/{_asking(entry)}", entry.at)
            case "plan" if body["questions"]:
                self._open(entry, Class.QUESTION, entry.key, "the agent asks", "\n".join(body["questions"]))
            case "attempt" if body["help"]:
                key = f"help-{body['number']}"
                self._open(entry, Class.QUESTION, key, "the agent asks for help", str(body["help"]))
            case "answers":
                self._end(f"{Class.QUESTION}/{run}/{entry.key}", entry.at)
            case "lacking":
                self._open(entry, Class.FROZEN, entry.key, "approved, and cannot be merged yet", str(body["reason"]))
            case "ready":
                self._end(f"{Class.FROZEN}/{run}/{entry.key}", entry.at)
            case "merged":
                self._end_of_run(run, entry.at, Class.FROZEN)
            case "outcome":
                self._end_of_run(run, entry.at, *Class)
                if body["end"] in (Class.FROZEN, Class.GAVE_UP):
                    why = "\n".join([body["sentence"], *body["reasons"]])
                    self._open(entry, Class(body["end"]), "outcome", str(body["end"]).replace("_", " "), why)
            case "notifying":
                sent = Notifying.model_validate(body)
                way = (sent.key, sent.step, sent.channel)
                self.begun[way] = self.begun.get(way, 0) + 1
            case "notified":
                self._notified(entry, Notified.model_validate(body))
            case _:
                self._of_serving(entry)

    def _of_serving(self, entry: Entry) -> None:
        environment = str(entry.body["environment"])
        mine = self._of_environment.setdefault(environment, [])
        mine.append(entry)
        if entry.kind == LIVE.kind:
            for known in list(self.known.values()):
                if known.kind is Class.ROLLED_BACK and known.environment == environment:
                    self._end(known.key, entry.at)
        if entry.kind == ROLLED_BACK.kind:
            serving = str(entry.body["serving"] or "nothing")[:12]
            what = f"{environment} was rolled back: {serving} serves"
            self._open(entry, Class.ROLLED_BACK, str(entry.body["failed"])[:12], what, "", environment)
        why = why_held(environment, mine)
        held = next((one for one in self.known.values() if one.kind is Class.HELD and one.environment == environment
                     and one.ended is None), None)  # fmt: skip
        if why and held is None:
            self._open(entry, Class.HELD, str(entry.number), f"{environment} is held", why, environment)
        if held and not why:
            self._end(held.key, entry.at)
        if not why and entry.kind in (LIVE.kind, OPENED.kind):
            mine.clear()  # nothing before it counts any more

    def _notified(self, entry: Entry, sent: Notified) -> None:
        for key in sent.keys:
            self.told.setdefault((key, sent.step), []).append(sent)
        way = (sent.key, sent.step, sent.channel)
        self.seen[way] = self.seen.get(way, 0) + 1
        broken = self._broken.get(sent.channel)
        if sent.problem is None and broken:
            self._end(self._broken.pop(sent.channel), entry.at)
        elif sent.problem is not None and not broken:
            what = f"{sent.channel} could not be reached"
            key = f"{Class.PAGER}/{sent.channel}/{entry.number}"
            self._broken[sent.channel] = key
            self.known[key] = Incident(key=key, kind=Class.PAGER, what=what, why=sent.problem, since=entry.at)

    def _open(self, entry: Entry, kind: Class, key: str, what: str, why: str, environment: str | None = None) -> None:
        whole = f"{kind}/{environment or entry.run_id}/{key}"
        run_id = entry.run_id if environment is None else None
        made = Incident(
            key=whole, kind=kind, what=what, why=why, run_id=run_id, environment=environment, since=entry.at
        )
        self.known.setdefault(whole, made)

    def _end(self, key: str, at: datetime) -> None:
        if (found := self.known.get(key)) and found.ended is None:
            self.known[key] = found.model_copy(update={"ended": at})

    def _end_of_run(self, run: str, at: datetime, *kinds: Class) -> None:
        for one in list(self.known.values()):
            if one.run_id == run and one.kind in kinds:
                self._end(one.key, at)


def _asking(entry: Entry) -> str:
    """A question, and how often it is asked: an answer is on record under the same key."""
    mark, again, turn = entry.key.partition("#")
    return f"{mark[:16]}{again}{turn}"


def due(incident: Incident, incidents: Incidents, policy: Notices, now: datetime) -> Step | None:
    """What has to be said of an incident now; None for nothing. Once said, it is never said again."""
    is_told = incidents.is_delivered(incident.key, "first")
    if incident.ended is not None:
        return "end" if is_told and not incidents.told.get((incident.key, "end")) else None
    if not is_told:
        return "first"
    if incident.kind not in WAITING:
        return None
    age = now - incident.since
    if policy.escalate_to and age >= timedelta(hours=policy.escalate_hours):
        return None if incidents.is_delivered(incident.key, "escalation") else "escalation"
    if age >= timedelta(hours=policy.remind_hours) and not incidents.is_delivered(incident.key, "reminder"):
        return "reminder"
    return None
