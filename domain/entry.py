"""What the ledger says happened, as a value."""

from datetime import datetime
from typing import Any

from pydantic import Field

from domain.value import Value


class Entry(Value):
    """One thing that happened, as it stands in the ledger."""

    number: int = Field(description="Place in the chain: 1, 2, 3 and so on without a gap")
    at: datetime = Field(description="When it was recorded, in UTC")
    run_id: str
    kind: str
    key: str
    type: str = Field(description="Class name of the value that was recorded")
    body: dict[str, Any] = Field(description="The value as JSON data")
    hash: str = Field(description="SHA-256 over the entry before and this one, in hexadecimal")
