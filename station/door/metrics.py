"""`/metrics`: what happened by the ledger, and what is under way by Prefect, in the words of OpenMetrics.

The ledger is read on from where it was read last, so asking each few seconds costs what is new. Numbers of what has
happened begin with the ledger, and never go back with a restart.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from blocks.ledger.reading import Reader
from domain.entry import Entry
from domain.records import (
    APPROVAL,
    ATTEMPT,
    BILL,
    BROUGHT_BACK,
    EGRESS,
    LIVE,
    METERED,
    OUTCOME,
    QUESTION,
    ROLLED_BACK,
    VERDICT,
    kinds_of,
)
from domain.task import ELSEWHERE
from station import processes

__all__ = ["ASKED", "CONTENT_TYPE_LATEST", "Metrics", "Underway"]

KINDS = kinds_of(OUTCOME, VERDICT, BILL, METERED, LIVE, ROLLED_BACK, BROUGHT_BACK, EGRESS, QUESTION, APPROVAL, ATTEMPT)
PROCESSES = ("supervisor", "server", "door", "gateway", "zygote", "worker")
BUCKETS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
"""Upper ends, in seconds: from a step's to a review's over night."""
ASKED: dict[str, dict[str, Any]] = {
    "running": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}},
    "waiting_for_a_person": {"type": {"any_": ["PAUSED"]}},
    "waiting_for_a_slot": {"name": {"any_": ["AwaitingConcurrencySlot", "AwaitingRetry"]}},
    "crashed": {"type": {"any_": ["CRASHED"]}},
}
"""What a task is doing → the state of Prefect's that says so."""


class Underway(NamedTuple):
    """What Prefect's server says at this moment."""

    tasks: dict[str, int]
    """What they are doing → how many; as `ASKED` has it."""
    oldest_wait_s: float
    """Of those that wait for a person; 0 where none does."""


class Metrics:
    """Counts what one ledger holds. Safe from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._url, self._last = "", 0
        self._begin()

    def _begin(self) -> None:
        self._last = 0
        self._counts: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name, _, _ in COUNTERS}
        self._seconds: dict[str, dict[tuple[str, ...], list[float]]] = {name: {} for name, _, _ in HISTOGRAMS}
        self._asked: dict[tuple[str, str], datetime] = {}

    def text(self, url: str, underway: Underway | None) -> bytes:
        """All of it. `underway`: None while the server does not answer; then that is said, and the rest all the same.

        Raises LedgerError if the ledger does not answer.
        """
        with self._lock:
            if url != self._url:
                self._begin()
                self._url = url
            for entry in Reader(url).entries(kinds=KINDS, after=self._last):
                self._last = entry.number
                self._note(entry)
            registry = CollectorRegistry(auto_describe=False)
            registry.register(_Once([*self._families(), *_of_now(underway)]))
            return bytes(generate_latest(registry))  # type: ignore[no-untyped-call]

    def _note(self, entry: Entry) -> None:
        body = entry.body
        match entry.kind:
            case "outcome":
                self._add("lockgate_tasks_ended", body["end"])
            case "attempt":
                agent = str(body.get("agent") or "")
                is_ours = not agent.startswith(f"{ELSEWHERE}:")  # a name in a commit is anybody's: no label of its own
                self._add("lockgate_attempts", agent if is_ours else ELSEWHERE)
            case "verdict":
                self._add("lockgate_verdicts", body["decision"])
                for rule in body.get("rules", ()):
                    self._add("lockgate_verdict_rules", rule)
            case "live":
                self._add("lockgate_releases", body["environment"])
            case "rolled_back":
                self._add("lockgate_rollbacks", body["environment"])
            case "brought-back":
                self._add("lockgate_releases_brought_back", str(body.get("environment") or ""))
            case "metered":
                self._add("lockgate_model_calls", body["model"])
                self._add("lockgate_model_usd", body["model"], by=float(body["usd"]))
            case "egress":
                for one in body["decisions"]:
                    verdict = "allowed" if one["allowed"] else "denied"
                    self._add("lockgate_gateway_requests", one["phase"], verdict, by=one.get("count", 1))
            case "bill":
                self._seconds_of("lockgate_step_sandbox_seconds", body["step"], float(body["sandbox_s"]))
            case "question":
                self._asked[entry.run_id, entry.key] = entry.at
            case "approval":
                asked = self._asked.pop((entry.run_id, entry.key.partition("/")[0]), None)
                if asked is not None:
                    waited_s = (entry.at - asked).total_seconds()
                    self._seconds_of("lockgate_review_seconds", str(body["answer"]), waited_s)

    def _add(self, name: str, *labels: str, by: float = 1) -> None:
        self._counts[name][labels] += by  # type: ignore[assignment] # dollars are no whole numbers

    def _seconds_of(self, name: str, label: str, seconds: float) -> None:
        """Sum, and how many were not above each bucket's end."""
        kept = self._seconds[name].setdefault((label,), [0.0] * (len(BUCKETS) + 2))
        kept[0] += seconds
        for place, end in enumerate((*BUCKETS, float("inf")), start=1):
            kept[place] += seconds <= end

    def _families(self) -> Iterator[Metric]:
        for name, text, labels in COUNTERS:
            counter = CounterMetricFamily(name, text, labels=labels)
            for values, count in sorted(self._counts[name].items()):
                counter.add_metric(values, count)
            yield counter
        for name, text, labels in HISTOGRAMS:
            histogram = HistogramMetricFamily(name, text, labels=labels)
            for values, kept in sorted(self._seconds[name].items()):
                ends = (*map(str, BUCKETS), "+Inf")
                histogram.add_metric(values, list(zip(ends, kept[1:], strict=True)), sum_value=kept[0])
            yield histogram
        yield GaugeMetricFamily("lockgate_ledger_entries_read", "Number of the newest entry counted", self._last)


