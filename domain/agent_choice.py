"""Agents among which the record chooses, where a brief leaves it to the team."""

from pydantic import Field

from domain.project import RecordBar
from domain.value import Value

CHEAPEST = "cheapest"
"""What a brief gives as its `agent` to have one chosen."""


class AgentChoice(Value):
    """A brief whose agent is `cheapest` gets the one whose merged changes cost least, of those that pass the bar."""

    agents: tuple[str, ...] = Field((), description="As kind/name; empty: a brief has to name its agent")
    bar: RecordBar = Field(RecordBar(), description="What the record of an agent must show to be chosen")


class ChosenAgent(Value):
    """Which agent was chosen for a run, and why."""

    agent: str
    reasons: tuple[str, ...]
