"""Crashed runs go on by themselves: Prefect's own server marks them CRASHED and leaves them there.

A crash is reported twice, the second time 2 to 8 s later, and the second report overwrites a state that was set in
between; so a run is resumed once its crash is `SETTLED` old, and looked at again on the next round.

Each supervisor looks at the processes of its own machine. What runs on another machine has crashed if its lease in the
ledger ran out, and stayed so from one look to a later one: no database that was away for a while makes a crash. One
supervisor at a time resumes what crashed, whatever machine it was on.
"""

import contextlib
import itertools
import os
import re
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import OrchestrationResult
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import AwaitingConcurrencySlot, AwaitingRetry, Cancelled, Completed, Crashed, Failed, Running
from pydantic import ValidationError

from blocks.home import machine
from blocks.host import alive
from blocks.ledger.leases import RunHolder
from blocks.ledger.ledger import Ledger
from blocks.workshop import workshop, workshop_of
from domain.brief import Brief
from domain.errors import InputError, LedgerError
from domain.records import MERGED, OUTCOME, sentence_of
from domain.task import End, Outcome
from flows import elsewhere
from flows.acting import LEASE_S
from flows.endings import STATE_NAMES
from flows.processes import has_process
from flows.report import page_frozen, recorded
from tasks.merge import cancelled
from tasks.people.pager import page
from tasks.releasing import lease

SETTLED = timedelta(seconds=10)
NEVER_STARTED = timedelta(seconds=90)
JUST_STARTED = timedelta(seconds=5)
ELSEWHERE = {StateType.PENDING: timedelta(minutes=5), StateType.RUNNING: timedelta(minutes=30)}
"""How long a run may be in a state on another machine without ever having taken its lease: rounds of the platform's own
take none."""
LOOKS_APART_S = LEASE_S * 0.45
"""Between the look that first sees a lease over and the one that believes it: a run renews it more often than that."""
BEGINS_S = 300.0
"""So long may a run that the server calls running have no lease: it has yet to read its blocks, or to tell its end."""
ONE_MACHINE = "lockgate"
"""What every worker was called while a station was one machine."""
LEAD, LEAD_S = "runs/resume", 30.0
"""The lease of the one supervisor that resumes."""
ALIVE = timedelta(seconds=LEASE_S + 15)
"""A run that was reported crashed so long ago, and still has its lease, is alive."""
SERVER_FAILED = re.compile(r"Flow run encountered an exception: PrefectHTTPStatusError: Server error '5")
"""What Prefect's engine says where its server failed, its disk being full say, when it was told a run's last state.
What a server refuses (4xx) it would refuse again."""
WRONG_PARAMETERS = "Validation of flow parameters failed"
"""What Prefect says of parameters that a flow does not take."""
SLOT = "AwaitingConcurrencySlot"
"""Name of the state of a run that waits for a slot."""
LOOK_BACK, PAGE, OVERLAP = timedelta(days=14), 200, 20
OCCUPYING = ("PENDING", "RUNNING", "CANCELLING")
"""States in which a run has a slot."""
MAX_RESUMES = 20
"""A run that starts more often than this is frozen for a person. Each answered review is a start too, and being left to
another machine is none."""


Ledgers = Callable[[str], Ledger]
"""A workshop's name → its ledger."""


class RunElsewhere(NamedTuple):
    """A run that is under way elsewhere, as a supervisor saw it."""

    state: str
    """Its state's id: each start of the run has another one."""
    runner: RunHolder | None
    """None: nobody could look since."""
    since_s: float
    """It has looked so since then."""
    has_lived: bool
    """In this state, its lease was seen held: it is that of the process that runs now, and not of an earlier one."""