class _Once(Collector):
    """What was made a moment ago."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _of_now(underway: Underway | None) -> Iterator[Metric]:
    yield GaugeMetricFamily("lockgate_server_answers", "Whether the server answered just now", underway is not None)
    if underway is not None:
        tasks = GaugeMetricFamily("lockgate_tasks", "Tasks that have not ended, by what they do", labels=["doing"])
        for doing, count in underway.tasks.items():
            tasks.add_metric([doing], count)
        yield tasks
        yield GaugeMetricFamily(
            "lockgate_oldest_wait_seconds", "How long the oldest task waits for a person", underway.oldest_wait_s
        )
    running = GaugeMetricFamily("lockgate_process_running", "Whether it runs, by its pid", labels=["process"])
    for name in PROCESSES:
        running.add_metric([name], processes.running(name) is not None)
    yield running


def waited_s(runs: Iterable[dict[str, Any]]) -> float:
    """Since the oldest of these runs is in its state."""
    at = [str(run["state"]["timestamp"]) for run in runs if run.get("state")]
    since = [datetime.fromisoformat(one.replace("Z", "+00:00")) for one in at]
    return max(0.0, (datetime.now(UTC) - min(since)).total_seconds()) if since else 0.0


COUNTERS = (
    ("lockgate_tasks_ended", "Tasks that ended, by the word for how", ["end"]),
    ("lockgate_attempts", "Changes that agents made", ["agent"]),
    ("lockgate_verdicts", "What the gates said of attempts", ["decision"]),
    ("lockgate_verdict_rules", "Rules that refused, or asked for a person", ["rule"]),
    ("lockgate_releases", "Releases that were seen live", ["environment"]),
    ("lockgate_rollbacks", "Releases that had to leave", ["environment"]),
    ("lockgate_releases_brought_back", "Releases that ended by themselves, and were started again", ["environment"]),
    ("lockgate_model_calls", "Calls of models that were metered", ["model"]),
    ("lockgate_model_usd", "What they cost, in US dollars", ["model"]),
    ("lockgate_gateway_requests", "Requests at the gateway", ["phase", "verdict"]),
)
HISTOGRAMS = (
    ("lockgate_step_sandbox_seconds", "Sandbox time of a step", ["step"]),
    ("lockgate_review_seconds", "From a question to its answer", ["answer"]),
)
"""Name, what it tells, labels."""
