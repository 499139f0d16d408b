"""What a release answered while it was started, kept beside it: the only words of one that never got any traffic."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from blocks.host.files import write_atomically
from blocks.targets.asking import settle_by
from blocks.targets.releases import ReleaseDirectory
from domain.health import HealthReading, LastAnswers

_FILE = "answers.json"


def started(
    place: ReleaseDirectory,
    ask: Callable[[], HealthReading],
    within_s: float,
    interval_s: float,
    is_running: Callable[[], bool],
) -> str | None:
    """None when a release that was started is healthy, else what it said last."""
    answers = LastAnswers()

    def asked() -> HealthReading:
        reading = ask()
        answers.add("in private", reading, datetime.now(UTC))
        return reading

    def gone() -> str | None:
        return None if is_running() else answers.kept[-1].reading.reason

    said = settle_by(asked, 1, within_s, interval_s, gone)
    lines = [one.model_dump(mode="json") for one in answers.kept]
    write_atomically(place.folder / _FILE, json.dumps(lines).encode())
    return said


def answers_of(place: ReleaseDirectory) -> Any:
    """The last few different answers when it was last started; empty if it never was."""
    try:
        return json.loads((place.folder / _FILE).read_bytes())
    except (OSError, ValueError):
        return []