class Looks:
    """What a supervisor remembers from one look to the next: since when it sees a run's lease over."""

    def __init__(self) -> None:
        self._seen: dict[str, RunElsewhere] = {}

    def is_gone(self, run: str, state: str, runner: RunHolder, now_s: float | None = None) -> bool:
        """Whether its lease was over in an earlier look, and nothing has changed since.

        It is not if the process may not have begun yet, for then the lease is that of the start before; nor if it gave
        its lease back, and may be about to tell the server how it ended. Both are believed after `BEGINS_S` alone.
        """
        now_s = time.monotonic() if now_s is None else now_s
        before = self._seen.get(run)
        has_lived = runner.is_running or (before is not None and before.state == state and before.has_lived)
        if runner.is_running or before is None or (before.state, before.runner) != (state, runner):
            self._seen[run] = RunElsewhere(state, runner, now_s, has_lived)
            return False
        patience_s = LOOKS_APART_S if has_lived and not runner.has_ended else max(LOOKS_APART_S, BEGINS_S)
        return now_s - before.since_s >= patience_s

    def forget(self, run: str) -> None:
        """Nobody could look: the next look is the first one, but for what is known of its process."""
        if seen := self._seen.get(run):
            self._seen[run] = seen._replace(runner=None)

    def keep(self, runs: Sequence[str]) -> None:
        """Forget all others."""
        self._seen = {run: seen for run, seen in self._seen.items() if run in runs}


def _of_workshop(name: str) -> Ledger:
    return workshop(name).ledger


def resume_crashed(
    client: SyncPrefectClient,
    now: datetime | None = None,
    *,
    ledgers: Ledgers = _of_workshop,
    looks: Looks | None = None,
) -> list[str]:
    """One round: runs whose process is gone are marked crashed, settled crashes go on. What was done, as sentences."""
    now, looks = now or datetime.now(UTC), looks or Looks()
    done = []
    under_way = _runs(client, StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)
    looks.keep([str(run.id) for run in under_way])
    for run in under_way:
        if not (_is_orphan(run, now) if _is_here(run) else _is_gone_elsewhere(run, now, ledgers, looks)):
            continue
        wanted = run.state is not None and run.state.type is StateType.CANCELLING
        after: State[Any] = Cancelled() if wanted else Crashed(message="its process is gone")
        client.set_flow_run_state(run.id, after, force=True)
        done.append(f"run {run.id}: its process is gone; marked {after.type.value.lower()}")
    crashed = [
        run
        for run in _runs(client, StateType.CRASHED, tags=("lockgate",))
        if run.state is not None and now - run.state.timestamp >= SETTLED
    ]
    return [*done, *_resumed(client, crashed, now, ledgers)] if crashed else done


def _resumed(client: SyncPrefectClient, crashed: Sequence[FlowRun], now: datetime, ledgers: Ledgers) -> list[str]:
    """What is done about runs that crashed: by one supervisor at a time. One that is alive all the same is not begun
    anew: another process of it crashed, which had lost it."""
    done = []
    for run in crashed:
        if _is_here(run):
            _free_here(run, ledgers)
    try:
        if ledgers("default").lease(LEAD, f"{machine()} {os.getpid()}", LEAD_S, alive.mark_of_this()) is None:
            return []
    except (InputError, LedgerError) as err:
        return [f"{len(crashed)} crashed runs wait for the ledger: {err}"]
    for run in crashed:
        try:
            runner = _runner(run, ledgers)
        except LedgerError as err:
            done.append(f"run {run.id}: it waits for its ledger: {err}")
            continue
        if runner is not None and runner.is_running:
            if run.state is not None and now - run.state.timestamp > ALIVE:
                client.set_flow_run_state(run.id, Running(message=f"run by {runner.name}"), force=True)
                done.append(f"run {run.id}: it is alive: run by {runner.name}")
            continue
        if run.run_count - elsewhere.hand_overs(run) > MAX_RESUMES:
            done.append(f"run {run.id}: {_given_up(client, run)}")
            continue
        answer: OrchestrationResult[Any] = client.set_flow_run_state(
            run.id, AwaitingRetry(scheduled_time=now), force=False
        )
        done.append(f"run {run.id}: resumed from its last finished step ({answer.status.value})")
    return done


