"""Runs in sandboxes that do not depend on each other, side by side: as many as there are processors to run them."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar, overload

T = TypeVar("T")
U = TypeVar("U")

AT_ONCE = max(1, min(4, len(os.sched_getaffinity(0))))
_places = threading.BoundedSemaphore(AT_ONCE)


@contextmanager
def a_place() -> Iterator[None]:
    """Waits until fewer than AT_ONCE runs are under way in this process. Never taken twice by one run."""
    with _places:
        yield


@overload
def abreast(one: Callable[[], T], other: Callable[[], U], /) -> tuple[Future[T], Future[U]]: ...
@overload
def abreast(*runs: Callable[[], T]) -> tuple[Future[T], ...]: ...
def abreast(*runs: Callable[[], Any]) -> tuple[Future[Any], ...]:
    """Every run, begun at once and over when this returns; in their order, each with its result or its error."""
    with ThreadPoolExecutor(max(1, len(runs))) as pool:
        return tuple([pool.submit(run) for run in runs])
