"""What a coding agent's program tells while it works, as small values; and the breaker that ends a loop.

None of it is evidence: whatever runs in the sandbox can write such lines.
"""

import hashlib
import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Any, NamedTuple

MAX_LINE = 4_000_000
"""Characters of one event line; what is longer is no event."""
CUT = "[more output follows; it is not shown here]"
"""What a sandbox says where it shows no more of a command's output: from there on, silence means nothing."""
_SHOWN = 2_000
"""Characters of a message or command that a person is shown."""


class EventKind(StrEnum):
    """`call` and `output` are two halves of one tool call, with the same `id`; `result` is the program's last word."""

    SESSION = "session"
    MESSAGE = "message"
    CALL = "call"
    OUTPUT = "output"
    ERROR = "error"
    RESULT = "result"


class AgentEvent(NamedTuple):
    """One thing told. `text`: message, command, output, reason, or a session's id. `value`: a structured answer."""

    kind: EventKind
    text: str = ""
    id: str = ""
    value: Any = None


Read = Callable[[dict[str, Any]], Iterable[AgentEvent]]
"""How one adapter reads one JSON line."""

_ESCAPED = re.compile(r"\\x([0-9a-f]{2})|\\U000([0-9a-f]{5})")


def parse(line: str, read: Read) -> list[AgentEvent]:
    """The events of one line; none where it is no JSON object, or not one of this program."""
    if not line.lstrip().startswith("{") or len(line) > MAX_LINE:
        return []
    for text in (line, _ESCAPED.sub(r"\\u00\1", line)):  # the sandbox escapes characters that JSON leaves as they are
        try:
            told = json.loads(text)
            events = list(read(told)) if isinstance(told, dict) else []
            return [event for event in events if isinstance(event.text, str) and isinstance(event.id, str)]
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError, IndexError):
            continue
    return []


class Repetition:
    """Sees a loop: the same calls with the same outputs, over and over. Never looks at time or money."""

    REPEATS = 5
    LONGEST_CYCLE = 4

    def __init__(self) -> None:
        self._calls: deque[tuple[str, str]] = deque(maxlen=self.REPEATS * self.LONGEST_CYCLE)

    def saw(self, command: str, output: str) -> str | None:
        """Why this is a loop, once it is one."""
        self._calls.append((command, hashlib.sha256(_VARIES.sub("", output).encode("utf-8", "replace")).hexdigest()))
        calls = list(self._calls)
        for length in range(1, self.LONGEST_CYCLE + 1):
            last = calls[-length * self.REPEATS :]
            if len(last) == length * self.REPEATS and last == last[:length] * self.REPEATS:
                commands = " ; ".join(shorten(command, 200) for command, _ in last[:length])
                return f"it went in circles: {self.REPEATS} times the same with the same output: {commands}"
        return None


_VARIES = re.compile(r"\b\d+\.\d+ ?(?:s|ms|sec|seconds)\b|\b0x[0-9a-f]+\b")
"""Durations and addresses, which differ each time that nothing else does."""


class AgentWatch:
    """Follows one run: puts its lines together, shows what they tell, and knows when to stop it."""

    def __init__(
        self,
        read: Read,
        *,
        show: Callable[[str], None] | None,
        max_calls: int,
        idle_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._show, self._max_calls, self._idle_s, self._clock = read, show, max_calls, idle_s, clock
        self._line = ""
        self._open: dict[str, str] = {}
        self._calls = 0
        self._repetition = Repetition()
        self._heard = clock()
        self._is_cut = False
        self.problem: str | None = None
        """Why it has to be stopped."""

    def hear(self, text: str) -> None:
        """What the program printed, in pieces of any size."""
        self._heard = self._clock()
        self._is_cut = self._is_cut or CUT in text
        *lines, self._line = (self._line + text).split("\n")
        self._line = self._line[: MAX_LINE + 1]
        for line in lines:
            for event in parse(line, self._read):
                self._take(event)

    def stop(self) -> str | None:
        """Why the run has to end now."""
        if self.problem is None and not self._is_cut and self._clock() - self._heard > self._idle_s:
            self.problem = f"it said nothing for {self._idle_s:g} s"
        return self.problem

    def _take(self, event: AgentEvent) -> None:
        if shown := shown_of(event):
            self._tell(shown)
        if event.kind is EventKind.CALL:
            self._calls += 1
            self._open[event.id] = event.text
            if self._calls > self._max_calls:
                self.problem = self.problem or f"it made {self._max_calls} tool calls, which is its limit (max_turns)"
        elif event.kind is EventKind.OUTPUT and event.id in self._open:
            loop = self._repetition.saw(self._open.pop(event.id), event.text)
            self.problem = self.problem or loop

    def _tell(self, line: str) -> None:
        if self._show:
            self._show(line + "\n")


def shown_of(event: AgentEvent) -> str | None:
    """The line that a person reads; None for what needs none."""
    text = shorten(event.text, _SHOWN)
    match event.kind:
        case EventKind.MESSAGE:
            return text or None
        case EventKind.CALL:
            return f"$ {text}"
        case EventKind.OUTPUT:
            first = event.text.strip().split("\n")
            return f"  {shorten(first[-1], 200)}" + (f" ({len(first)} lines)" if len(first) > 1 else "")
        case EventKind.ERROR:
            return f"error: {text}"
        case _:
            return None


def all_of(output: str, read: Read) -> Iterator[AgentEvent]:
    """Every event of a transcript."""
    for line in output.split("\n"):
        yield from parse(line, read)


def shorten(text: str, length: int) -> str:
    """`text` with its middle cut where it is longer than `length`."""
    return text if len(text) <= length else f"{text[: length // 2]} […] {text[-length // 2 :]}"