def conclude(client: SyncPrefectClient, now: datetime | None = None) -> list[str]:
    """Runs that ended in a word of Prefect's end in one of ours, on record: cancelled ones are declined, by whom; those
    whose parameters are no brief are refused; whatever else failed is frozen. What was done, as sentences.

    Safe to repeat; those of the last `LOOK_BACK` are looked at, each by itself.
    """
    since = (now or datetime.now(UTC)) - LOOK_BACK
    wanted = {
        "state": {"name": {"any_": [Cancelled().name, Failed().name]}},
        "tags": {"any_": ["lockgate"]},
        "end_time": {"after_": since.isoformat()},
    }
    ended = _all(client, wanted)
    done = []
    for run in ended:
        try:
            line = _concluded(client, run)
        except Exception as err:  # its workshop's database may be away: the next round tries it again
            line = f"run {run.id}: it ended without a word of ours, and that could not be recorded yet: {err}"
        if line:
            done.append(line)
    return done


def _concluded(client: SyncPrefectClient, run: FlowRun) -> str | None:
    was_cancelled = run.state is not None and run.state.type is StateType.CANCELLED
    said = " ".join(str(run.state.message if run.state else "").split())
    try:
        brief = Brief.model_validate(run.parameters["brief"])
    except KeyError:
        if was_cancelled:
            return None
        if said.startswith(WRONG_PARAMETERS):
            return _refused(client, run, said)
        return _froze(client, run, said)
    except ValidationError as err:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in err.errors())
        return _refused(client, run, f"the brief cannot be read: {wrong}")
    try:
        shop = workshop_of(brief)
    except InputError as err:
        return _refused(client, run, str(err))
    known = shop.ledger.find(str(run.id), *OUTCOME.at(), Outcome)
    if known and was_cancelled:
        return None
    if known:
        client.set_flow_run_state(run.id, _in_our_word(known), force=True)
        return f"run {run.id}: {known.sentence}"
    if SERVER_FAILED.match(said):
        client.set_flow_run_state(run.id, Crashed(message=said), force=True)
        return f"run {run.id}: marked crashed, for the server failed when it was told how it goes"
    if not was_cancelled:
        return _froze(client, run, said)
    shop.ledger.stop(str(run.id))
    asked = cancelled(shop, str(run.id))
    why = sentence_of(asked.kind, asked.body) if asked else "it was cancelled past the door, and nobody said by whom"
    if brief.environment and lease.holder(shop.ledger, brief.environment) == str(run.id):
        page(
            shop.pager,
            f"Lockgate: {brief.title}",
            f"cancelled while it released to {brief.environment}, which may serve part of it: look, and "
            f"`lockgate rollback {brief.environment}`",
        )
    merged = shop.ledger.last(MERGED.kind, run_id=str(run.id))
    if merged and merged.body["commit"]:
        reasons = (f"cancelled after it was merged: {why}",)
        outcome = recorded(shop, str(run.id), brief, End.MERGED, reasons, commit=str(merged.body["commit"]))
    else:
        outcome = recorded(shop, str(run.id), brief, End.DECLINED, (why or "it was cancelled",))
    return f"run {run.id}: {outcome.sentence}"


def _froze(client: SyncPrefectClient, run: FlowRun, said: str) -> str:
    client.set_flow_run_state(run.id, _frozen(run, f"it ended without a word of ours: {said}"), force=True)
    return f"run {run.id}: frozen: {said}"


