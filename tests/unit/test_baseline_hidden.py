"""What base has although an acceptance file does not compile there."""

from domain.brief import Acceptance, AcceptanceFile
from domain.project import ProjectSettings
from domain.task import CaseOutcome, Prepared, Suite
from tasks.running.baseline import hiding_files, with_hidden, without
from tests.unit.policy_cases import prepared, tree

PASSED, FAILED, ERROR = CaseOutcome.PASSED, CaseOutcome.FAILED, CaseOutcome.ERROR
HIDING = ("calc/double_test.go",)
ASKED = Acceptance(files=(AcceptanceFile(path=HIDING[0], content="package calc\n"),))


def suite(cases: dict[str, CaseOutcome], **more: object) -> Suite:
    return Suite.model_validate({"cases": cases, "exit_code": 1, "seconds": 1.0, **more})


def test_tests_that_an_acceptance_file_hides_are_known_and_the_file_is_an_error() -> None:
    broken = suite({"calc": ERROR, "web/a_test.go::TestA": PASSED}, messages={"calc": "undefined: Double"})
    rest = suite({"calc/calc_test.go::TestAdd": PASSED, "web/a_test.go::TestA": PASSED})
    told = with_hidden(broken, rest, HIDING, ASKED)
    assert told.cases == {**rest.cases, "calc/double_test.go": ERROR}
    assert told.messages == {"calc/double_test.go": "undefined: Double"}
    assert told.seconds == 2.0


def test_a_file_that_hides_nothing_is_not_held_to_be_red() -> None:
    found = suite({"calc/calc_test.go::TestAdd": PASSED, "web": FAILED})
    assert with_hidden(found, found, HIDING, ASKED) is found, "nobody runs that file"
    assert with_hidden(found, suite({"x": PASSED}, problem="it did not end"), HIDING, ASKED) is found


# --- Python: a newer helper of the acceptance needs what only the change brings

HELPED = Acceptance(
    files=(
        AcceptanceFile(path="tests/test_new.py", content="from tests.utils import new\ndef test_new(): assert new()\n"),
        AcceptanceFile(path="tests/utils.py", content="from shop import new\n"),
    )
)
OWN, NEW = "tests/test_old.py", "tests/test_new.py"


def helped(**settings: object) -> Prepared:
    ready = prepared()
    brief = ready.brief.model_copy(update={"acceptance": HELPED})
    return ready.model_copy(update={"brief": brief, "settings": ProjectSettings.model_validate(settings)})


def test_a_helper_that_keeps_own_tests_from_running_is_put_aside_and_the_acceptance_is_red() -> None:
    ready, files = helped(), ("tests/test_new.py", "tests/utils.py")
    broken = suite({OWN: ERROR, NEW: ERROR}, messages={NEW: "cannot import new"})
    assert hiding_files(broken, ready) == files
    laid, base = tree(dict.fromkeys((*files, OWN), "newer")), tree({"tests/utils.py": "older", OWN: "newer"})
    assert without(laid, base, files) == base
    rest = suite({f"{OWN}::test_old": PASSED, f"{NEW}::test_gone": PASSED})
    told = with_hidden(broken, rest, files, HELPED)
    assert told.cases == {f"{OWN}::test_old": PASSED, NEW: ERROR}
    assert told.messages == {NEW: "cannot import new"}


def test_a_conftest_with_which_nothing_runs_is_red_by_the_tests_beside_it() -> None:
    ready, dead = helped(), suite({}, problem="pytest ended with exit code 4: ImportError while loading conftest")
    files = hiding_files(dead, ready)
    told = with_hidden(dead, suite({f"{OWN}::test_old": PASSED}), files, HELPED)
    assert (told.problem, told.cases) == (None, {f"{OWN}::test_old": PASSED, NEW: ERROR})
    assert told.messages[NEW].endswith("while loading conftest")
    assert with_hidden(dead, suite({}, problem="as before"), files, HELPED) is dead, "base's own conftest is broken"


def test_a_suite_whose_own_tests_run_is_not_measured_again() -> None:
    fine = suite({f"{OWN}::test_old": PASSED, NEW: ERROR})
    assert hiding_files(fine, helped()) == ()
    assert hiding_files(suite({f"{OWN}::test_old": FAILED, NEW: ERROR}), helped()) != (), "a helper may be why"
