"""Who answered what: the proxy's access log, read as it grows."""

import contextlib
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import BinaryIO

from domain.rollout import Numbers

_KEPT = 20_000
"""Answer times that are kept of each release; of a longer window, the newest."""


class Follow:
    """What each upstream answered since this was made. Our probes are no users', nor is what is asked of the path that
    is for health alone."""

    def __init__(self, file: Path, health_path: str) -> None:
        self._path = file
        path = health_path.partition("?")[0]
        self._health_path = None if path == "/" else path  # users ask for that one too
        self._file: BinaryIO | None = None
        self._rest = b""
        self._answered: dict[str, int] = defaultdict(int)
        self._errors: dict[str, int] = defaultdict(int)
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._requests: dict[str, int] = defaultdict(int)
        if found := self._open():
            found.seek(0, os.SEEK_END)

    def answered(self, upstream: str) -> int:
        """Answers of any kind, probes among them."""
        self._read()
        return self._answered[upstream]

    def numbers(self, upstream: str) -> Numbers:
        """What users got of it. A connection that was upgraded says nothing by its time."""
        self._read()
        times = sorted(self._seconds[upstream])
        return Numbers(
            requests=self._requests[upstream],
            errors=self._errors[upstream],
            p95_ms=round(1000 * times[int(0.95 * (len(times) - 1))], 1) if times else None,
        )

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _open(self) -> BinaryIO | None:
        with contextlib.suppress(FileNotFoundError):
            self._file = open(self._path, "rb")  # noqa: SIM115  # stays open for the window
        return self._file

    def _read(self) -> None:
        while file := self._file or self._open():
            is_rolled = self._is_rolled(file)  # asked first: what is read after that is all that the old file will have
            *lines, self._rest = (self._rest + file.read()).split(b"\n")
            for line in lines:
                self._take(line)
            if not is_rolled:
                return
            self.close()
            self._rest = b""

    def _is_rolled(self, file: BinaryIO) -> bool:
        """Whether the path leads to another file now, which is there already."""
        with contextlib.suppress(FileNotFoundError):
            return os.stat(self._path).st_ino != os.fstat(file.fileno()).st_ino
        return False

    def _take(self, line: bytes) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            entry = json.loads(line)
            upstream, status = str(entry["upstream"]), int(entry["status"])
            path, seconds = entry["request"]["uri"].partition("?")[0], float(entry["duration"])
            self._answered[upstream] += 1
            if entry.get("probe") or path == self._health_path:
                return
            self._requests[upstream] += 1
            self._errors[upstream] += status >= 500
            if status != 101:
                times = self._seconds[upstream]
                times.append(seconds)
                if len(times) > 2 * _KEPT:
                    del times[:_KEPT]
