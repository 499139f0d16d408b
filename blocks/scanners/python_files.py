"""The part of a tree that Python scanners read."""

import re
from collections.abc import Iterable

from pydantic import Field

from blocks.scanners.tool import Tool
from domain.paths import matches
from domain.policy.change import is_python
from domain.ports import Tree
from domain.trees import LINK

CANARY_SOURCE = b"def canary(text):\n    return eval(text)\n"
"""S307 and B307. It stays a file of its own: the scanners' directories hold nothing that is imported."""

SHEBANG = re.compile(rb"#![^\n]*\bpython")


class PythonTool(Tool):
    """A scanner of Python sources. Suppressions and configuration in the tree do not count."""

    _block_type_name = "Lockgate Python scanner"
    _block_type_slug = "lockgate-python-scanner"

    skip: tuple[str, ...] = Field(
        ("tests/**", "test/**", "**/test_*.py", "**/*_test.py", "**/conftest.py"),
        description="Globs of files that are not scanned: tests may assert, and use fixed passwords",
    )

    def _wanted(self, tree: Tree, paths: Iterable[str]) -> Iterable[str]:
        for path in paths:
            entry = tree[path]
            if (
                entry.mode != LINK
                and (is_python(path) or SHEBANG.match(entry.content))
                and not matches(path, self.skip)
            ):
                yield path
