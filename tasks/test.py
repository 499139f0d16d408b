"""test: the change's product code under base's tests, in a fresh sandbox, compared test by test with base."""

import functools
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from blocks.workshop import Workshop, workshop_of
from domain.errors import InputError
from domain.policy.baseline import ACCEPTANCE_COMMAND, is_acceptance
from domain.policy.change import Change
from domain.policy.mutation_rules import MUTATION_RULES, Noticed
from domain.policy.rule import apply
from domain.policy.test_rules import RAN_RULES, Again, RanSuites
from domain.records import BILL, TESTED
from domain.reports import BAD
from domain.task import Attempt, BillLine, CaseOutcome, CaseRow, Prepared, Suite, Tested
from domain.trees import Tree
from tasks.pages import show
from tasks.room.desk import time_left_s
from tasks.room.own_requirements import with_its_own
from tasks.room.redaction import printable
from tasks.running.abreast import abreast
from tasks.running.again import by_function, seen_again, unstable
from tasks.running.checks import run_checks
from tasks.running.mutate import Bench, mutate
from tasks.running.runners import can_choose
from tasks.running.suite import SuiteRequest, own_tests, put_back, rooms, run_suite, under_contract, unpack
from tasks.step import step


@step("test", "test-{attempt.number}")
def test(prepared: Prepared, attempt: Attempt) -> Tested:
    """Evidence: acceptance and existing tests on base and on the change. Safe to repeat: it changes nothing."""
    brief, run = prepared.brief, prepared.run_id
    shop = workshop_of(brief)
    if attempt.commit is None or prepared.baseline is None:
        raise ValueError("only an attempt with a commit, prepared with a baseline, can be tested")
    if known := shop.ledger.find(run, *TESTED.at(attempt.commit), Tested):
        return known
    contract = unpack(shop.store.get(prepared.contract))
    base = shop.forge.tree(brief.repository, prepared.base)
    change = shop.forge.tree(brief.repository, attempt.commit)
    bench = _Bench(shop, prepared, under_contract(change, base, contract, brief), {**base, **contract})
    own = own_tests(change, base, contract, prepared.settings) if can_choose(prepared.settings) else ()
    tried: Suite | None = None
    baseline, again = prepared.baseline, Again()
    try:
        bench.mine, bench.not_installed = with_its_own(shop, prepared, attempt, base, change)
        suite, tried = _all_runs(bench, own, base)
        if not suite.problem:
            chooses = can_choose(prepared.settings)
            changing = unstable(bench, baseline, suite) if chooses else {}
            baseline, suite = by_function(baseline, suite, changing)
            rows, brought = compare(prepared, baseline, suite), tuple(path for path in own if path not in base)
            command = brief.acceptance.command
            left = (time_left_s(shop, prepared) - bench.seconds) / max(suite.seconds, 0.001)
            today = datetime.now(UTC).date()
            again = seen_again(bench, prepared.settings, rows, today, brought, command, chooses, left)
            again = again._replace(unstable=changing)
    except InputError as err:  # a file where the contract has a directory; or setup does not work with the change
        suite = Suite(cases={}, exit_code=-1, problem=f"the change cannot be tested: {bench.shown(str(err))}")
    rows = compare(prepared, baseline, suite, tried, again.uncounted)
    noticed = bench.noticed(Change(prepared, attempt, base, change), suite, own) if _is_green(suite, rows) else None
    line = BillLine(run_id=run, step="test", attempt=attempt.number, sandbox_s=round(bench.seconds, 3))
    shop.ledger.record(run, *BILL.at("test", attempt.commit), line)
    tested = Tested(
        commit=attempt.commit,
        rows=rows,
        findings=(
            *apply(RAN_RULES, RanSuites(baseline, suite, rows, tried, again, *bench.differs(change, base))),
            *(apply(MUTATION_RULES, noticed) if noticed else ()),
        ),
        mutation=noticed and noticed.mutation,
        coverage=noticed and noticed.coverage,
        sandbox=suite.sandbox,
        seconds=round(bench.seconds, 3),
        output=suite.output,
    )
    show.tested(tested, attempt.number)
    return shop.ledger.record(run, *TESTED.at(attempt.commit), tested)


