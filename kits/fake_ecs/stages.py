"""The lifecycle stages of a deployment, as its strategy has them. Pure.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-types.html
"""

from collections.abc import Mapping
from math import ceil
from typing import Any, NamedTuple

from kits.fake_ecs.refusal import EcsRefusal

PAUSES = (
    "RECONCILE_SERVICE",
    "PRE_SCALE_UP",
    "POST_SCALE_UP",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
)
"""Where a PAUSE hook may stand."""


class Stage(NamedTuple):
    """`weight`: percent of the production traffic for the new revision from here on; None: as before."""

    name: str
    weight: float | None = None
    minutes: float = 0.0


def is_rolling(configuration: Mapping[str, Any]) -> bool:
    return bool(configuration.get("strategy", "ROLLING") == "ROLLING")


def stages(configuration: Mapping[str, Any]) -> list[Stage]:
    """All of them, in order."""
    bake = Stage("BAKE_TIME", None, configuration.get("bakeTimeInMinutes", 0))
    if is_rolling(configuration):
        return [Stage("SCALE_UP"), bake, Stage("CLEAN_UP")]
    before = ("PRE_SCALE_UP", "SCALE_UP", "POST_SCALE_UP", "TEST_TRAFFIC_SHIFT", "POST_TEST_TRAFFIC_SHIFT")
    shifts = [
        stage
        for weight, minutes in _shifts(configuration)
        for stage in (Stage("PRE_PRODUCTION_TRAFFIC_SHIFT"), Stage("PRODUCTION_TRAFFIC_SHIFT", weight, minutes))
    ]
    return [*map(Stage, before), *shifts, Stage("POST_PRODUCTION_TRAFFIC_SHIFT"), bake, Stage("CLEAN_UP")]


def _shifts(configuration: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Weight and minutes of each shift of production traffic. After the last one comes the bake time of all."""
    match configuration["strategy"]:
        case "CANARY":
            canary = configuration.get("canaryConfiguration", {})
            return [(canary.get("canaryPercent", 5.0), canary.get("canaryBakeTimeInMinutes", 10)), (100.0, 0)]
        case "LINEAR":
            linear = configuration.get("linearConfiguration", {})
            step, minutes = linear.get("stepPercent", 10.0), linear.get("stepBakeTimeInMinutes", 6)
            before = [(round(step * n, 1), minutes) for n in range(1, ceil(100 / step))]
            return [*before, (100.0, 0)]
        case _:
            return [(100.0, 0)]


def pause(configuration: Mapping[str, Any], stage: str) -> Mapping[str, Any] | None:
    """The hook that pauses a deployment at a stage."""
    hooks = configuration.get("lifecycleHooks", [])
    return next((hook for hook in hooks if stage in hook.get("lifecycleStages", [])), None)


def threshold(configuration: Mapping[str, Any], desired: int) -> int:
    """How many failed tasks the circuit breaker takes."""
    given = configuration.get("deploymentCircuitBreaker", {}).get("thresholdConfiguration", {})
    value = int(given.get("value", 50))
    match given.get("type", "BOUNDED_PERCENT"):
        case "COUNT":
            return value
        case "UNBOUNDED_PERCENT":
            return max(1, ceil(desired * value / 100))
        case _:
            return min(200, max(3, ceil(desired * value / 100)))


def check(configuration: Mapping[str, Any], has_balancer: bool, has_alternate: bool) -> None:
    """Raises Refusal for a configuration that ECS would not take."""
    strategy = configuration.get("strategy", "ROLLING")
    rolling = strategy == "ROLLING"
    if not rolling and has_balancer and not has_alternate:
        raise EcsRefusal(
            f"advancedConfiguration field is required for all loadBalancers when using a {strategy} deployment."
        )
    if rolling and configuration.get("lifecycleHooks"):
        raise EcsRefusal("lifecycleHooks are not supported with the ROLLING deployment strategy.")
    for name, owner in (("linearConfiguration", "LINEAR"), ("canaryConfiguration", "CANARY")):
        if name in configuration and strategy != owner:
            raise EcsRefusal(f"{name} is only valid when the deployment strategy is {owner}.")
    _check_percent(configuration.get("linearConfiguration", {}).get("stepPercent", 10.0), 3.0, "stepPercent")
    _check_percent(configuration.get("canaryConfiguration", {}).get("canaryPercent", 5.0), 0.1, "canaryPercent")
    for hook in configuration.get("lifecycleHooks", []):
        if hook.get("targetType", "AWS_LAMBDA") != "PAUSE":
            raise EcsRefusal("this fake has no Lambda functions: use hooks with the targetType PAUSE.")
        if wrong := [stage for stage in hook.get("lifecycleStages", []) if stage not in PAUSES]:
            raise EcsRefusal(f"PAUSE hooks cannot be configured at {wrong[0]}.")


def _check_percent(value: float, least: float, name: str) -> None:
    if not least <= value <= 100 or round(value * 10) != round(value * 10, 6):
        raise EcsRefusal(f"{name} must be a multiple of 0.1 from {least} to 100.0.")
