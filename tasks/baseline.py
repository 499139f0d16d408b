"""The tests on base: measured once for all that they depend on, in this task or another."""

from blocks.workshop import Workshop
from domain.ports import Tree
from domain.reports import BAD, MAX_MESSAGE
from domain.task import BillLine, CaseOutcome, Prepared, Suite
from domain.trees import tree_digest
from domain.value import digest_of
from tasks.redaction import printable
from tasks.room import passport_of, toolchain_of
from tasks.runners import can_choose
from tasks.suite import locked, rooms, run_suite

_MADE = "with canaries, checks line by line, and what an acceptance file hides"
"""How baselines are made; one that was made otherwise is made again."""


def measured(shop: Workshop, prepared: Prepared, tree: Tree, attempt: int) -> Suite:
    """The tests on base. Where nothing that they depend on changed they do not run again: what counts then is the
    platform's own record. Safe to repeat; a run that cannot be believed is not kept."""
    key = baseline_key(shop, prepared, tree)
    if known := shop.ledger.find("baselines", "baseline", key, Suite):
        return known
    base = {**tree, **locked(tree, prepared.brief, prepared.settings)}
    opened, shown = rooms(shop, prepared, base), printable(shop, prepared, base)
    suite = run_suite(shop, base, prepared.brief, prepared.settings, opened, shown=shown)
    if (hiding := hiding_files(suite, prepared)) and not suite.problem:
        rest = {path: entry for path, entry in base.items() if path not in hiding}
        without = rooms(shop, prepared, rest)
        suite = with_hidden(
            suite, run_suite(shop, rest, prepared.brief, prepared.settings, without, shown=shown), hiding
        )
    line = BillLine(run_id=prepared.run_id, step="prepare", attempt=attempt, sandbox_s=suite.seconds)
    shop.ledger.record(prepared.run_id, "bill", f"prepare-{attempt}", line)
    return suite if suite.problem else shop.ledger.record("baselines", "baseline", key, suite)


def hiding_files(suite: Suite, prepared: Prepared) -> tuple[str, ...]:
    """Acceptance files of which the run knows no test: in Go, Rust and mocha one that does not compile on base may keep
    the tests beside it from running. pytest tells of such a file by itself."""
    if can_choose(prepared.settings):
        return ()
    known = {test.split("::")[0] for test in suite.cases}
    return tuple(file.path for file in prepared.brief.acceptance.files if file.path not in known)


def with_hidden(suite: Suite, rest: Suite, hiding: tuple[str, ...]) -> Suite:
    """What base has without the files that hide it, and those files as errors; `suite` itself where they hide none."""
    hidden = [test for test, outcome in rest.cases.items() if outcome not in BAD and suite.cases.get(test) != outcome]
    if rest.problem or not hidden:
        return suite
    why = "\n".join(suite.messages.values())[-MAX_MESSAGE:]
    return rest.model_copy(
        update={
            "cases": {**rest.cases, **dict.fromkeys(hiding, CaseOutcome.ERROR)},
            "messages": {**rest.messages, **dict.fromkeys(hiding, why)},
            "checks": suite.checks,
            "problems": suite.problems,
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
