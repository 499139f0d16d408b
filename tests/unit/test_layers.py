"""What setup made is made once for each key, whoever asks, and not believed after a crash."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks import layers
from blocks.layers import layer as open_layer


def layer(key: str, make: Callable[[Path], None]) -> Path:
    """Open it and leave it again."""
    with open_layer(key, make) as place:
        return place


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    return tmp_path / "layers"


def test_the_same_key_is_made_once() -> None:
    made: list[Path] = []

    def make(place: Path) -> None:
        place.mkdir()
        (place / "package").write_text("1")
        made.append(place)

    assert layer("a", make) == layer("a", make)
    assert (layer("a", make) / "package").read_text() == "1"
    assert len(made) == 1
    assert layer("b", make) != layer("a", make)


def test_who_has_it_open_keeps_nobody_waiting() -> None:
    """Mutants are tried in several sandboxes of one run, all on the same layer."""
    with open_layer("a", Path.mkdir) as first:
        asks = threading.Thread(target=layer, args=("a", Path.mkdir), daemon=True)
        asks.start()
        asks.join(30)
        assert not asks.is_alive() and first.is_dir()


def test_two_that_ask_at_once_make_one() -> None:
    made: list[int] = []
    both = threading.Barrier(2)

    def make(place: Path) -> None:
        place.mkdir()
        made.append(1)

    def ask() -> None:
        both.wait()
        layer("a", make)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_what_a_crash_left_half_is_made_again(at_home: Path) -> None:
    def broken(place: Path) -> None:
        place.mkdir()
        (place / "half").touch()
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        layer("a", broken)
    place = layer("a", lambda place: place.mkdir())
    assert list(place.iterdir()) == []


def test_the_ones_used_longest_ago_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "KEPT", 2)
    first = layer("1", lambda place: place.mkdir())
    for key in ("2", "3"):
        layer(key, lambda place: place.mkdir())
    assert not first.exists()
    assert layer("3", lambda place: pytest.fail("it was there")).is_dir()


def test_one_that_is_open_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "KEPT", 1)
    with open_layer("1", lambda place: place.mkdir()) as first:
        for key in ("2", "3"):
            layer(key, lambda place: place.mkdir())
        assert first.is_dir()
    layer("4", lambda place: place.mkdir())
    assert not first.exists()
