"""What goes wrong on demand, for tests of clients."""

import re
import threading
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["status", "secondary_limit", "slow", "cut_before", "cut_after_write", "base_moved", "half_answer"]


class Fault(BaseModel):
    """One thing that goes wrong: which requests it meets, and how often."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    method: str = Field("", description="Only requests of this method; empty: all")
    path: str = Field("", description="Only paths in which this regular expression is found, without /api/v3")
    times: int = Field(1, ge=0, description="How many requests it meets; 0: all from now on")
    status: int = Field(502, description="For `status`: what is answered instead; nothing is done")
    seconds: float = Field(5, ge=0, description="For `slow`: how long the answer takes; for limits: `Retry-After`")


class Faults:
    """Those that wait for a request, the oldest first."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._left: dict[int, int] = {}
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._waiting.append(fault)
            self._left[id(fault)] = fault.times

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()
            self._left.clear()

    def meet(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets; it is counted."""
        with self._lock:
            for fault in self._waiting:
                if (not fault.method or fault.method == method) and re.search(fault.path, path):
                    if fault.times:
                        self._left[id(fault)] -= 1
                        if not self._left[id(fault)]:
                            self._waiting.remove(fault)
                    return fault
        return None
