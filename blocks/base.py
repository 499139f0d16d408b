"""The base of every Lockgate block."""

import contextlib
import copy
import functools
from collections.abc import Iterator
from typing import Any, Self, cast

from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from pydantic import ConfigDict, SerializationInfo, SerializerFunctionWrapHandler, model_serializer, model_validator

from blocks import kept
from blocks.home import portable, resolved

THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
"""The hosts that a secret may be sent to over plain http."""
_seen: set[type["LockgateBlock"]] | None = None
_anew = False


@contextlib.contextmanager
def registered_once(anew: bool = False) -> Iterator[None]:
    """Until its end, each block's type and schema are looked for once, and registered if they are not there; `anew`:
    registered in any case. Prefect does it at each save, and for every block that may be inside the saved one too: some
    hundred requests for one workshop."""
    global _seen, _anew
    _seen, _anew = set(), anew
    try:
        yield
    finally:
        _seen, _anew = None, False


class LockgateBlock(Block):
    """A Prefect block that refuses unknown fields: Prefect itself would drop a misspelt one without a word."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_prefects_marks(cls, data: Any) -> Any:
        """Prefect writes keys of its own into a block that is saved inside another."""
        if isinstance(data, dict):
            data = {name: value for name, value in data.items() if name != "block_type_slug" and name[0] != "_"}
        return resolved(data)

    @model_serializer(mode="wrap")
    def ser_model(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        """Prefect's own, and what is saved names no home: other machines of the station have another one."""
        shown = super().ser_model(handler, info)
        return portable(shown) if info.context and "include_secrets" in info.context else shown

    @classmethod
    def model_json_schema(cls, *given: Any, **named: Any) -> dict[str, Any]:
        """Made once a class: Prefect asks for it hundreds of times to save one block with others in it."""
        return copy.deepcopy(cls._schema(*given, **named))

    @classmethod
    @functools.cache
    def _schema(cls, *given: Any, **named: Any) -> dict[str, Any]:
        return super().model_json_schema(*given, **named)

    @classmethod
    def register_type_and_schema(cls, *given: Any, **named: Any) -> None:
        """Make the block known to the server, by Prefect's own way, unless it is."""
        if _seen is not None and cls in _seen:
            return
        if _anew or not cls._is_known():
            super().register_type_and_schema(*given, **named)
        if _seen is not None:
            _seen.add(cls)

    @classmethod
    def _is_known(cls) -> bool:
        """Whether the server has this very schema, and so those of all blocks inside: they are part of its checksum."""
        with get_client(sync_client=True) as client:
            try:
                known = client.read_block_schema_by_checksum(
                    cls._calculate_schema_checksum(), cls.get_block_schema_version()
                )
            except ObjectNotFound:
                return False
        cls._block_type_id, cls._block_schema_id = known.block_type_id, known.id
        return True

    @classmethod
    def saved(cls, name: str) -> Self:
        """The saved block of that name. Raises ValueError if there is none."""
        if kept.is_used():
            return cls.model_validate(kept.fields(cls.get_block_type_slug(), name))
        return cast(Self, cls.load(name))

    def keep(self, name: str) -> None:
        """Save under a name, over what was there."""
        self.save(name, overwrite=True)
