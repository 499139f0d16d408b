"""Wheels of own projects: what is kept of one, and what a change may not make of its own."""

import io
import zipfile
from pathlib import Path
from typing import Any, cast

import pytest

from blocks.workshop import Workshop
from domain.errors import InputError
from domain.toolchain import BuiltProject
from domain.wheels import split, started_by
from tasks.room import own_requirements
from tests.unit.policy_cases import prepared

ENTRIES = "[console_scripts]\nshop = shop:main\n[pytest11]\nshop = shop.plugin\n[other]\npytest = x\n"


def wheel(*files: tuple[str, str], name: str = "shop") -> bytes:
    told = [(f"{name}-1.dist-info/METADATA", f"Name: {name}\nVersion: 1\n"), *files]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, text in told:
            archive.writestr(path, text)
    return out.getvalue()


@pytest.mark.parametrize(
    "path",
    [
        *("x.pth", "shop-1.data/purelib/x.pth", "shop-1.data/platlib/sitecustomize.py", "sitecustomize.so"),
        *("shop-1.data/data/lib/python3.11/site-packages/x.pth", "shop/conftest.py", "other.egg-info/entry_points.txt"),
    ],
)
def test_nothing_that_starts_by_itself_is_kept(path: str) -> None:
    parts = split(wheel(("shop/__init__.py", ""), ("shop/made.py", ""), (path, "import os")), ["src/shop/__init__.py"])
    with zipfile.ZipFile(io.BytesIO(parts.wheel)) as archive:
        own = ["lockgate_shop-1.pth", "shop-1.dist-info/METADATA", "shop-1.dist-info/RECORD"]
        assert sorted(archive.namelist()) == own
    assert list(parts.beside) == ["src/shop/made.py"]


def test_what_programs_start_by_name_is_known() -> None:
    made = wheel(("shop-1.dist-info/entry_points.txt", ENTRIES), ("shop-1.data/scripts/go", "#!python"))
    assert started_by(made) == {"bin shop", "pytest11 shop", "bin go"}


TAKES = (
    ("a plugin of pytest", "shop", ("shop-1.dist-info/entry_points.txt", ENTRIES)),
    ("a script sh", "shop", ("shop-1.dist-info/entry_points.txt", "[console_scripts]\nsh=shop:main\n")),
    ("a script pytest", "shop", ("shop-1.data/scripts/pytest", "#!python")),
    ("name of the package pluggy", "pluggy", ("x.txt", "")),
)


@pytest.mark.parametrize(("what", "name", "file"), TAKES, ids=[what for what, _, _ in TAKES])
def test_a_project_of_the_change_cannot_become_what_judges_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, name: str, file: tuple[str, str]
) -> None:
    (tmp_path / "lib/python3.11/site-packages/Pluggy-1.6.dist-info").mkdir(parents=True)
    monkeypatch.setattr(own_requirements, "toolchain_of", lambda shop, task: tmp_path)
    wheels = {"old": wheel(), "new": wheel(file, name=name)}
    shop = cast(Workshop, type("Shop", (), {"store": type("Store", (), {"get": staticmethod(wheels.__getitem__)})}))

    def built(name: str, at: str) -> BuiltProject:
        return BuiltProject(
            directory="", name=name, filename=f"{name}-1.whl", wheel=at, beside="", roots=(), sources=()
        )

    takes: Any = own_requirements._refuse_takeovers
    task = prepared().model_copy(update={"projects": (built("shop", "old"),)})
    with pytest.raises(InputError, match=what):
        takes(shop, task, (built(name, "new"),))
    takes(shop, task.model_copy(update={"projects": (built(name, "new"),)}), (built(name, "new"),))  # as on base
