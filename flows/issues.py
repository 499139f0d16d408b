"""Issues and pull requests at hosted forges, and tickets of trackers, become runs, one for each label or command of
somebody who may ask there, and one comment tells how it goes. An agent works on an issue; what a pull request holds is
judged as it is. The inbox folder is in `intake.py`; what an issue's text means is in `domain/issues.py`.

Everything that decides is on record first: what was asked for, and from which text; then the run is made, under a key
of its own; then it is told. So a round that is killed anywhere is taken up by the next one, and starts nothing twice.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from time import monotonic
from typing import TypeVar
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling

from blocks.catalogue import unusable_agents
from blocks.host.alive import mark_of_this
from blocks.ledger.leases import held_by
from blocks.workshop import Workshop
from domain.access import Cancelled, NotCancelled
from domain.brief import Brief
from domain.errors import InputError, NotYet, reason_of
from domain.issues import (
    AskedFor,
    Decided,
    Intake,
    Issue,
    IssueComment,
    IssueEvent,
    IssueMark,
    IssueRun,
    IssueText,
    IssueTold,
    ReadIssue,
    TicketIntake,
    Trigger,
    TriggerOutcome,
    read_issue,
)
from domain.policy.brief_lint import lint_brief
from domain.policy.issue_triggers import is_a_person, triggers, why_changed, why_stopped, why_unsure
from domain.policy.reviewers import canonical_name
from domain.ports import IssueForge, Tracker
from domain.records import ASKED_FOR, CANCELLED, ISSUE_MARK, ISSUE_RUN, ISSUE_TOLD, ISSUE_TRIGGER, MERGED, NOT_CANCELLED
from domain.value import digest_of
from flows.issue_comment import FINAL, comment_of
from tasks.people.pager import page

LEASE, LEASE_S = "forges/issues", 120.0
OVERLAP = timedelta(minutes=2)
"""So much of what was seen is asked for again: a forge's list may be late by seconds."""
SETTLED = timedelta(seconds=2)
LATE, LATE_S = timedelta(hours=1), 3600.0
"""A list in which nothing is new is asked for from so long ago, at most: it may be late, too, and does not say so."""
PASSES_S = 900.0
"""A forge that cannot be asked for so long is told to a person."""
CONFIDENTIAL = (
    "it is confidential, and a run would show its text to all who may see the repository: open another issue with what "
    "they may know, or let confidential issues start runs in the workshop (`confidential` of `issues`)"
)
MARKER = "lockgate:issue"
MOST_SHOWN = 50_000
TOO_LONG = (
    f"it is not known which text is meant, and this one is too long to be shown here ({MOST_SHOWN:,} characters at "
    "most): somebody who may write here opens an issue with it"
)
T = TypeVar("T")
log = logging.getLogger("lockgate")


class WatchedRepository:
    """What we remember of one repository or project between two rounds. All of it is found again without it."""

    def __init__(
        self,
        host: Tracker,
        number: int | str,
        started: datetime,
        pulls_since: datetime,
        assigned_since: datetime | None,
        since: datetime,
    ) -> None:
        self.host, self.id, self.started, self.since = host, number, started, since
        self.pulls_since, self.assigned_since = pulls_since, assigned_since
        self.done: dict[str, object] = {}
        """Issue → what it was like when all of its triggers were decided."""
        self.told: dict[str, str] = {}
        self.first_read: dict[tuple[str, str, str], datetime] = {}
        """(issue, trigger, version of its text) → when that was first read."""
        self.moment = since
        """What time the forge said it was when it was asked last."""
        self.ask_time_at = 0.0
        """When it is asked next, by our clock."""


