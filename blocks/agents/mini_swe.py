"""mini-swe-agent: the whole loop in 190 lines, and a model that it reaches by plain HTTP. https://mini-swe-agent.com"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from blocks.agents.driver import PROGRAMS, STATE, AgentTurn, Driver, wheel_program
from blocks.agents.events import AgentEvent, EventKind
from domain.models import Api
from domain.ports import Sandbox, Toolchains

WHEELS = (
    "mini-swe-agent==2.4.6",
    "annotated-types==0.8.0",
    "jinja2==3.1.6",
    "markupsafe==3.0.4",
    "platformdirs==4.14.7",
    "pydantic==2.14.3",
    "pydantic-core==2.50.4",
    "python-dotenv==1.2.4",
    "rich==15.0.0",
    "typing-extensions==4.16.0",
    "typing-inspection==0.4.5",
)
"""mini-swe-agent and what it imports for its loop; nothing else that it depends on, litellm least of all."""

_RUNNER = "/lockgate/mini_swe.py"


class MiniSwe(Driver):
    """mini-swe-agent with one tool, the shell. It speaks to any model of the Anthropic or OpenAI kind."""

    _block_type_name = "Lockgate agent: mini-swe-agent"
    _block_type_slug = "lockgate-mini-swe"
    _description = "mini-swe-agent in the sandbox; its model is reached through the gateway."

    PROGRAM: ClassVar[str] = "mini_swe"
    VERSION: ClassVar[str] = WHEELS[0].rpartition("==")[2]
    STRUCTURED: ClassVar[bool] = False
    LOST_SESSION: ClassVar[re.Pattern[str]] = re.compile(r"in _saved\b")

    model: str = Field("anthropic/claude-sonnet-5-5", pattern=r"^[^/\s]+/\S+$", description="provider/model")
    api: Literal[Api.ANTHROPIC, Api.OPENAI] | None = Field(
        None, description="anthropic (Messages) or openai (Chat); default: by the provider's name, else openai"
    )
    command_timeout_s: int = Field(600, gt=0, description="Longest command of its shell")

    def install(self, toolchains: Toolchains, sandbox: Sandbox) -> Mapping[str, str]:
        """Its wheels, about 20 MB."""
        return wheel_program(toolchains, sandbox, WHEELS, f"{PROGRAMS}/{self.PROGRAM}")

    def argv(self, turn: AgentTurn) -> list[str]:
        return [f"{PROGRAMS}/{self.PROGRAM}/bin/python", "-I", _RUNNER]

    def stdin(self, turn: AgentTurn) -> bytes:
        """The token comes with the prompt, so that no environment of a command has it."""
        asked = turn._asdict() | {
            "answer": None,
            "api": self._api_of(turn.provider),
            "trajectory": f"{STATE}/trajectory.json",
        }
        return json.dumps(asked | {"command_timeout_s": self.command_timeout_s}).encode()

    def _api_of(self, provider: str) -> Api:
        return self.api or (Api.ANTHROPIC if provider.startswith("anthropic") else Api.OPENAI)

    def variables(self, turn: AgentTurn) -> dict[str, str]:
        return {"MSWEA_SILENT_STARTUP": "1", "MSWEA_GLOBAL_CONFIG_DIR": "/tmp/mini_swe"}  # noqa: S108 (a sandbox's own)

    def files(self, turn: AgentTurn) -> dict[str, bytes]:
        return {_RUNNER: Path(__file__).with_name("mini_swe_runner.py").read_bytes()}

    def read(self, line: dict[str, Any]) -> Iterable[AgentEvent]:
        """One event a line, as `mini_swe_runner.py` tells them."""
        match line["type"]:
            case "session":
                yield AgentEvent(EventKind.SESSION, line["id"])
            case "call":
                yield AgentEvent(EventKind.CALL, line["command"], line["id"])
            case "output":
                yield AgentEvent(EventKind.OUTPUT, line["text"], line["id"])
            case "message" | "error" | "result" as kind:
                yield AgentEvent(EventKind(kind), line["text"])
