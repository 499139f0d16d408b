"""An acceptance test that an agent proposes for a brief that has none, and what becomes of it. Until a person has
approved exactly this text it is data, and nothing is judged by it."""

import re
from typing import NamedTuple

from pydantic import Field

from domain.brief import Acceptance
from domain.value import Value, digest_of

MOST_CHARS = 20_000
"""Of a proposed file: people read all of it."""
MOST_PROPOSALS = 3
SHARE = 0.2
"""Of the brief's dollars and minutes, for all proposals together."""
ACCEPT, REFUSE = "accept", "refuse"
_SAID = re.compile(rf"(?:/lockgate[^\S\n]+)?({ACCEPT}|{REFUSE})[^\S\n]+([0-9a-f]{{16}})(?![0-9A-Za-z])", re.IGNORECASE)


class Proposal(Value):
    """What the agent answers."""

    path: str = Field(description="Where the new test file goes in the repository")
    content: str = Field(description="The whole file")
    why: str = Field(description="What it asks for, and how that follows from the goal, in a few sentences")


class ProvenProposal(Value):
    """A proposal, and what the platform saw of it on base."""

    number: int
    mark: str = Field(description="What an approval names: of the run, the number and the text")
    proposal: Proposal
    refusals: tuple[str, ...] = Field((), description="Why nobody is asked about it; empty: it is red for want of work")
    red: tuple[str, ...] = Field((), description="Its tests that fail on base, each with the reason")


class AgreedAcceptance(Value):
    """The proposal that a person approved. From there it is the brief's acceptance as if they had written it."""

    mark: str
    acceptance: Acceptance
    by: str
    signed_in: bool = Field(False, description="The name is that of the token it came in with; false: it is a claim")
    way: str = ""
    forge: str = Field("", description="The hosted forge whose user that is; empty: none")


class Said(NamedTuple):
    """What a person said to the proposal that they name."""

    accepts: bool
    digest: str
    why: str


def digest_for(run: str, number: int, proposal: Proposal) -> str:
    """Sixteen digits, for people to copy: another run, number or text has others."""
    return digest_of([run, number, proposal.path, proposal.content])[:16]


def said_in(text: str) -> Said | None:
    """`accept DIGEST` and nothing else, or `refuse DIGEST` with the reason behind it; at a forge with `/lockgate`
    before it. None: it is neither."""
    found = _SAID.match(text.strip())
    if found is None:
        return None
    accepts, rest = found[1].lower() == ACCEPT, text.strip()[found.end() :].strip(" \t:.\n")
    if accepts and rest:
        return None  # who adds something may mean another text
    return Said(accepts, found[2].lower(), rest)
