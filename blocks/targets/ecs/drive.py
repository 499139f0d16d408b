"""Drives the deployments of one ECS service: on to the next pause, to their end, or back."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from blocks.targets.ecs.service import EcsService, Progress
from blocks.targets.timeline import Say
from domain.errors import TargetError


class Drive(NamedTuple):
    """Every wait has an end, and what did not get there is said or taken back."""

    service: EcsService
    start_timeout_s: float
    back_timeout_s: float
    say: Say

    def up(self, begun: Progress) -> Progress:
        """Until it is up and waits for traffic, or has all of it; or does not get there."""

        def is_clear(now: Progress) -> bool:
            return bool(now.hook) or now.has_all or not now.is_ongoing or now.goes_back

        return self.service.wait(begun.arn, is_clear, self.start_timeout_s)

    def on(self, definition: str, is_there: Callable[[Progress], bool]) -> Progress:
        """Pause by pause, until it is there or ECS goes back. Raises TargetError if it stands still."""
        now = self.service.newest(definition)
        if now is None:
            raise TargetError(f"ECS knows no deployment of {definition}: start it first")
        while now.is_ongoing and not now.goes_back and not is_there(now):
            now = self._past(now)
        return now

    def _past(self, before: Progress) -> Progress:
        if before.hook:
            self.service.go_on(before)

        def is_past(now: Progress) -> bool:
            return now.hook not in (None, before.hook) or now.has_all or not now.is_ongoing or now.goes_back

        now = self.service.wait(before.arn, is_past, self.start_timeout_s)
        if not is_past(now):
            raise TargetError(f"ECS did not go on with {now.arn} within {self.start_timeout_s:g} s")
        return now

    def end(self, now: Progress | None) -> None:
        """What another release left under way: it keeps the traffic that it has all of, else it goes back."""
        if now is None or not now.is_ongoing:
            return
        if not now.has_all:
            self.back(now)
            return
        if now.hook:
            self.service.go_on(now)
        end = self.service.wait(now.arn, lambda now: not now.is_ongoing, self.start_timeout_s)
        if end.status != "SUCCESSFUL":
            raise TargetError(f"the deployment before did not end: {end.status}. {end.reason}")

    def back(self, progress: Progress) -> Progress:
        """Stop a deployment with rollback, unless it goes back already. Raises TargetError if it does not."""
        if progress.is_ongoing and not progress.goes_back:
            self.say("ECS is asked to stop the deployment and to roll it back")
            self.service.stop(progress)
        end = self.service.wait(progress.arn, lambda now: not now.is_ongoing, self.back_timeout_s)
        if end.is_ongoing or end.status == "ROLLBACK_FAILED":
            raise TargetError(f"ECS did not roll back within {self.back_timeout_s:g} s: {end.status}. {end.reason}")
        return end

    def again(self, definition: str, configuration: Mapping[str, Any], count: int) -> None:
        """The way back if nothing is under way that could be stopped: the old release is deployed anew."""
        begun = self.service.update(definition, configuration, count)
        self.say(f"ECS deploys {definition.rpartition('/')[2]} again")
        end = self.service.wait(begun.arn, lambda now: now.has_all or not now.is_ongoing, self.back_timeout_s)
        if not end.has_all:
            raise TargetError(f"ECS did not bring {definition} back: {end.status}. {end.reason}")