class IssueWatch:
    """Asks forges for issues that want a run. One round at a time; `holder` names this process among all machines."""

    def __init__(
        self, holder: str, say: Callable[[str], object], usable: Callable[[Brief], tuple[str, ...]] = unusable_agents
    ) -> None:
        self._holder, self._say, self._usable = holder, say, usable
        self._places: dict[tuple[str, Intake], WatchedRepository] = {}
        self._books: dict[str, IssueBook] = {}
        self._troubles: dict[tuple[str, Intake], str] = {}
        self._late: dict[tuple[str, Intake], tuple[float, str]] = {}
        """(workshop, intake) → since when each round failed by what passes, and what was told of that."""

    def look(self, client: SyncPrefectClient, shops: Mapping[str, Workshop]) -> None:
        """One round over what workshops name under `issues` and `tickets`. One that fails keeps no other waiting."""
        for name, shop in shops.items():
            for intake in (*shop.issues, *shop.tickets):
                if not self._has_lease(shop):
                    break  # another machine asks for this ledger's workshops
                try:
                    self._look_at(client, name, shop, intake)
                except NotYet as err:
                    log.info("issues of %s: %s", intake.place, err)
                    self._wait(shop, (name, intake), str(err))
                except Exception as err:
                    self._note(shop, (name, intake), reason_of(err))
                else:
                    self._note(shop, (name, intake), "")
                    self._late.pop((name, intake), None)

    def _has_lease(self, shop: Workshop) -> bool:
        """It ends with this process, so that after a crash the next one goes on at once."""
        return shop.ledger.lease(LEASE, self._holder, LEASE_S, mark_of_this()) is not None

    def _wait(self, shop: Workshop, place: tuple[str, Intake], why: str) -> None:
        """What passes by itself is told as soon as it has lasted."""
        since, last = self._late.get(place, (monotonic(), ""))
        is_long = monotonic() - since > PASSES_S
        self._late[place] = since, last or (f"for {PASSES_S / 60:.0f} minutes now: {why}" if is_long else "")
        if is_long:
            self._note(shop, place, self._late[place][1])

    def _note(self, shop: Workshop, place: tuple[str, Intake], trouble: str) -> None:
        """A person is told once of what is wrong, and not at each round."""
        if trouble and self._troubles.get(place) != trouble:
            log.warning("issues of %s are not looked at: %s", place[1].place, trouble)
            page(shop.pager, f"Lockgate: issues of {place[1].place} are not looked at", trouble)
        self._troubles[place] = trouble

    def _look_at(self, client: SyncPrefectClient, name: str, shop: Workshop, intake: Intake) -> None:
        host = _host(shop, intake)
        place = self._places.get((name, intake)) or _place(shop, host, intake)
        self._places[(name, intake)], place.host = place, host

        def go_on() -> None:
            if not self._has_lease(shop):
                raise NotYet("another machine goes on here: this one was too slow")

        book = self._books.setdefault(shop.ledger.place, IssueBook())
        work = _Work(name, shop, intake, place, book, self._usable, go_on)

        def start() -> None:
            asked = [one for one, run in work.open_ones() if one.answer is TriggerOutcome.RUN and run is None]
            _each(asked, lambda one: self._say(f"run {work.start(client, one)} was asked for {_by(one)}"))

        # What cannot be decided keeps nothing from being started, nor from being cancelled.
        steps: tuple[Callable[[], None], ...] = (work.decide_new, start, lambda: work.follow(client))
        _each(steps, lambda step: step())


def _host(shop: Workshop, intake: Intake) -> Tracker:
    if isinstance(intake, TicketIntake):
        return shop.tracker(intake.tracker)
    host = shop.forge.hosted(intake.repository)
    if host is None:
        raise InputError("no block of a hosted forge is for it: name one under `hosts` of the workshop's forge")
    if not isinstance(host, IssueForge):
        raise InputError(f"issues of {host.host} start no runs")
    return host


def _at(intake: Intake) -> str:
    """What the host is asked about."""
    if not isinstance(intake, TicketIntake):
        return intake.repository
    return f"{intake.project}/{intake.part}" if intake.part else intake.project


def _place(shop: Workshop, host: Tracker, intake: Intake) -> WatchedRepository:
    """Where we were. What was asked for before this was switched on starts nothing."""
    number = host.place_id(_at(intake))
    key = f"issues/{host.host}/{number}/{_mark_name(intake)}"
    marks = _marks(shop, host, intake, key)
    pulls = _marks(shop, host, intake, f"{key}/pulls") if intake.takes_pulls else marks
    assigned = _marks(shop, host, intake, f"{key}/assigned")[0] if intake.assigned else None
    return WatchedRepository(host, number, marks[0], pulls[0], assigned, max(marks) - OVERLAP)


