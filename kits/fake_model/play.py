"""One script under way: the answer to each request, and the record of what was served."""

import threading
import uuid
from collections import Counter
from typing import Any, NamedTuple

from pydantic import Field

from domain.models import Api, TokenUsage
from domain.value import Value, digest_of
from kits.fake_model.ask import ModelReply, ModelRequest, estimate
from kits.fake_model.choose import begun_with, choose
from kits.fake_model.script import Conversation, Script, Turn
from kits.fake_model.tools import spoken


class ServedCall(Value):
    """One call, as it was answered."""

    api: Api
    path: str = Field(description="Without the query")
    model: str = ""
    stream: bool = False
    status: int | None = Field(description="None: the connection broke before there was one")
    tokens: TokenUsage = Field(
        TokenUsage(),
        description="What it used; of an answer broken off, what its events had told; of an error, nothing",
    )
    whole: bool = Field(True, description="False: cut, hung, or the client left before its end")
    side: bool = Field(False, description="A helper call, such as for a title")
    conversation: str = Field("", description="The expression that selected it")
    turn: int | None = Field(None, description="Which turn it was, from 0; None: the script's `done`")


class Scene(NamedTuple):
    """What is played for one request."""

    turn: Turn
    conversation: Conversation
    number: int | None


class Play:
    """Thread-safe. The only state is what failed how often, and the record."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._served: list[ServedCall] = []
        self._bodies: list[dict[str, Any]] = []
        self._failed: Counter[tuple[str, int]] = Counter()
        self._changed = threading.Condition()

    def next(self, ask: ModelRequest) -> Scene:
        """The turn after those in the history; before it, the failures that stand before it in the script."""
        conversation, answered = choose(self.script, ask)
        place = digest_of([conversation.match, conversation.side, begun_with(ask), answered])
        for number, turn in enumerate(conversation.turns):
            if not turn.fails:
                if answered == 0:
                    return Scene(turn, conversation, number)
                answered -= 1
            elif answered == 0 and self._happens(turn, (place, number)):
                return Scene(turn, conversation, number)
        return Scene(Turn(text=self.script.done), conversation, None)

    def _happens(self, turn: Turn, place: tuple[str, int]) -> bool:
        with self._changed:
            self._failed[place] += 1
            return turn.times == 0 or self._failed[place] <= turn.times

    def reply(self, ask: ModelRequest, turn: Turn) -> ModelReply:
        """The answer, with its usage."""
        tag = uuid.uuid4().hex[:12]
        text, calls = spoken(turn, ask, tag)
        used = len(text.encode()) + sum(len(call.json.encode()) for call in calls)
        return ModelReply(tag, text, calls, turn.usage or TokenUsage(input=estimate(ask.size), output=estimate(used)))

    def record(self, served: ServedCall, body: dict[str, Any]) -> int:
        """Put a call and its request's body on record; its place there."""
        with self._changed:
            self._served.append(served)
            self._bodies.append(body)
            self._changed.notify_all()
            return len(self._served) - 1

    def broke_off(self, place: int, told: TokenUsage) -> None:
        """The client left before the end."""
        with self._changed:
            self._served[place] = self._served[place].model_copy(update={"whole": False, "tokens": told})

    @property
    def served(self) -> tuple[ServedCall, ...]:
        with self._changed:
            return tuple(self._served)

    @property
    def bodies(self) -> tuple[dict[str, Any], ...]:
        with self._changed:
            return tuple(self._bodies)

    def wait(self, calls: int, timeout_s: float) -> tuple[ServedCall, ...]:
        """What was served, once that is at least so many calls. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._served) >= calls, timeout_s):
                raise TimeoutError(f"{len(self._served)} of {calls} calls were served within {timeout_s:g} s")
            return tuple(self._served)
