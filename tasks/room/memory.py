"""What an agent may remember: proposed in an attempt, kept when that change was shipped, and open to the team."""

from prefect import get_run_logger

from blocks.memory import Memory
from blocks.workshop import Workshop
from domain.errors import LockgateError
from domain.records import MEMORY, QUESTION
from domain.task import Outcome
from domain.trees import TreeEntry


def remember(shop: Workshop, repository: str, outcome: Outcome) -> None:
    """Keep what the shipped attempt's agent wrote down for later tasks. What may not be kept is said in the log.

    The attempt is the last one that a reviewer was asked about. Nothing is kept of a change that nobody shipped: a
    memory is read by every later task, so it is not the place for what a refused attempt wished for.
    """
    asked = shop.ledger.last(QUESTION.kind, run_id=outcome.run_id)
    entries = shop.ledger.entries(run_id=outcome.run_id, kind=MEMORY.kind)
    notes = [e.body for e in entries if asked and e.body["attempt"] == asked.body["attempt"]]
    if not notes:
        return
    text = shop.store.get(notes[-1]["content"]).decode("utf-8", "replace")

    def secret(text: str) -> str | None:
        found = shop.secrets_in({"memory.md": TreeEntry(0o100644, text.encode())})
        return found[0].sentence if found else None

    try:
        given = shop.store.get(notes[-1]["given"]).decode("utf-8", "replace")
        Memory.propose(repository, notes[-1]["agent"], text, secret, seen=given)
    except LockgateError as err:
        get_run_logger().warning("the agent's memory was not kept: %s", err)