def _refused(client: SyncPrefectClient, run: FlowRun, why: str) -> str:
    """Its parameters are none that the flow takes; the schema by which the server looks at them does not know all."""
    sentence = f"refused: {why}"
    if "brief" in run.parameters:
        title = (
            str(run.parameters["brief"].get("title") if isinstance(run.parameters["brief"], dict) else "") or run.name
        )
        outcome = Outcome(run_id=str(run.id), title=title, end=End.REFUSED, sentence=sentence, reasons=(why,))
        workshop("default").ledger.record(str(run.id), *OUTCOME.at(), outcome)
    client.set_flow_run_state(run.id, Failed(name=STATE_NAMES[End.REFUSED], message=sentence), force=True)
    return f"run {run.id}: {sentence}"


def _given_up(client: SyncPrefectClient, run: FlowRun) -> str:
    """A run that crashes again and again ends as every other: with an outcome, and a page; what was done. Safe to
    repeat: where the ledger does not answer, it is tried again with the next round."""
    why = f"it crashed again after {run.run_count} starts: see the logs, then send the brief anew"
    try:
        state = _frozen(run, why)
    except Exception as err:
        return f"it crashed again after {run.run_count} starts, and that could not be recorded yet: {err}"
    client.set_flow_run_state(run.id, state, force=True)
    return f"{state.name}: {state.message}"


def _frozen(run: FlowRun, why: str) -> State[Any]:
    if "brief" not in run.parameters:
        what = f"{run.name or run.id}: {why}"
        page(workshop(_workshop_name(run)).pager, "Lockgate: frozen", what)
        return Failed(name=STATE_NAMES[End.FROZEN], message=why)
    brief = Brief.model_validate(run.parameters["brief"])
    shop = workshop_of(brief)
    shop.ledger.stop(str(run.id))
    outcome = recorded(shop, str(run.id), brief, End.FROZEN, (why,))  # one that was there before stands
    if outcome.end is End.FROZEN:
        page_frozen(shop, outcome)
    return _in_our_word(outcome)


def _in_our_word(outcome: Outcome) -> State[Any]:
    make = Completed if outcome.end in (End.LIVE, End.MERGED, End.DECLINED) else Failed
    return make(name=STATE_NAMES[outcome.end], message=outcome.sentence)


def has_open_runs(client: SyncPrefectClient) -> bool:
    """Whether a run is under way, has crashed or waits for a slot or this machine: else there is nothing to look
    after."""
    return bool(
        _runs(client, StateType.RUNNING, StateType.PENDING, StateType.CANCELLING, limit=1)
        or _runs(client, StateType.CRASHED, tags=("lockgate",), limit=1)
        or any(run.state_name == SLOT or elsewhere.is_ours(run) for run in in_queue(client, SLOT, elsewhere.WAITS))
    )


def are_all_among(client: SyncPrefectClient, here: Collection[str]) -> bool:
    """Whether runs are under way, and each is one of these."""
    under_way = _runs(client, StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)
    return bool(under_way) and all(str(run.id) in here for run in under_way)


def in_queue(client: SyncPrefectClient, *names: str) -> list[FlowRun]:
    """Runs in states of these names, the one first that has waited longest."""
    return _all(client, {"state": {"name": {"any_": list(names)}}}, sort=FlowRunSort.EXPECTED_START_TIME_ASC)


def take_free_slots(
    client: SyncPrefectClient, now: datetime | None = None, queue: Sequence[FlowRun] | None = None
) -> list[str]:
    """Runs that wait for a slot of their deployment take a free one now, oldest first: Prefect itself would have them
    ask again after half a minute. What was done, as sentences."""
    now = now or datetime.now(UTC)
    queue = in_queue(client, SLOT) if queue is None else queue
    done = []
    for deployment_id in {run.deployment_id for run in queue if run.deployment_id}:
        limit = client.read_deployment(deployment_id).global_concurrency_limit
        taken = {"deployment_id": {"any_": [str(deployment_id)]}, "state": {"type": {"any_": list(OCCUPYING)}}}
        free = (limit.limit if limit else len(queue)) - len(_all(client, taken))
        waiting = sorted((run for run in queue if run.deployment_id == deployment_id), key=_age)
        for run in waiting[: max(0, free)]:
            if run.next_scheduled_start_time and run.next_scheduled_start_time > now + timedelta(seconds=1):
                client.set_flow_run_state(run.id, AwaitingConcurrencySlot(scheduled_time=now), force=False)
                done.append(f"run {run.id}: a slot is free")
    return done


