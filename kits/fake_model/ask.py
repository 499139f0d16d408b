"""What one request asks, and what it is answered, the same for every protocol."""

import json
import math
import re
from typing import Any, Literal, NamedTuple, Protocol

from domain.models import TokenUsage

TAG = re.compile(r"_([0-9a-f]{12})_\d+$")


class HistoryPiece(NamedTuple):
    """One piece of the history. `calls` are the ids of an assistant's tool calls."""

    role: Literal["user", "assistant", "tool"]
    text: str
    calls: tuple[str, ...] = ()

    @property
    def tag(self) -> str | None:
        """Which answer of ours the calls were in."""
        found = [match[1] for call in self.calls if (match := TAG.search(call))]
        return found[0] if found else None


class OfferedTool(NamedTuple):
    """A tool that the request offers. `kind` is the protocol's own word, such as function or custom."""

    name: str
    schema: dict[str, Any]
    kind: str = "function"
    namespace: str | None = None


class ModelRequest(NamedTuple):
    """One request."""

    model: str
    stream: bool
    system: str
    said: tuple[HistoryPiece, ...]
    tools: tuple[OfferedTool, ...] = ()
    forced: str | None = None
    """The tool that has to be called."""
    size: int = 0
    """Bytes of the request."""
    tells_usage: bool = True
    """False for chat streams that did not ask for it."""


class ToolCall(NamedTuple):
    """One tool call of an answer."""

    id: str
    tool: OfferedTool
    arguments: Any
    """A mapping, or the text of a tool that takes free text."""

    @property
    def json(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


class ModelReply(NamedTuple):
    """One answer, before it is put in a protocol's words."""

    tag: str
    text: str
    calls: tuple[ToolCall, ...]
    tokens: TokenUsage


class StreamEvent(NamedTuple):
    """One event of a stream, as it is sent, and what the stream has said of its usage so far."""

    sent: str
    told: TokenUsage


class ModelDialect(Protocol):
    """One protocol. Each is a module of this package."""

    def read(self, body: dict[str, Any], path: str) -> ModelRequest: ...

    def whole(self, ask: ModelRequest, reply: ModelReply) -> dict[str, Any]: ...

    def events(self, ask: ModelRequest, reply: ModelReply) -> list[StreamEvent]: ...

    def failure(self, status: int, message: str) -> dict[str, Any]: ...


def estimate(size: int) -> int:
    """Tokens for so many bytes, as a rule of thumb has it."""
    return max(1, math.ceil(size / 4))


def pieces(text: str) -> list[str]:
    """A text as it is streamed: four pieces or so, which put together are the text."""
    step = max(1, math.ceil(len(text) / 4))
    return [text[at : at + step] for at in range(0, len(text), step)]


def texts(content: Any) -> str:
    """The text in what a message may have as its content: a text, or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, dict) and part.get("text"))
