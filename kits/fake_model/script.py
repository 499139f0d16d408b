"""The script: what the model says, turn by turn."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from domain.errors import InputError
from domain.models import TokenUsage
from domain.value import Value


class ScriptedToolCall(Value):
    """One tool call: a shell command, by whatever shell tool the request offers, or a tool by its name."""

    shell: str | None = None
    tool: str | None = None
    arguments: dict[str, Any] | str = Field({}, description="A text for tools that take free text")

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "ScriptedToolCall":
        if (self.shell is None) == (self.tool is None):
            raise ValueError("a call is either `shell`, or `tool` with `arguments`")
        return self


class Turn(Value):
    """One answer of the model, or one failure on the way to it."""

    text: str = Field("", description="What it says")
    shell: str | None = Field(None, description="One shell command: short for one of `calls`")
    calls: tuple[ScriptedToolCall, ...] = Field((), description="Tool calls, all in one answer")
    structured: dict[str, Any] | None = Field(
        None, description="Structured output: by the tool that the client offers for it, else as JSON text"
    )
    usage: TokenUsage | None = Field(None, description="None: a token for each four bytes of request and of answer")
    status: int | None = Field(None, ge=400, le=599, description="An error of the provider's")
    message: str = Field("", description="The error's message")
    retry_after_s: int | None = Field(None, ge=0, description="The error's Retry-After")
    cut: bool = Field(False, description="The connection breaks after half of the answer's events, or at once")
    hang: bool = Field(False, description="Nothing more comes after half of the answer's events, or ever")
    times: int = Field(1, ge=0, description="How often a failure happens before the turn after it; 0: always")

    @property
    def fails(self) -> bool:
        """Whether the client has no whole answer after it, and so asks for this turn again."""
        return self.status is not None or self.cut or self.hang

    @property
    def all_calls(self) -> tuple[ScriptedToolCall, ...]:
        return (*self.calls, *([ScriptedToolCall(shell=self.shell)] if self.shell is not None else []))

    @property
    def essence(self) -> str:
        """A text by which an answer made of this turn is known again in a history; empty if calls tell."""
        if self.structured is not None:
            return json.dumps(self.structured)
        return self.text or (self.all_calls[0].shell or "" if self.all_calls else "")

    @model_validator(mode="after")
    def _says_something(self) -> "Turn":
        if sum((self.status is not None, self.cut, self.hang)) > 1:
            raise ValueError("a turn has one of `status`, `cut` and `hang`")
        if not self.fails and not self.essence.strip() and not self.all_calls:
            raise ValueError("a turn has `text`, `shell`, `calls`, `structured`, or a failure")
        return self


class Conversation(Value):
    """Turns for the requests whose user texts match."""

    match: str = Field("", description="Regular expression, searched in each user text; the last hit in a history wins")
    side: bool = Field(False, description="For helper calls (titles, commit messages, ...) instead of the work itself")
    turns: tuple[Turn, ...]

    @field_validator("match")
    @classmethod
    def _is_an_expression(cls, match: str) -> str:
        try:
            re.compile(match)
        except re.error as err:
            raise ValueError(f"{match!r} is not a regular expression: {err}") from err
        return match


class Script(Value):
    """What the model says. `turns` are for every conversation that none of `conversations` matches."""

    turns: tuple[Turn, ...] = ()
    conversations: tuple[Conversation, ...] = ()
    models: tuple[str, ...] = Field(("fake",), description="What the list of models names; any other is answered too")
    done: str = Field("Done.", description="What it says when a conversation's turns are used up")
    gzip: bool = Field(False, description="Answers are compressed for clients that accept it, as providers do")

    @property
    def rest(self) -> Conversation:
        """The conversation of whatever no expression matches."""
        return Conversation(turns=self.turns)


def read_script(script: "Script | Mapping[str, Any] | Path | str") -> Script:
    """A script from values, or from a TOML or JSON file. Raises InputError that names the file and the field."""
    if isinstance(script, Script):
        return script
    name, data = "script", script
    if isinstance(script, Path | str):
        name = str(script)
        try:
            text = Path(script).read_text()
            data = json.loads(text) if name.endswith(".json") else tomllib.loads(text)
        except (OSError, ValueError, RecursionError) as err:
            raise InputError(f"{name}: cannot be read as TOML, or as JSON where it is named so: {err}") from err
    try:
        return Script.model_validate(data)
    except ValidationError as err:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'script'}: {e['msg']}" for e in err.errors())
        raise InputError(f"{name}: {problems}; docs/fake-model.md has the fields") from err
