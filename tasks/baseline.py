"""The tests on base: measured once for all that they depend on, in this task or another."""

from blocks.workshop import Workshop
from domain.ports import Tree
from domain.task import BillLine, Prepared, Suite
from domain.trees import tree_digest
from domain.value import digest_of
from tasks.redaction import printable
from tasks.room import passport_of, toolchain_of
from tasks.suite import locked, rooms, run_suite

_MADE = "with canaries, and checks line by line"
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
    line = BillLine(run_id=prepared.run_id, step="prepare", attempt=attempt, sandbox_s=suite.seconds)
    shop.ledger.record(prepared.run_id, "bill", f"prepare-{attempt}", line)
    return suite if suite.problem else shop.ledger.record("baselines", "baseline", key, suite)


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