class _Bench:
    """The change and base under the same contract, each run in fresh sandboxes. `seconds`: all of it together,
    `mine`: what the change is run with, `not_installed`: why that is base's though it wants more, `shown`: what is kept
    of a text that they print."""

    def __init__(self, shop: Workshop, prepared: Prepared, head: Tree, base: Tree) -> None:
        self.head, self.base = head, base
        self.mine = prepared
        self.not_installed = ""
        self.shown = printable(shop, prepared, head)
        self._shop, self._prepared = shop, prepared
        self._took: list[float] = []  # runs side by side add to it

    def run(
        self,
        tree: Tree | None = None,
        *,
        only: tuple[str, ...] = (),
        without: tuple[str, ...] = (),
        checks: bool = False,
    ) -> Suite:
        """The suite of `tree`, by default of the change, with the project's commands if asked for. Raises InputError if
        it cannot be opened or set up."""
        prepared, tree = (self.mine, self.head) if tree is None else (self._prepared, tree)
        canaries = prepared.baseline.canaries if prepared.baseline else {}
        rewritten = prepared.baseline.rewritten if prepared.baseline else ()
        opened = rooms(self._shop, prepared, tree)
        ask = SuiteRequest(canaries, only, without, checks, self.base, rewritten)
        suite = run_suite(self._shop, tree, prepared.brief, prepared.settings, opened, ask, self.shown)
        self._took.append(suite.seconds)
        return suite

    def accepts(self) -> bool:
        """Whether the acceptance command passes on the change when it runs once more. Raises as `run`."""
        asked = {ACCEPTANCE_COMMAND: self._prepared.brief.acceptance.command}
        opened = rooms(self._shop, self.mine, self.head)
        said = run_checks(asked, self.head, self._prepared.settings, opened, product=(ACCEPTANCE_COMMAND,))
        self._took.append(said.seconds)
        return said.codes.get(ACCEPTANCE_COMMAND) == 0

    @property
    def seconds(self) -> float:
        return sum(self._took)

    def differs(self, change: Tree, base: Tree) -> tuple[dict[str, str], tuple[str, ...]]:
        """How what was run is another thing than the change: what was put back; and than base: what was installed."""
        before = set(self._prepared.requirements)
        installed = tuple(line for line in self.mine.requirements if line not in before)
        told = put_back(change, base, self.head, self._prepared.brief)
        if self.not_installed:
            told[""] = f"tested with what base installs, for what the change asks for cannot be: {self.not_installed}"
        return told, installed

    def noticed(self, change: Change, suite: Suite, own: tuple[str, ...]) -> Noticed:
        """What the tests notice of mutants of the change. Raises as `run`."""
        acceptance = self._prepared.brief.acceptance
        ran = {test.split("::")[0] for test in suite.cases}  # data that comes with the acceptance is no test
        named = (*(file.path for file in acceptance.files), *(test.split("::")[0] for test in acceptance.tests))
        asked = tuple(path for path in named if path in ran)
        opened = rooms(self._shop, self.mine, self.head)
        found = mutate(Bench(change, self.head, opened, (*asked, *own), own, suite.seconds), self.shown)
        self._took.append(found.mutation.seconds)
        return found


def _is_green(suite: Suite, rows: tuple[CaseRow, ...]) -> bool:
    """Whether mutants would tell anything: the change passes all that it is judged by."""
    failing = [row for row in rows if row.head in BAD]
    return not suite.problem and all(row.kind == "existing" and (row.base in BAD or row.is_flaky) for row in failing)


def _all_runs(bench: _Bench, own: tuple[str, ...], base: Tree) -> tuple[Suite, Suite | None]:
    """The change's run with the tests that it brings, and those tests on base's product code.

    They run apart from the contract: what a new test does to its process is nothing to the tests that judge the change.
    All runs are side by side; what the contract's cannot tell, the others do not either.
    """
    brought = tuple(path for path in own if path not in base)
    runs: list[Callable[[], Suite]] = [functools.partial(bench.run, without=brought, checks=True)]
    if own:
        before = {**bench.base, **{path: bench.head[path] for path in own}}
        runs += [functools.partial(bench.run, before, only=own)]
    if brought:
        runs += [functools.partial(bench.run, only=brought)]
    ran = abreast(*runs)
    suite = ran[0].result()
    if suite.problem or not own:
        return suite, None
    if brought:
        alone = ran[2].result()
        fresh = {test: outcome for test, outcome in alone.cases.items() if test.split("::")[0] in brought}
        suite = suite.model_copy(
            update={
                "cases": {**suite.cases, **fresh},
                "messages": {**suite.messages, **{t: m for t, m in alone.messages.items() if t in fresh}},
                "problem": alone.problem and f"{alone.problem} (the change's own tests)",
            }
        )
    return suite, ran[1].result()


def compare(
    prepared: Prepared, base: Suite, head: Suite, own: Suite | None = None, flaky: Collection[str] = ()
) -> tuple[CaseRow, ...]:
    """One row a test: acceptance first, then existing, then new ones.

    `own`: the change's tests on base's product code. `flaky`: tests that are not counted.
    """
    acceptance = prepared.brief.acceptance
    rows = []
    for test_id in {**base.cases, **head.cases}:
        before = base.cases.get(test_id) or base.cases.get(test_id.split("::")[0], CaseOutcome.MISSING)
        after = head.cases.get(test_id, CaseOutcome.MISSING)
        kind = "existing" if test_id in base.cases else "new"
        if is_acceptance(test_id, acceptance):
            kind = "acceptance"
        if kind == "new" and own and before is CaseOutcome.MISSING:
            before = own.cases.get(test_id) or own.cases.get(test_id.split("::")[0], CaseOutcome.MISSING)
        if kind == "acceptance" and after is CaseOutcome.MISSING and "::" not in test_id:
            continue  # the file did not import on base; on the change its tests are rows of their own
        message = head.messages.get(test_id, "")
        rows.append(
            CaseRow(test=test_id, kind=kind, base=before, head=after, message=message, is_flaky=test_id in flaky)
        )
    name = ACCEPTANCE_COMMAND
    if name in head.checks:
        before, after = (CaseOutcome.PASSED if s.checks.get(name) == 0 else CaseOutcome.FAILED for s in (base, head))
        message = head.messages.get(name, "")
        test = acceptance.command or name
        is_flaky = test in flaky
        rows.append(CaseRow(test=test, kind="acceptance", base=before, head=after, message=message, is_flaky=is_flaky))
    order = {"acceptance": 0, "existing": 1, "new": 2}
    return tuple(sorted(rows, key=lambda row: (order[row.kind], row.test)))
