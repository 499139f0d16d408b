"""The base of every Lockgate block."""

from typing import Self, cast

from prefect.blocks.core import Block
from pydantic import ConfigDict


class LockgateBlock(Block):
    """A Prefect block that refuses unknown fields: Prefect itself would drop a misspelt one without a word."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def get(cls, name: str) -> Self:
        """The saved block of that name. Raises ValueError where there is none."""
        return cast(Self, cls.load(name))

    def keep(self, name: str) -> None:
        """Save under a name, over what was there."""
        self.save(name, overwrite=True)
