"""A release on Amazon ECS, watched."""

import time
from typing import TYPE_CHECKING

from blocks.targets.ecs.definitions import Definition
from domain.rollout import Look

if TYPE_CHECKING:
    from blocks.targets.ecs.target import EcsTarget


class EcsWatch:
    """In public and, where there is a way to its tasks, in private. ECS is asked every `poll_s`: it limits the rate."""

    def __init__(self, target: "EcsTarget", definition: Definition) -> None:
        self._target, self._definition = target, definition
        self._revision = definition.revision or ""
        self._asked_at: float | None = None
        self._problem: str | None = None
        self._addresses: tuple[str, ...] = ()
        self._has_all = False

    def look(self) -> Look:
        target, definition = self._target, self._definition
        if self._asked_at is None or time.monotonic() - self._asked_at > target.poll_s:
            self._problem = target.trouble(definition)
            self._addresses = target._tasks.addresses(definition) if target.asks_tasks else ()
            self._has_all = self._problem is None and target.has_all(definition)
            self._asked_at = time.monotonic()
        private = None
        if target.asks_tasks:
            private = target._tasks.ask(definition, self._revision, str, self._addresses)
            if not private.is_healthy:
                self._asked_at = None  # its task may be another one by now
        public = target.public_of(definition, self._has_all)
        if private is None and public.release is None and not self._has_all:
            private = target._tasks.said_by_ecs(definition)  # nobody can say whose answer the public one was
        return Look(public=public, private=private, problem=self._problem)

    def close(self) -> None:
        """Nothing is held."""
