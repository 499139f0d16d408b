"""A rollback without Prefect's server: the same step, under the same lease, on the same record."""

import os
import uuid

from blocks import kept


def roll_back(environment: str, revision: str | None, reason: str, by: str) -> str:
    """What serves now, in one sentence. Raises LockgateError if it could not be done."""
    os.environ[kept.OFFLINE] = "1"
    from flows.rollback import to_release, workshop_that_released

    reason, shop = f"{reason} (the server was down)", workshop_that_released(environment)
    back = to_release.fn(str(uuid.uuid4()), environment, revision, reason, shop, by)
    return f"{environment} was seen serving {(back.serving or 'nothing')[:12]} again"
