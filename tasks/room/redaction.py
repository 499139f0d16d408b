"""What agents do not get to see of a repository: every tree that goes to one passes through here first."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from blocks.workshop import Workshop
from domain.errors import SandboxError
from domain.records import SPOTTED
from domain.redaction import Redaction
from domain.spots import Spotted, contents_digest
from domain.task import Prepared
from domain.trees import Tree
from domain.value import digest_of

_looking = threading.Lock()
WITHHELD = "(not shown: it was not searched for the repository's secrets)"


def spotted(shop: Workshop, tree: Tree, examples: tuple[str, ...] = ()) -> Spotted:
    """The secrets of a tree. Equal contents are scanned once by the same scanners, in this task or another.

    `examples`: what the project lists as none, by the hash that a finding says.

    What is kept are places and short hashes; the values are read from the tree again. A scan that failed is not kept.
    """
    told = [sorted(examples)] if examples else []
    listed = (*shop.kingfisher.examples, *shop.gitleaks.examples)
    key = digest_of([contents_digest(tree), shop.secret_scanners, *told, *listed])
    with _looking:  # who asks for the same tree meanwhile finds it on record
        if known := shop.ledger.find("secrets", *SPOTTED.at(key), Spotted):
            return known
        seen = shop.with_examples(examples).spotted(tree)
        return seen if seen.problem else shop.ledger.record("secrets", *SPOTTED.at(key), seen)


def redacted(shop: Workshop, prepared: Prepared, tree: Tree) -> Redaction:
    """`tree` for an agent: without its own secrets and those of base. Raises SandboxError if nobody knows them."""
    base = shop.forge.tree(prepared.brief.repository, prepared.base)
    changed = {path: entry for path, entry in tree.items() if base.get(path) != entry}
    examples = prepared.settings.example_secrets
    seen = [(part, spotted(shop, part, examples)) for part in (base, changed) if part]
    for _, secrets in seen:
        if secrets.problem:
            raise SandboxError(f"no agent may read a tree that was not searched for secrets: {secrets.problem}")
    return Redaction(tree, [(part, secrets.spots) for part, secrets in seen], key=prepared.run_id)


def printable(shop: Workshop, prepared: Prepared, tree: Tree) -> Callable[[str], str]:
    """What may be kept of a text that this tree's code printed: all but the secrets of the tree and of base.

    They are looked for while the code runs. Where a scanner failed nobody knows them, and no text is kept.
    """

    def look() -> Callable[[str], str]:
        try:
            return redacted(shop, prepared, tree).text
        except SandboxError:
            return lambda text: WITHHELD

    pool = ThreadPoolExecutor(1)
    found = pool.submit(look)
    pool.shutdown(wait=False)
    return lambda text: found.result()(text) if text else text
