"""The base of every Lockgate block."""

from prefect.blocks.core import Block
from pydantic import ConfigDict


class LockgateBlock(Block):
    """A Prefect block that refuses unknown fields: Prefect itself would drop a misspelt one without a word."""

    model_config = ConfigDict(extra="forbid")
