"""What the platform's own tests see of the process that they run in."""

import importlib
import json
import sys
import unittest.case
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.running.inside_process import Process

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
    @staticmethod
    def find_spec(*given):
        return None


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
    sys.modules.pop("some_product", None)


def test_what_a_product_changes_of_others_and_what_is_equal_to_anything_is_seen(product: Path) -> None:
    process = Process([str(product)])
    assert process.changes() == []
    importlib.import_module("some_product")
    assert process.changes() == [
        "import hook some_product.Finder",
        "unittest.case._AssertRaisesContext.__exit__",
        "equal to anything: some_product.Inherits",
        "equal to anything: some_product.Mixed",
        "equal to anything: some_product.Names",
        "put into json.dumps",
        "put into json.proxy",
    ]
