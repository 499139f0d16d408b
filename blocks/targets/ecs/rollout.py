"""A rollout in the words of Amazon ECS. Pure.

ECS shifts the traffic itself. A PAUSE hook before every shift makes it wait for our word, so the platform judges each
share by itself: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentLifecycleHook.html
"""

import math
from collections.abc import Sequence
from typing import Any

_LEAST_STEP = 3
"""Percent: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LinearConfiguration.html"""


def shares_problem(shares: Sequence[int]) -> str | None:
    """Why ECS cannot shift by these shares; None: it can."""
    if len(shares) > 1 and math.gcd(*shares) < _LEAST_STEP:
        return (
            f"ECS shifts the traffic in equal steps of {_LEAST_STEP} % or more, and the shares "
            f"{', '.join(map(str, shares))} have no such step: "
            "take one share alone, or multiples of one number, such as 10, 50"
        )
    return None


def rolling(failures: int) -> dict[str, Any]:
    """Tasks are replaced one after another; what is healthy takes traffic."""
    return {
        **_breaker(failures),
        "strategy": "ROLLING",
        "maximumPercent": 200,
        "minimumHealthyPercent": 100,
        "bakeTimeInMinutes": 0,
    }


def paused(shares: Sequence[int], failures: int, pause_minutes: int, ready_minutes: int) -> dict[str, Any]:
    """Beside the old tasks, with a pause before each shift and one after the last, in which the old tasks stay ready.

    A shift that nobody asks for in time goes back; a release that has all of the traffic stays.
    """
    hooks = [_pause("PRE_PRODUCTION_TRAFFIC_SHIFT", pause_minutes, "ROLLBACK")]
    if ready_minutes:
        hooks.append(_pause("POST_PRODUCTION_TRAFFIC_SHIFT", ready_minutes, "CONTINUE"))
    common = {**_breaker(failures), "bakeTimeInMinutes": 0, "lifecycleHooks": hooks}
    if not shares:
        return {**common, "strategy": "BLUE_GREEN"}
    if len(shares) == 1:
        canary = {"canaryPercent": float(shares[0]), "canaryBakeTimeInMinutes": 0}
        return {**common, "strategy": "CANARY", "canaryConfiguration": canary}
    linear = {"stepPercent": float(math.gcd(*shares)), "stepBakeTimeInMinutes": 0}
    return {**common, "strategy": "LINEAR", "linearConfiguration": linear}


def at_once(failures: int) -> dict[str, Any]:
    """Beside the old tasks, then all of the traffic without a pause: the way back."""
    return {**_breaker(failures), "strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0, "lifecycleHooks": []}


def _breaker(failures: int) -> dict[str, Any]:
    threshold = {"type": "COUNT", "value": failures}
    return {"deploymentCircuitBreaker": {"enable": True, "rollback": True, "thresholdConfiguration": threshold}}


def _pause(stage: str, minutes: int, action: str) -> dict[str, Any]:
    timeout = {"timeoutInMinutes": minutes, "action": action}
    return {"targetType": "PAUSE", "lifecycleStages": [stage], "timeoutConfiguration": timeout}
