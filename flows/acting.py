"""Who runs a run: this process, from its first line to its last; and nobody who began it before."""

import os
import sys
import threading
from types import TracebackType
from typing import NoReturn, Self

from blocks.home import machine
from blocks.ledger.ledger import Ledger
from domain.errors import LedgerError, Superseded

LEASE_S = float(os.environ.get("LOCKGATE_RUN_LEASE_S", "90"))
"""A run that says nothing for so long is taken for crashed by other machines. The same on all of a station."""
HEARTBEAT_S = LEASE_S / 6


class Acting:
    """A run's process. As a context: once it has begun, it says again and again that it lives, until it ends.

    Where another process begins the run meanwhile, this one ends on the spot, and tells nobody: neither what the run
    came to, nor that it failed, is its business any more.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._ledger: Ledger | None = None
        self._over = threading.Event()

    def __enter__(self) -> Self:
        return self

    def begin(self, ledger: Ledger) -> None:
        """Take the run over from whoever began it before. Safe to repeat. Raises LedgerError."""
        if self._ledger is not None:
            return
        ledger.begin(self._run, machine(), LEASE_S)
        self._ledger = ledger
        threading.Thread(target=self._beat, args=(ledger,), name=f"run {self._run}", daemon=True).start()

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if isinstance(raised, Superseded):
            leave(str(raised))
        if self._ledger is not None:
            try:
                self._ledger.end(self._run)
            except LedgerError:
                return  # its time runs out by itself

    def _beat(self, ledger: Ledger) -> None:
        while not self._over.wait(HEARTBEAT_S):
            try:
                ledger.still_runs(self._run, LEASE_S)
            except Superseded as err:
                if not self._over.is_set():
                    leave(str(err))
            except LedgerError:
                continue  # what this process would do meanwhile needs the ledger too


def leave(why: str) -> NoReturn:
    """End this process without a word to Prefect's server, which would take it for the run's. Exit code 0: the worker
    would report another one as the run's crash."""
    print(why, file=sys.stderr, flush=True)
    os._exit(0)
