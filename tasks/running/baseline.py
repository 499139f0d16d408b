"""The tests on base: measured once for all that they depend on, in this task or another."""

import re
from pathlib import PurePosixPath

from blocks.workshop import Workshop
from domain.brief import Acceptance
from domain.policy.baseline import is_acceptance
from domain.records import BASELINE, BILL
from domain.reports import BAD, MAX_MESSAGE
from domain.task import BillLine, CaseOutcome, Prepared, Suite
from domain.trees import Tree, tree_digest
from domain.value import digest_of
from tasks.room.redaction import printable
from tasks.room.room import passport_of, toolchain_of
from tasks.running.runners import can_choose
from tasks.running.suite import locked, rooms, run_suite

_MADE = "with canaries, checks line by line, what acceptance files hide, and what the run rewrites"
"""How baselines are made; one that was made otherwise is made again."""


def measured(shop: Workshop, prepared: Prepared, tree: Tree, attempt: int, step: str = "prepare") -> Suite:
    """The tests on base. If nothing that they depend on changed they do not run again: what counts then is the
    platform's own record. Safe to repeat; a run that cannot be believed is not kept."""
    key = baseline_key(shop, prepared, tree)
    if known := shop.ledger.find("baselines", *BASELINE.at(key), Suite):
        return known
    base = {**tree, **locked(tree, prepared.brief, prepared.settings)}
    opened, shown = rooms(shop, prepared, base), printable(shop, prepared, base)
    suite = run_suite(shop, base, prepared.brief, prepared.settings, opened, shown=shown)
    if hiding := hiding_files(suite, prepared):
        rest = without(base, tree, hiding)
        opened = rooms(shop, prepared, rest)
        alone = run_suite(shop, rest, prepared.brief, prepared.settings, opened, shown=shown)
        suite = with_hidden(suite, alone, hiding, prepared.brief.acceptance)
    line = BillLine(run_id=prepared.run_id, step=step, attempt=attempt, sandbox_s=suite.seconds)
    shop.ledger.record(prepared.run_id, *BILL.at(step, attempt), line)
    return suite if suite.problem else shop.ledger.record("baselines", *BASELINE.at(key), suite)


def hiding_files(suite: Suite, prepared: Prepared) -> tuple[str, ...]:
    """Acceptance files that may keep base's own tests from running: in Go, Rust and mocha one that does not compile on
    base and so has no test in the run. pytest tells of such a file by itself, but a newer helper, or a conftest, can
    need what only the change brings: then it is all of them."""
    acceptance = prepared.brief.acceptance
    paths = tuple(file.path for file in acceptance.files)
    if can_choose(prepared.settings):
        own = {test: outcome for test, outcome in suite.cases.items() if not is_acceptance(test, acceptance)}
        helps = any(not _IS_TEST.fullmatch(PurePosixPath(path).name) for path in paths)
        broken = [test for test, outcome in own.items() if outcome in BAD and (helps or "::" not in test)]
        return paths if suite.problem or broken else ()
    known = {test.split("::")[0] for test in suite.cases}
    return () if suite.problem else tuple(path for path in paths if path not in known)


_IS_TEST = re.compile(r"test_.*\.py|.*_test\.py")


def without(laid: Tree, base: Tree, hiding: tuple[str, ...]) -> Tree:
    """The tree with these files as base has them."""
    rest = {path: entry for path, entry in laid.items() if path not in hiding}
    return {**rest, **{path: base[path] for path in hiding if path in base}}


def with_hidden(suite: Suite, rest: Suite, hiding: tuple[str, ...], acceptance: Acceptance) -> Suite:
    """What base has without the files that hide it, and what the acceptance says there: those of its files that do not
    run are errors. `suite` itself where they hide nothing."""
    own = {test: outcome for test, outcome in rest.cases.items() if not is_acceptance(test, acceptance)}
    hidden = [test for test, outcome in own.items() if outcome not in BAD and suite.cases.get(test) != outcome]
    if rest.problem or not hidden:
        return suite
    why = suite.problem or "\n".join(suite.messages.values())[-MAX_MESSAGE:]
    asked = {test: outcome for test, outcome in suite.cases.items() if is_acceptance(test, acceptance)}
    known = {test.split("::")[0] for test in asked}
    silent = [path for path in hiding if path not in known]
    tests = [path for path in silent if _IS_TEST.fullmatch(PurePosixPath(path).name)]
    if known or tests:
        silent = [path for path in silent if path in tests or not path.endswith(".py")]
    return rest.model_copy(
        update={
            "cases": {**own, **asked, **dict.fromkeys(silent, CaseOutcome.ERROR)},
            "messages": {
                **rest.messages,
                **{test: suite.messages[test] for test in asked if test in suite.messages},
                **dict.fromkeys(silent, why),
            },
            "checks": suite.checks,
            "problems": suite.problems,
            "rewritten": tuple(sorted({*suite.rewritten, *rest.rewritten})),
            "output": suite.output,
            "seconds": round(suite.seconds + rest.seconds, 3),
        }
    )


def baseline_key(shop: Workshop, prepared: Prepared, tree: Tree) -> str:
    """Digest of all that the tests on base depend on: the tree and the contract, the commands and what they may reach,
    the environment as it is installed, and the kind of sandbox."""
    brief = prepared.brief
    reached = [passport_of(shop, prepared, phase).model_dump(mode="json")["rules"] for phase in ("setup", "test")]
    return digest_of(
        [
            *(_MADE, tree_digest(tree), prepared.contract, prepared.settings.digest, brief.acceptance.digest),
            *(brief.repository, brief.workshop, reached),
            *(prepared.requirements, toolchain_of(shop, prepared).name, shop.sandbox.kind),
        ]
    )
