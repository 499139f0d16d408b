"""Rules over two runs of the tests, base's and the change's: what the judge's rules over single rows do not see."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from domain.checks import Problem, new_problems
from domain.policy.baseline import ACCEPTANCE_COMMAND
from domain.policy.rule import Hit, Rule
from domain.reports import BAD
from domain.task import CaseOutcome, CaseRow, Severity, Suite


class Again(NamedTuple):
    """What was seen of tests that do not say the same in each run: test → a few words."""

    flaky: Mapping[str, str] = {}
    """They fail on base too, when they run there again."""
    unsteady: Mapping[str, str] = {}
    """They fail and pass on the change, and were not seen to fail on base."""
    quarantined: Mapping[str, str] = {}
    unstable: Mapping[str, str] = {}
    """Functions whose parameters have other ids in each run."""

    @property
    def uncounted(self) -> set[str]:
        return {*self.flaky, *self.unsteady, *self.quarantined}


class RanSuites(NamedTuple):
    """What ran, under the same locked tests. `own`: the change's tests on base's product code."""

    base: Suite
    head: Suite
    rows: tuple[CaseRow, ...] = ()
    own: Suite | None = None
    again: Again = Again()
    put_back: Mapping[str, str] = {}
    """Path, or nothing for what is installed → how it was tested, if that is not as the change has it."""
    installed: Sequence[str] = ()
    """Requirement lines that are installed for the change, and not for base."""


def _did_not_run(ran: RanSuites) -> Iterator[Hit]:
    if ran.head.problem:
        yield Hit(f"the tests could not be run on the change: {ran.head.problem}")


def _broken(name: str) -> Callable[[RanSuites], Iterable[Hit]]:
    """A check that gives what is new: each thing that the command says on the change alone, or its whole answer where
    it succeeds on base and what it says cannot be told apart."""

    def check(ran: RanSuites) -> Iterator[Hit]:
        code = ran.head.checks.get(name, 0)
        if not code:
            return
        new = _new(name, ran)
        yield from (Hit(f"{name}: {one.message}", one.path, one.line) for one in new)
        if not new and ran.base.checks.get(name) == 0:
            yield Hit(f"{name} fails (exit code {code}): {ran.head.messages.get(name, '')[-600:]}")

    return check


def _new(name: str, ran: RanSuites) -> tuple[Problem, ...]:
    """What the command says of files on the change alone; nothing if base's word is not known."""
    is_known = name in ran.base.problems or ran.base.checks.get(name) == 0
    return tuple(problem for problem in _more(name, ran) if problem.path) if is_known else ()


def _more(name: str, ran: RanSuites) -> tuple[Problem, ...]:
    return new_problems(ran.base.problems.get(name, ()), ran.head.problems.get(name, ()))


def _broken_before(ran: RanSuites) -> Iterator[Hit]:
    for name, code in _failing(ran):
        if _is_as_before(name, ran):
            yield Hit(f"{name} fails on base too (exit code {code}), and says nothing new")


def _unclear(ran: RanSuites) -> Iterator[Hit]:
    for name, code in _failing(ran):
        before = ran.base.checks.get(name)
        if before != 0 and not _is_as_before(name, ran) and not _new(name, ran):
            was, now = (suite.messages.get(name, "")[-250:] for suite in (ran.base, ran.head))
            on_base = "was not run" if before is None else f"fails (exit code {before}: {was})"
            yield Hit(f"{name} {on_base} on base, and fails on the change (exit code {code}: {now})")


def _failing(ran: RanSuites) -> list[tuple[str, int]]:
    return [(name, code) for name, code in ran.head.checks.items() if code and name != ACCEPTANCE_COMMAND]


def _is_as_before(name: str, ran: RanSuites) -> bool:
    """Whether a command fails as it does on base, and everything that it says is said there too."""
    is_alike = ran.base.checks.get(name) == ran.head.checks[name]
    is_read = name in ran.base.problems and name in ran.head.problems
    return is_alike and is_read and not _more(name, ran)


