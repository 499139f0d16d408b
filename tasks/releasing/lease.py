"""One run at a time in an environment: a lease in the ledger, kept by a heartbeat. A resumed run has it at once.

A task's run takes it to merge, has it through deploy and health check, and frees it with the last thing that it does
there (`free_when_done`). What is one act from beginning to end, such as a person's rollback, has it for as long as that
lasts (`free_after`). Nothing else frees it, but housekeeping for a run that is over.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from blocks.ledger.ledger import Ledger
from domain.errors import LedgerError, NotYet

LEASE_S = 900.0
"""How long an environment stays reserved for a run that says nothing more. The supervisor resumes a crashed run long
before that, and a resumed run has it at once."""

HEARTBEAT_S = 60.0

WAIT_S = 1800.0
"""How long a run waits for another run's deploy to the same environment."""


def take(ledger: Ledger, environment: str, run: str, wait_s: float = WAIT_S, *, process: str | None = None) -> int:
    """Reserve an environment; waits for its holder. The fencing token. Raises LedgerError after `wait_s`.

    `process`: whose end frees it at once, for what nobody resumes. A run is resumed, and has to find it reserved.
    """
    until = time.monotonic() + wait_s
    while True:
        token = ledger.lease(_name(environment), run, LEASE_S, process)
        if token is not None:
            return token
        if time.monotonic() > until:
            raise LedgerError(
                f"environment {environment!r} is still busy with run {holder(ledger, environment)} after {wait_s:.0f} s"
            )
        time.sleep(2)


def seize(ledger: Ledger, environment: str, run: str, *, process: str | None = None) -> int:
    """Take an environment from whoever has it, for a rollback. What the other does there after that is fenced off."""
    while (token := ledger.lease(_name(environment), run, LEASE_S, process)) is None:
        if other := holder(ledger, environment):
            ledger.release(_name(environment), other)
    return token


@contextlib.contextmanager
def kept(ledger: Ledger, environment: str, run: str, *, process: str | None = None) -> Iterator[None]:
    """Renews the lease until the context ends. If a clock that was set let it run out, it is taken again."""
    with _beating(ledger, _name(environment), run, process):
        yield


@contextlib.contextmanager
def free_when_done(ledger: Ledger, environment: str | None, run: str) -> Iterator[None]:
    """The last thing that a run does in an environment: others can have it once the block is through. If the block
    raises, the run keeps it for its next try, except while it waits for a forge (NotYet), which may take hours."""
    with _free_if_it_waits(ledger, environment, run):
        yield
    _free(ledger, environment, run)


@contextlib.contextmanager
def free_after(ledger: Ledger, environment: str, run: str) -> Iterator[None]:
    """All that a run does in an environment: others can have it after the block, however that ends. If the ledger
    fails at that moment, the lease runs out by itself."""
    try:
        yield
    finally:
        with contextlib.suppress(LedgerError):
            _free(ledger, environment, run)


@contextlib.contextmanager
def merging(ledger: Ledger, run: str, environment: str | None = None) -> Iterator[Callable[[], object]]:
    """Takes the environment, for what is merged is released there next. While the context is open, whoever cancels the
    run is told that it merges: it is not stopped half-way. What it gives raises Superseded if another process has
    begun the run: to be asked right before the merge."""
    if environment:
        take(ledger, environment, run)
    try:
        with _free_if_it_waits(ledger, environment, run), _beating(ledger, f"merge/{run}", run):
            yield lambda: ledger.check(run)
    finally:
        ledger.release(f"merge/{run}", run)


@contextlib.contextmanager
def _beating(ledger: Ledger, name: str, run: str, process: str | None = None) -> Iterator[None]:
    over = threading.Event()
    token = ledger.lease(name, run, LEASE_S, process)

    def beat() -> None:
        while token is not None and not over.wait(HEARTBEAT_S):
            with contextlib.suppress(Exception):  # the next beat comes; who lost the lease meanwhile is fenced
                ledger.renew(name, token, LEASE_S)

    thread = threading.Thread(target=beat, name=f"lease {name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def give_back(ledger: Ledger, environment: str, run: str) -> None:
    """Free it, if it is this run's. Safe to repeat."""
    ledger.release(_name(environment), run)


@contextlib.contextmanager
def _free_if_it_waits(ledger: Ledger, environment: str | None, run: str) -> Iterator[None]:
    try:
        yield
    except NotYet:
        _free(ledger, environment, run)
        raise


def _free(ledger: Ledger, environment: str | None, run: str) -> None:
    if environment:
        give_back(ledger, environment, run)


def holder(ledger: Ledger, environment: str) -> str | None:
    """The run that has it now, or None."""
    return ledger.holder_of(_name(environment))


def _name(environment: str) -> str:
    return f"environment/{environment}"
