"""The rules over a change in a process of their own: the same answer, and a refusal where there is none."""

import ast
from pathlib import Path

import pytest

from blocks.scanners import rules_alone
from blocks.scanners.change_rules import rules_over
from domain.policy import change_findings
from domain.task import Severity
from tests.unit.policy_cases import PROJECT, attempt, head, prepared, tree


def test_the_answer_is_that_of_the_rules() -> None:
    base = {**PROJECT, **tree({"caf\udce9.txt": "a name that is no UTF-8\n"})}
    changed = {**base, **tree({"shop/x.py": "import os\nos._exit(0)\n", "b\udce9": b"\xff"})}
    del changed["tests/test_gone.py"]
    found = rules_over(prepared(), attempt(changed), base, changed)
    assert found == change_findings(prepared(), attempt(changed), base, changed)
    assert {"process-exit", "test-deleted", "binary"} <= {finding.rule for finding in found}


def test_rules_that_take_too_long_or_break_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = head({"shop/x.py": "x = 1\n"})
    late = rules_over(prepared(), attempt(changed), PROJECT, changed, timeout_s=0.01)
    monkeypatch.setattr("sys.executable", "/bin/false")
    broken = rules_over(prepared(), attempt(changed), PROJECT, changed)
    assert [(one.rule, one.severity) for one in (*late, *broken)] == [("scanner-failed", Severity.REFUSE)] * 2
    assert "longer than 0.01 s" in late[0].message and "exit code 1" in broken[0].message


def test_their_process_imports_the_domain_alone() -> None:
    """Prefect asks for a home directory, which a user without a line in /etc/passwd does not have."""
    nodes = ast.walk(ast.parse(Path(rules_alone.__file__).read_text()))
    named = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert named == {"typing", "domain.policy", "domain.task", "domain.trees"}
