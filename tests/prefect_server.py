"""A Prefect server of a test's own."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def prefect_server() -> Iterator[None]:
    """With an empty database, until the end; blocks and flows of this process use it."""
    from prefect.testing.utilities import prefect_test_harness  # late: with it each worker would import the server

    with prefect_test_harness(server_startup_timeout=120):
        yield
