"""The books of the team: one reading at a time, whoever asks."""

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from station import holding
from station.desk.team import Books


def test_who_asks_while_it_is_read_shares_the_next_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, goes_on, readings = threading.Event(), threading.Event(), []

    def shops() -> list[Mapping[str, Any]]:
        readings.append(threading.current_thread().name)
        begun.set()
        assert goes_on.wait(30)
        return []

    monkeypatch.setattr(holding, "shops", shops)
    books = Books()
    first = books.team()
    assert begun.wait(30)
    later = [books.team() for _ in range(5)]
    assert len({id(each) for each in later}) == 1 and later[0] is not first, "it has what came since the first began"
    goes_on.set()
    assert [each.result(30).whole for each in (first, *later)] == [None] * 6
    assert len(readings) == 2 and len(set(readings)) == 1
    assert books.team() is not later[0] and books.team().result(30).problems == []
