"""What the service takes from its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """One process's settings. They do not change while it runs."""

    database_url: str
    release_id: str = "unreleased"
    environment: str = "development"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        file = Path(environ.get("DATA_DIR") or ".") / "shop.db"
        return cls(
            database_url=environ.get("DATABASE_URL") or f"sqlite:///{file}",
            release_id=environ.get("RELEASE_ID") or "unreleased",
            environment=environ.get("SHOP_ENV") or "development",
        )
