"""What base has although an acceptance file does not compile there."""

from domain.task import CaseOutcome, Suite
from tasks.baseline import with_hidden

PASSED, FAILED, ERROR = CaseOutcome.PASSED, CaseOutcome.FAILED, CaseOutcome.ERROR
HIDING = ("calc/double_test.go",)


def suite(cases: dict[str, CaseOutcome], **more: object) -> Suite:
    return Suite.model_validate({"cases": cases, "exit_code": 1, "seconds": 1.0, **more})


def test_tests_that_an_acceptance_file_hides_are_known_and_the_file_is_an_error() -> None:
    broken = suite({"calc": ERROR, "web/a_test.go::TestA": PASSED}, messages={"calc": "undefined: Double"})
    rest = suite({"calc/calc_test.go::TestAdd": PASSED, "web/a_test.go::TestA": PASSED})
    told = with_hidden(broken, rest, HIDING)
    assert told.cases == {**rest.cases, "calc/double_test.go": ERROR}
    assert told.messages == {"calc/double_test.go": "undefined: Double"}
    assert told.seconds == 2.0


def test_a_file_that_hides_nothing_is_not_held_to_be_red() -> None:
    found = suite({"calc/calc_test.go::TestAdd": PASSED, "web": FAILED})
    assert with_hidden(found, found, HIDING) is found, "nobody runs that file"
    assert with_hidden(found, suite({"x": PASSED}, problem="it did not end"), HIDING) is found