def _proves_nothing(ran: RanSuites) -> Iterator[Hit]:
    if ran.own is None:
        return
    if ran.own.problem:
        yield Hit(f"the change's own tests could not be run on base: {ran.own.problem}")
        return
    for row in ran.rows:
        if row.kind == "new" and row.base is CaseOutcome.PASSED and row.head is CaseOutcome.PASSED:
            yield Hit(f"{row.test} passes without the change, too", row.test.split("::")[0])


def _seen(which: str, lead: str) -> Callable[[RanSuites], Iterable[Hit]]:
    def check(ran: RanSuites) -> Iterator[Hit]:
        for test, seen in getattr(ran.again, which).items():
            path, at, _ = test.partition("::")
            yield Hit(f"{test} {lead}: {seen}", path if at else None)

    return check


def _put_back(ran: RanSuites) -> Iterator[Hit]:
    for path, how in ran.put_back.items():
        yield Hit(how, path or None)


def _installed(ran: RanSuites) -> Iterator[Hit]:
    for line in ran.installed:
        yield Hit(f"{line.split(' --hash=')[0]} is installed for the change, and not for base")


def _exit_code_only(ran: RanSuites) -> Iterator[Hit]:
    if ran.head.runner == "exit code":
        yield Hit("of the tests nothing is known but the exit code of their command")


def _canaries_silent(ran: RanSuites) -> Iterator[Hit]:
    silent = sorted(name for name, outcome in ran.base.canaries.items() if outcome in ("missing", "skipped"))
    if silent:
        yield Hit(f"{len(silent)} of the platform's {len(ran.base.canaries)} own tests do not run in this project")
    blind = sorted(name for name, said in ran.base.canaries.items() if name.endswith(".same") and said in BAD)
    if blind:
        yield Hit("what the tests replace of Python and of others is not seen: the look at it fails on base, too")
    watched = {"pytest", "unittest", "exit code", *(name.split()[0] for name in ran.base.canaries)}
    if others := sorted({name for name in ran.base.runner.split(", ") if name} - watched):
        yield Hit(f"the platform has no tests of its own among those of {', '.join(others)}")


def _left(lead: str, said: str) -> Callable[[RanSuites], Iterable[Hit]]:
    """A check that gives what the platform's tests saw with the change, beginning with `lead`, and not on base."""

    def check(ran: RanSuites) -> Iterator[Hit]:
        base, head = (_seen_by_canaries(suite, lead) for suite in (ran.base, ran.head))
        for what in sorted(head - base):
            yield Hit(f"{what} {said}")

    return check


def _seen_by_canaries(suite: Suite, lead: str) -> set[str]:
    told = [one for name, said in suite.canaries.items() if name.endswith(".same") for one in said.split(", ")]
    return {one.removeprefix(lead) for one in told if one.startswith(lead)}


REFUSE, PERSON, NOTE = Severity.REFUSE, Severity.PERSON, Severity.NOTE
EQUAL, PUT = "equal to anything: ", "put into "
"""How the platform's tests begin what they see."""
PUT_BACK = "put-back"