def _age(run: FlowRun) -> datetime:
    return run.created or datetime.now(UTC)


def _runs(
    client: SyncPrefectClient,
    *types: StateType,
    tags: Sequence[str] = ("lockgate", "lockgate-platform"),
    limit: int | None = None,
) -> list[FlowRun]:
    """Runs in these states; all of them without a limit. What the platform does by itself comes again by its schedule,
    and stays crashed."""
    return _all(client, {"state": {"type": {"any_": [t.value for t in types]}}, "tags": {"any_": list(tags)}}, limit)


def _all(client: SyncPrefectClient, wanted: dict[str, Any], limit: int | None = None, **sort: Any) -> list[FlowRun]:
    """Runs that a filter finds, of which the server gives `PAGE` at once. Those that end meanwhile move what is behind
    them onto the page before, so pages overlap."""
    among, found = FlowRunFilter.model_validate(wanted), dict[UUID, FlowRun]()
    for offset in itertools.count(0, PAGE - OVERLAP):
        size = min(limit or PAGE, PAGE)
        page_ = client.read_flow_runs(flow_run_filter=among, limit=size, offset=offset, **sort)
        found |= {run.id: run for run in page_}
        if len(page_) < PAGE or len(found) == limit:
            break
    return list(found.values())


def worker_of(run: FlowRun) -> str | None:
    """The worker that started it last, as the server knows it: the machine's name. None for what was never started."""
    found = run.labels.get("prefect.worker.name")
    return str(found) if found is not None else None


def _is_here(run: FlowRun) -> bool:
    """Whether its process is one of this machine's, where all workers run as the same user."""
    return worker_of(run) in (None, ONE_MACHINE, machine())


def _runner(run: FlowRun, ledgers: Ledgers) -> RunHolder | None:
    """Who has begun it last; None: nobody, or its parameters name no workshop that there is. Raises LedgerError."""
    try:
        ledger = ledgers(_workshop_name(run))
    except InputError:
        return None
    return ledger.runners([str(run.id)]).get(str(run.id))


def _free_here(run: FlowRun, ledgers: Ledgers) -> None:
    """Its process is dead, as only this machine can see: another one need not wait until its lease runs out."""
    with contextlib.suppress(InputError, LedgerError):
        ledgers(_workshop_name(run)).end_dead(str(run.id))


def _workshop_name(run: FlowRun) -> str:
    return elsewhere.workshop_name(run) or "default"


def _is_gone_elsewhere(run: FlowRun, now: datetime, ledgers: Ledgers, looks: Looks) -> bool:
    """Whether a run of another machine has crashed. Where its ledger does not answer, nobody can say: not yet."""
    if run.state is None:
        return False
    try:
        runner = _runner(run, ledgers)
    except LedgerError:
        looks.forget(str(run.id))
        return False
    if runner is None:  # it never began
        return now - run.state.timestamp > ELSEWHERE.get(run.state.type, ELSEWHERE[StateType.RUNNING])
    if run.state.type is StateType.PENDING and now - run.state.timestamp < ELSEWHERE[StateType.PENDING]:
        return False  # the process before this one ended, and this one has not begun
    return looks.is_gone(str(run.id), str(run.state.id), runner)


def _is_orphan(run: FlowRun, now: datetime) -> bool:
    """Whether a run of this machine has lost its process."""
    if run.state is None:
        return False
    patience = NEVER_STARTED if run.state.type is StateType.PENDING else JUST_STARTED
    return now - run.state.timestamp > patience and not has_process(run.id)