def _mark_name(intake: Intake) -> str:
    part = f"/part {intake.part_of_it.casefold()}" if intake.part_of_it else ""
    return f"{intake.label.casefold()}{part}"


def _marks(shop: Workshop, host: Tracker, intake: Intake, key: str) -> list[datetime]:
    """The first of them is when it was switched on."""
    first = shop.ledger.entries(run_id=key, kind=ISSUE_MARK.kind)
    if not first:
        now = host.moment(_at(intake))
        shop.ledger.record(key, *ISSUE_MARK.at(now.isoformat()), IssueMark(at=now))
        first = shop.ledger.entries(run_id=key, kind=ISSUE_MARK.kind)
    return [IssueMark.model_validate(entry.body).at for entry in first]


class IssueBook:
    """What a ledger says of issues, read on from where we were."""

    def __init__(self) -> None:
        self._seen = 0
        self._told: set[tuple[str, str]] = set()
        self.open: dict[tuple[str, str], Decided] = {}
        self.runs: dict[tuple[str, str], str] = {}

    def read(self, shop: Workshop) -> None:
        until, after = shop.ledger.last_number(), self._seen
        self._told |= {(one.run_id, one.key) for one in shop.ledger.entries(kind=ISSUE_TOLD.kind, after=after)}
        for entry in shop.ledger.entries(kind=ISSUE_RUN.kind, after=after):
            self.runs[entry.run_id, entry.key] = str(entry.body["run_id"])
        for entry in shop.ledger.entries(kind=ISSUE_TRIGGER.kind, after=after):
            if entry.body["answer"] in (TriggerOutcome.RUN, TriggerOutcome.REFUSED):
                self.open[entry.run_id, entry.key] = Decided.model_validate(entry.body)
        for over in self._told & self.open.keys():
            del self.open[over]
            self.runs.pop(over, None)
        self._seen = until