RAN_RULES: tuple[Rule[RanSuites], ...] = (
    Rule(
        "tests-did-not-run", "test", REFUSE,
        "A run that did not end, whose report cannot be read or contradicts the exit code, in which the platform's own "
        "tests, which must fail, did not, or after which the files of the tests are others than before.",
        "A report that cannot be believed is none.",
        "leave the runner, Python and the process alone; see that the test command ends by itself",
        _did_not_run,
    ),
    Rule(
        "equal-to-anything", "test", REFUSE,
        "A class of the product whose new, unfilled instance says that it is equal to a thing that it cannot know; "
        "asked while the tests run, however its `__eq__` is written. Classes that base has count for base.",
        "Every assertion about it holds.",
        "compare the fields, and say NotImplemented to what is of another kind",
        _left(EQUAL, "is equal to anything"),
    ),
    *(
        Rule(
            f"{name}-broken", "test", REFUSE,
            f"The settings' {name} command fails on the change, and succeeds on base or says something that it does "
            "not say there: another message, or the same once more in one file. Lines that moved do not count.",
            "What was wrong before is not the change's; what it adds is.",
            f"make {name} say nothing new",
            _broken(name),
        )
        for name in ("build", "lint", "types")
    ),
    Rule(
        "new-test-proves-nothing", "test", PERSON,
        "A test of the change's own that passes on base's product code, too.",
        "It would be green without the change, so it says nothing about it.",
        "test what is different now, or take it out",
        _proves_nothing,
    ),
    Rule(
        "patches-others", "test", PERSON,
        "A function or a class of the product that stands in a module or class of Python or of an installed package "
        "while the tests run, and does not on base.",
        "What other code calls is another thing then, for tests and for whoever uses this product.",
        "call or wrap the other code where it is needed, or let a reviewer agree",
        _left(PUT, "is replaced by something of the product's"),
    ),
    Rule(
        PUT_BACK, "test", PERSON,
        "A file that was not tested as the change has it: base's was put back, in whole or in those parts that say how "
        "tests run (`scripts` and the runners' tables of package.json; `[[test]]`, `[patch]` and others of Cargo.toml; "
        "`[tool.pytest]`), or a new one of that kind was left out. What else stands in such a file is the change's.",
        "What is merged is then not all that was tested. A refusal names these files too, for it may come from that.",
        "leave it as base has it; a person can open the file by its own name in may_change_tests",
        _put_back,
    ),
    Rule(
        "installed-anew", "test", PERSON,
        "A requirement, or a bound of one, that is installed for the change and not for base, wherever it is written.",
        "A dependency is other people's code with this project's rights, also where no file of a known name has it.",
        "a reviewer knows each new name and version",
        _installed,
    ),
    Rule(
        "check-unclear", "test", PERSON,
        "A build, lint or types command that fails on base and on the change in ways that cannot be compared: another "
        "exit code, an output of no known form, or no run on base.",
        "What is new in it is not known.",
        "make the command succeed on base, or let a reviewer compare the two outputs",
        _unclear,
    ),
    Rule(
        "flaky", "test", NOTE,
        "An existing test that passed on base, fails on the change, and fails on base when it runs there again: by "
        "chance, or also among all others. One that only fails without the others is not meant.",
        "It is not the change that breaks it; somebody should mend it all the same.",
        "nothing to do in this change",
        _seen("flaky", "is flaky"),
    ),
    Rule(
        "flaky-on-change", "test", PERSON,
        "An existing test that passed on base, or one of the acceptance, or its command, that fails on the change, and "
        "passes there when all run again. To skip itself counts as to fail.",
        "It may fail by chance as before, or because the change made something unsteady.",
        "see which of the two it is; one that fails by chance goes into [[quarantine]] of lockgate.toml on base",
        _seen("unsteady", "is flaky"),
    ),
    Rule(
        "quarantined", "test", NOTE,
        "An existing test that passed on base and fails on the change, and that [[quarantine]] of lockgate.toml names.",
        "It is not counted until its end date.",
        "mend the test in a change of its own",
        _seen("quarantined", "is in quarantine"),
    ),
    Rule(
        "ids-unstable", "test", NOTE,
        "A test with parameters whose ids are others in each run: a time, a random number, an address. Its cases are "
        "compared together, by the worst of them.",
        "Which case is which cannot be told.",
        "give its parameters fixed ids",
        _seen("unstable", "has ids that change from run to run"),
    ),
    Rule(
        "broken-on-base", "test", NOTE,
        "A build, lint or types command that fails on base and on the change, and says nothing new.",
        "It says nothing about the change.",
        "mend it in a change of its own",
        _broken_before,
    ),
    Rule(
        "exit-code-only", "test", NOTE,
        "A test command that no report is known of: neither pytest, unittest, node --test, jest or vitest, nor a "
        "`report` of the settings.",
        "A test that went missing or was skipped is not seen; it is weaker evidence.",
        "set `report` in lockgate.toml",
        _exit_code_only,
    ),
    Rule(
        "canaries-silent", "test", NOTE,
        "Some of the platform's own tests did not run on base: the project's set-up skips or does not collect them, or "
        "the runner has none: Node's, and what is read from `report`; or the one that looks at what is replaced fails.",
        "A runner that was tampered with is less likely to be found out.",
        "let the project's conftest leave tests alone that it does not know",
        _canaries_silent,
    ),
)  # fmt: skip
