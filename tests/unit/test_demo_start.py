"""The demo's own imports begin only once the server's port is known: Prefect reads the address when it is imported."""

import os
from pathlib import Path

import pytest

from station import demo, settings, supervisor


def test_imports_begin_when_the_port_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in settings.client_environment():
        monkeypatch.setenv(name, "before")  # so that all of them are put back
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    settings.use(always=True)
    asked: list[str] = []

    def choose_another_port() -> None:
        (tmp_path / "port").write_text("4321")

    def end() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(supervisor, "start", choose_another_port)
    monkeypatch.setattr(supervisor, "wait", end)
    monkeypatch.setattr(demo.threading, "Thread", lambda target, **_: target)
    monkeypatch.setattr(
        demo, "_make_ahead", type("Ahead", (), {"start": lambda: asked.append(os.environ["PREFECT_API_URL"])})
    )
    with pytest.raises(KeyboardInterrupt):
        demo.demo(interactive=False)
    assert asked == ["http://127.0.0.1:4321/api"]