class _Work:
    """One round for one repository."""

    def __init__(
        self,
        name: str,
        shop: Workshop,
        intake: Intake,
        place: WatchedRepository,
        book: IssueBook,
        usable: Callable[[Brief], tuple[str, ...]],
        go_on: Callable[[], None],
    ) -> None:
        self.name, self.shop, self.intake, self.place, self.book = name, shop, intake, place, book
        self.host, self.usable, self.go_on = place.host, usable, go_on
        self.at = _at(intake)
        self.key = f"issues/{place.host.host}/{place.id}"

    def _of(self, name: str) -> str:
        """Where an issue's triggers are on the ledger: the same, whatever its repository is called by now."""
        return f"{self.key}/{name}"

    @cached_property
    def me(self) -> str:
        return self.host.me(self.at)

    def _name(self, one: Issue | IssueComment | Decided) -> str:
        return self.host.name_of(one.number, is_pull=one.is_pull)

    # ── what is asked for ──

    def decide_new(self) -> None:
        """Every trigger that nobody has decided yet. All that changed is read before anything is."""
        place = self.place
        if monotonic() >= place.ask_time_at:
            place.moment, place.ask_time_at = self.host.moment(self.at), monotonic() + LATE_S
        listed = [*self.host.issues(self.at, self.intake.label, place.since)]
        if self.intake.assigned:
            self.go_on()
            listed += self.host.assigned(self.at, self.me, place.since)
        found = {self._name(one): one for one in listed}
        self.go_on()
        comments = self.host.issue_comments(self.at, place.since)
        commands: dict[str, list[IssueComment]] = defaultdict(list)
        for comment in comments:
            if comment.is_command:
                commands[self._name(comment)].append(comment)
        for name in commands.keys() - found.keys():
            first = commands[name][0]
            if issue := self.host.issue(self.at, first.number, is_pull=first.is_pull):
                found[name] = issue
        times = [one.updated_at for one in found.values()] + [one.updated_at for one in comments]
        newest = max(times, default=place.since)
        waiting: list[str] = []

        def decide(issue: Issue) -> None:
            name = self._name(issue)
            seen = (issue.updated_at, tuple(one.id for one in commands[name]))
            is_settled = issue.updated_at < newest - SETTLED  # the clock counts seconds: more may come in the same one
            if not issue.is_open or (is_settled and place.done.get(name) == seen):
                return
            if self._decide(issue, commands[name]):
                place.done[name] = seen
            else:
                waiting.append(name)

        _each(sorted(found.values(), key=lambda one: (one.is_pull, one.number)), decide)
        for known in (place.done, place.first_read):
            if len(known) > 10_000:
                known.clear()
        if not waiting:
            self._advance(max(newest, place.moment - LATE))

    def _advance(self, newest: datetime) -> None:
        """The next round asks from here. Once a day that is kept, for a process that begins anew."""
        if newest - OVERLAP > self.place.since:
            self.place.since = newest - OVERLAP
            at = IssueMark(at=newest)
            key = f"{self.key}/{_mark_name(self.intake)}"
            last = self.shop.ledger.last(ISSUE_MARK.kind, run_id=key)
            if last and IssueMark.model_validate(last.body).at.date() < newest.date():
                self.shop.ledger.record(key, *ISSUE_MARK.at(f"{newest:%Y-%m-%d}"), at)

    def _decide(self, issue: Issue, commands: list[IssueComment]) -> bool:
        """Whether all of its triggers are decided."""
        self.go_on()
        if issue.is_pull and not self._takes(issue):
            return True
        events = self.host.issue_events(self.at, issue.number, is_pull=issue.is_pull)
        since, assigned = self.place.started, self.place.assigned_since
        if issue.is_pull:
            since, assigned = self.place.pulls_since, assigned and max(assigned, self.place.pulls_since)
        asked = triggers(events, commands, self.intake.label, since, self.me, assigned)
        decided = self.shop.ledger.entries(run_id=self._of(self._name(issue)), kind=ISSUE_TRIGGER.kind)
        known = {entry.key for entry in decided}
        fresh = [one for one in asked if known.isdisjoint((one.key, self._nobody(one)))]
        allowed = [one for one in fresh if self._may_ask(one)]
        for one in fresh:
            if not one.is_comment and one not in allowed:
                self._record(issue, one, TriggerOutcome.NOBODY)
        if not allowed:
            return True
        newest = allowed[-1]
        if under_way := self._under_way(issue):
            if all(self._is_given_up(run, decided, events) for decided, run in under_way):
                return False  # then this one
            for one in allowed:
                self._record(issue, one, TriggerOutcome.OVERTAKEN)
            return True
        text, shown = self.host.issue_text(self.at, issue.number, is_pull=issue.is_pull), ""
        why = CONFIDENTIAL if text.is_confidential and not self.intake.confidential else None
        why = why or why_changed(newest, text, self.host.issue_events(self.at, issue.number, is_pull=issue.is_pull))
        if why is None and not self._is_noted(issue, newest, text):
            return False
        for one in allowed[:-1]:
            self._record(issue, one, TriggerOutcome.OVERTAKEN)
        if why:
            read = ReadIssue(None, (why,), ())
        else:
            read = read_issue(text, self.intake, self.name, self._lint, issue.number if issue.is_pull else None)
        if read.brief and (why := why_unsure(newest, text, is_by_writers=self._is_by_writers(issue, text))):
            shown = f"{text.title}\n\n{text.body}"
            read = ReadIssue(None, (why if len(shown) <= MOST_SHOWN else TOO_LONG,), ())
        self._record(
            issue, newest, TriggerOutcome.RUN if read.brief else TriggerOutcome.REFUSED, read, shown[:MOST_SHOWN]
        )
        return True

    def _under_way(self, issue: Issue) -> list[tuple[Decided, str | None]]:
        """Its runs that are not at their end."""
        name = self._name(issue)
        return [one for one in self.open_ones() if one[0].answer is TriggerOutcome.RUN and self._name(one[0]) == name]

    def _is_given_up(self, run: str | None, decided: Decided, events: Sequence[IssueEvent]) -> bool:
        """Whether a run is being cancelled, or will be in this round, as nobody wants it any more."""
        entries = self.shop.ledger.entries(run_id=run) if run else ()
        kinds = [one.kind for one in entries if one.kind in (CANCELLED.kind, NOT_CANCELLED.kind)]
        is_ending = bool(kinds) and kinds[-1] == CANCELLED.kind
        why = why_stopped(decided.trigger, events, self.intake.label, is_open=True, me=self.me)
        return is_ending or why is not None

    def _is_noted(self, issue: Issue, one: Trigger, text: IssueText) -> bool:
        """Whether an edit before this text would be among its events by now: nothing changed of late, or this very text
        was read before, after it was asked for. So whoever only talks there holds nothing up."""
        if text.noted_until is None or text.read_at is None:
            return True
        if text.changed_at and text.changed_at <= text.noted_until:
            return True
        return text.noted_until > self.place.first_read.setdefault(
            (self._name(issue), one.key, text.version), text.read_at
        )

    def _is_by_writers(self, issue: Issue, text: IssueText) -> bool:
        """Whether all who may edit it may also ask for a run: its author, and everybody else who may write."""
        return text.is_edit_told or (issue.by is not None and self.host.may_ask(self.at, issue.by, self.intake.only))

    def _takes(self, pull: Issue) -> bool:
        """Whether a label or command at this pull request can ask for anything. Our own are judged anyway."""
        is_ours = pull.by is not None and canonical_name(pull.by.login) == canonical_name(self.me)
        return self.intake.takes_pulls and not is_ours

    def _may_ask(self, one: Trigger) -> bool:
        """Asked at this moment, by the user's id."""
        return is_a_person(one, self.me) and self.host.may_ask(self.at, one.by, self.intake.only)

    def _lint(self, brief: Brief) -> tuple[str, ...]:
        return (*lint_brief(brief, environments=self.shop.targets), *self.usable(brief))

    def _record(
        self, issue: Issue, one: Trigger, answer: TriggerOutcome, read: ReadIssue | None = None, shown: str = ""
    ) -> None:
        brief, reasons, hidden = read or ReadIssue(None, (), ())
        decided = Decided(
            trigger=one,
            answer=answer,
            workshop=self.name,
            number=issue.number,
            url=issue.url,
            name=issue.name,
            part=self.intake.part_of_it,
            is_pull=issue.is_pull,
            brief=brief,
            reasons=reasons,
            hidden=hidden,
            shown=shown,
        )
        key = self._nobody(one) if answer is TriggerOutcome.NOBODY else one.key
        self.shop.ledger.record(self._of(self._name(issue)), *ISSUE_TRIGGER.at(key), decided)

    def _nobody(self, one: Trigger) -> str:
        """Under which it is noted that whoever asked may not ask this entry: another one may name them."""
        return f"{one.key}-nobody-{digest_of([self.name, self.intake.part_of_it.casefold()])[:16]}"

    # ── what is under way ──

    def open_ones(self) -> list[tuple[Decided, str | None]]:
        """What was decided and is not at its end, with its run."""
        self.book.read(self.shop)
        mine = f"{self.key}/"
        return [
            (decided, self.book.runs.get(at))
            for at, decided in self.book.open.items()
            if at[0].startswith(mine) and decided.workshop == self.name and decided.part == self.intake.part_of_it
        ]

    def start(self, client: SyncPrefectClient, decided: Decided) -> str:
        """The one run of a trigger. Safe to repeat: the server gives the first one for the same key."""
        self.go_on()
        if decided.brief is None:
            raise RuntimeError("what was refused starts nothing")
        key = f"issue-{self.place.id}-{self._name(decided)}-{decided.trigger.key}"
        deployment = client.read_deployment_by_name("agent-task/agent-task")
        made = client.create_flow_run_from_deployment(
            deployment.id, name=decided.brief.title, parameters={"brief": decided.brief.model_dump(mode="json")},
            idempotency_key=key,
        )  # fmt: skip
        name = self._name(decided)
        asked = AskedFor(
            repository=self.at,
            number=decided.number,
            url=decided.url,
            by=decided.trigger.by,
            closes=self.intake.closes_it and decided.brief.pull is None,
            name=decided.name or ("" if name == str(decided.number) else name),
        )
        run = str(made.id)
        self.shop.ledger.record(run, *ASKED_FOR.at(), asked)
        self.shop.ledger.record(self._of(name), *ISSUE_RUN.at(decided.trigger.key), IssueRun(run_id=run))
        return run

    def follow(self, client: SyncPrefectClient) -> None:
        """Cancel what nobody wants any more, and tell how the rest goes."""
        under_way = self.open_ones()
        runs = _states(client, [run for _, run in under_way if run])
        _each(under_way, lambda one: self._follow(client, *one, runs.get(one[1] or "")))

    def _follow(self, client: SyncPrefectClient, decided: Decided, run_id: str | None, run: FlowRun | None) -> None:
        self.go_on()
        entries = self.shop.ledger.entries(run_id=run_id) if run_id else ()
        is_over = run is None or run.state is None or run.state.type.value in FINAL
        name = self._name(decided)
        issue = self.host.issue(self.at, decided.number, is_pull=decided.is_pull)
        if run and not is_over and not any(one.kind == MERGED.kind and one.body["commit"] for one in entries):
            self._cancel(client, run, decided, issue)
        if issue is not None:
            text = comment_of(decided, run_id, run, entries, self.host.desk_url)
            if self.place.told.get(name) != text:
                self.host.comment(self.at, decided.number, MARKER, text, is_issue=not decided.is_pull)
                self.place.told[name] = text
        if is_over and (run_id or decided.answer is TriggerOutcome.REFUSED):
            self.shop.ledger.record(self._of(name), *ISSUE_TOLD.at(decided.trigger.key), IssueTold())

    def _cancel(self, client: SyncPrefectClient, run: FlowRun, decided: Decided, issue: Issue | None) -> None:
        """Before it costs more. What merges or releases in this moment is not stopped half-way."""
        is_wanted = issue is not None and (issue.is_open or issue.is_merged)  # a run knows what is merged without it
        events = self.host.issue_events(self.at, decided.number, is_pull=decided.is_pull) if is_wanted else ()
        why = why_stopped(decided.trigger, events, self.intake.label, is_open=is_wanted, me=self.me)
        if issue and issue.is_confidential and not self.intake.confidential:
            why = "it was made confidential"
        run_id, url = str(run.id), self.shop.ledger.url.get_secret_value()
        if why is None or held_by(url, run_id) or (run.state and run.state.type.value == "CANCELLING"):
            return
        who = Cancelled(by=f"lockgate, for {decided.url}", why=why)
        key = f"{who.by}#{len(self.shop.ledger.entries(run_id=run_id, kind=NOT_CANCELLED.kind))}"
        self.shop.ledger.record(run_id, *CANCELLED.at(key), who)
        if held_by(url, run_id):
            no = NotCancelled(by=who.by, reason="it merges or releases in this moment")
            self.shop.ledger.record(run_id, *NOT_CANCELLED.at(key), no)
            return
        client.set_flow_run_state(run.id, Cancelling(message=f"{why}: {decided.url}"))


def _each(items: Iterable[T], act: Callable[[T], object]) -> None:
    """Each by itself: one that fails keeps no other from being done, and is raised when all are; what does not pass by
    itself before what does."""
    trouble: Exception | None = None
    for item in items:
        try:
            act(item)
        except Exception as err:
            if trouble is None or (isinstance(trouble, NotYet) and not isinstance(err, NotYet)):
                trouble = err
    if trouble:
        raise trouble


def _by(decided: Decided) -> str:
    return f"at {decided.url} by {decided.trigger.by.shown}"


def _states(client: SyncPrefectClient, runs: Iterable[str]) -> dict[str, FlowRun]:
    wanted = [UUID(run) for run in runs]
    found: dict[str, FlowRun] = {}
    for at in range(0, len(wanted), 200):
        asked = FlowRunFilter.model_validate({"id": {"any_": wanted[at : at + 200]}})
        found |= {str(run.id): run for run in client.read_flow_runs(flow_run_filter=asked, limit=200)}
    return found
