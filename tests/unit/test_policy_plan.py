"""What policy says to a plan before the agent edits."""

from typing import Any

import pytest

from domain.brief import Scope
from domain.policy import judge_plan
from domain.task import Plan, Severity
from tests.unit.policy_cases import prepared

SHOP = Scope(paths=("shop/**", "tests/**"))


def plan(**fields: Any) -> Plan:
    return Plan(**{"steps": ("Add the route",), "paths": ("shop/app.py",), **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"paths": ("shop", "tests/", "tests/test_new.py")},
        {"dependencies": ("Flask >= 3",)},
        {"dependencies": ("v2",)},
        {"steps": (), "questions": ("Which price?",)},
    ],
)
def test_an_honest_plan_passes(fields: dict[str, Any]) -> None:
    ready = prepared(scope=SHOP)
    assert judge_plan(plan(**fields), ready) == ()


@pytest.mark.parametrize(
    ("fields", "rule", "severity"),
    [
        ({"steps": ()}, "plan-empty", Severity.REFUSE),
        ({"steps": (" ",)}, "plan-empty", Severity.REFUSE),
        ({"steps": ("do",) * 21}, "plan-too-large", Severity.REFUSE),
        ({"paths": tuple(f"shop/{n}.py" for n in range(41))}, "plan-too-large", Severity.REFUSE),
        ({"paths": ("infra/main.tf",)}, "plan-out-of-scope", Severity.REFUSE),
        ({"paths": ("shop/../../etc/passwd",)}, "plan-path", Severity.REFUSE),
        ({"paths": ("shop/.git/hooks/pre-commit",)}, "plan-path", Severity.REFUSE),
        ({"paths": ("tests/conftest.py",)}, "plan-contract", Severity.REFUSE),
        ({"paths": ("tests/test_search.py",)}, "plan-contract", Severity.REFUSE),
        ({"dependencies": ("left-pad>=1",)}, "plan-dependency", Severity.PERSON),
        ({"migrations": ("add a column",)}, "plan-migration", Severity.PERSON),
        ({"paths": ("shop/auth.py",)}, "plan-sensitive", Severity.NOTE),
    ],
)
def test_a_plan_that_goes_too_far_is_told_so(fields: dict[str, Any], rule: str, severity: Severity) -> None:
    (finding,) = judge_plan(plan(**fields), prepared(scope=SHOP))
    assert (finding.rule, finding.severity, finding.gate) == (rule, severity, "plan")
    assert finding.fix
