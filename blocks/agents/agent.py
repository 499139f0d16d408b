"""What every agent's block has, of whatever kind it is."""

from pydantic import Field

from blocks.base import LockgateBlock
from domain.agent_scope import AgentScope


class AgentBlock(LockgateBlock):
    """A coding agent under a name, and what it may be asked for."""

    scope: AgentScope = Field(
        AgentScope(), description="What it may be asked for: repositories, paths, environments, kinds, dollars a week"
    )
