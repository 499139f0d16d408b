"""What the platform's own tests see of the process that they run in."""

import importlib
import json
import sys
import unittest.case
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.reports import Report
from domain.task import CaseOutcome
from tasks.running.canaries import FILE, UNITTEST, release
from tasks.running.inside_process import EQUAL, PUT, PristineProcess, listed

PRODUCT = """
import functools
import json
import sys
import unittest.case

unittest.case._AssertRaisesContext.__exit__ = functools.partialmethod(lambda *given: True)
json.dumps = lambda *given: ""
sys.excepthook = lambda *given: None


class Names(list):
    def __eq__(self, other):
        return list.__eq__(self, other) or len(other) > len(self)


class Mixed:
    def __eq__(self, other):
        return True


class Inherits(Mixed, dict):
    pass


class Honest:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return isinstance(other, Honest) and self.x == other.x


class Proxy:
    @property
    def __class__(self):
        raise RuntimeError("there is no request")


class Finder:
    __module__ = "json"

    @staticmethod
    def find_spec(*given):
        return None


class Callable:
    def __call__(self, *given):
        return True


class Static:
    __eq__ = staticmethod(lambda other: True)


class Called:
    __eq__ = Callable()


class Turned(int):
    __eq__ = int.__ne__


class Codec:
    def encode(self):
        return ""


class Unhashable(type):
    def __eq__(self, other):
        raise RuntimeError("a class is no number")


class OfUnhashable(metaclass=Unhashable):
    __module__ = 5


Codec.__module__ = "json"
json.codec = Codec()
json.proxy = Proxy()
sys.meta_path.append(Finder)
"""


@pytest.fixture
def product(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "some_product.py").write_text(PRODUCT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(json, "dumps", json.dumps)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    exit_was = unittest.case._AssertRaisesContext.__exit__  # type: ignore[attr-defined]
    yield tmp_path
    unittest.case._AssertRaisesContext.__exit__ = exit_was  # type: ignore[attr-defined]
    vars(json).pop("proxy", None)
    vars(json).pop("codec", None)
    sys.modules.pop("some_product", None)


def test_what_a_product_changes_of_others_and_what_is_equal_to_anything_is_seen(product: Path) -> None:
    process = PristineProcess([str(product)])
    assert process.changes() == []
    importlib.import_module("some_product")
    assert process.changes() == [
        "import hook json.Finder",
        "unittest.case._AssertRaisesContext.__exit__",
        "equal to anything: some_product.Called",
        "equal to anything: some_product.Inherits",
        "equal to anything: some_product.Mixed",
        "equal to anything: some_product.Names",
        "equal to anything: some_product.Static",
        "equal to anything: some_product.Turned",
        "put into json.codec",
        "put into json.dumps",
        "put into json.proxy",
    ]


def test_code_of_the_tests_is_never_written_and_their_data_may_be_touched(tmp_path: Path) -> None:
    code, data, golden = (tmp_path / name for name in ("test_a.py", "a.db", "golden.txt"))
    for path in (code, data, golden):
        path.write_text("as it was")
    process = PristineProcess([], [str(path) for path in (code, data, golden)])
    (tmp_path / "copy.db").hardlink_to(data)
    data.chmod(0o600)
    with data.open("r+b"):
        data.touch()
    assert [one for one in process.changes() if one.startswith(FILE)] == []
    golden.write_text("another one")
    code.write_text(code.read_text())
    assert [one for one in process.changes() if one.startswith(FILE)] == [f"{FILE}{code}", f"{FILE}{golden}"]


def test_no_name_hides_another_by_its_length_or_what_it_is_made_of() -> None:
    long, many = "A" * 600, [f"{EQUAL}shop.Class{number}" for number in range(90)]
    assert listed(["json.loads"]) == "json.loads"
    for names in ([long], [f"{EQUAL}{long}"], many, [f"{PUT}a,\n{long}"], ["\udc00"]):
        alone = set(listed(names).split(", "))
        assert alone - {""}
        assert "\n" not in "".join(alone)
        assert max(map(len, alone)) < 120
        for more in ("time.time", f"{EQUAL}zoo.Z", f"{PUT}zoo.z"):
            told = listed([*names, more])
            assert set(told.split(", ")) - alone, "a name more is seen, whatever stands before it"
            assert len(told) < 1100
    assert "equal to anything: and " in listed(many)


def test_what_is_replaced_is_read_below_a_traceback_that_shows_the_line_which_says_it() -> None:
    canaries = release(UNITTEST)
    message = (
        "assertEqual(\"\", names, f\"replaced: {names}\\n\")\nAssertionError: '' != 'x' : replaced: time.time, x\n\n"
    )
    test = f"canary::test_{canaries.nonce}a_same"
    _, seen = canaries.taken_out(Report({test: CaseOutcome.FAILED}, {test: message}))
    assert seen["a.same"] == "time.time, x"
