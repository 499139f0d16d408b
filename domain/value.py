"""The base of every value: frozen, strict about unknown fields, with one canonical form and one digest."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value. Unknown fields are refused, so a misspelt key is an error and not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON form, in hexadecimal."""
        return digest_of(self.model_dump(mode="json"))


def canonical(data: Any) -> str:
    """JSON with sorted keys and no white space: the same data always gives the same text."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(data: Any) -> str:
    """SHA-256 of `canonical(data)`, in hexadecimal."""
    return hashlib.sha256(canonical(data).encode()).hexdigest()
