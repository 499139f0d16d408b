"""The base of every Lockgate block."""

import copy
import functools
from typing import Any, Self, cast

from prefect.blocks.core import Block
from pydantic import ConfigDict, model_validator

from blocks import kept

THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
"""The hosts that a secret may be sent to over plain http."""


class LockgateBlock(Block):
    """A Prefect block that refuses unknown fields: Prefect itself would drop a misspelt one without a word."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_prefects_marks(cls, data: Any) -> Any:
        """Prefect writes keys of its own into a block that is saved inside another."""
        if isinstance(data, dict):
            data = {name: value for name, value in data.items() if name != "block_type_slug" and name[0] != "_"}
        return data

    @classmethod
    def model_json_schema(cls, *given: Any, **named: Any) -> dict[str, Any]:
        """Made once a class: Prefect asks for it hundreds of times to save one block with others in it."""
        return copy.deepcopy(cls._schema(*given, **named))

    @classmethod
    @functools.cache
    def _schema(cls, *given: Any, **named: Any) -> dict[str, Any]:
        return super().model_json_schema(*given, **named)

    @classmethod
    def saved(cls, name: str) -> Self:
        """The saved block of that name. Raises ValueError where there is none."""
        if kept.is_used():
            return cls.model_validate(kept.fields(cls.get_block_type_slug(), name))
        return cast(Self, cls.load(name))

    def keep(self, name: str) -> None:
        """Save under a name, over what was there."""
        self.save(name, overwrite=True)
