"""aider: pair programming by edit blocks, without tools of its own. https://aider.chat/docs/scripting.html"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from blocks.agents.driver import PROGRAMS, STATE, AgentTurn, Driver, wheel_program
from blocks.agents.events import AgentEvent, EventKind
from domain.ports import Sandbox, Toolchains

WHEELS = (
    "aider-chat==0.86.2",
    "attrs==25.4.0",
    "backoff==2.2.1",
    "beautifulsoup4==4.14.3",
    "certifi==2026.1.4",
    "charset-normalizer==3.4.4",
    "configargparse==1.7.1",
    "diff-match-patch==20241021",
    "diskcache==5.6.3",
    "gitdb==4.0.12",
    "gitpython==3.1.46",
    "grep-ast==0.9.0",
    "idna==3.11",
    "importlib-resources==6.5.2",
    "json5==0.13.0",
    "markdown-it-py==4.0.0",
    "mdurl==0.1.2",
    "mslex==1.3.0",
    "networkx==3.4.2",
    "oslex==0.1.3",
    "packaging==26.0",
    "pathspec==1.0.4",
    "pexpect==4.9.0",
    "prompt-toolkit==3.0.52",
    "psutil==7.2.2",
    "ptyprocess==0.7.0",
    "pygments==2.19.2",
    "python-dotenv==1.2.1",
    "pyyaml==6.0.3",
    "requests==2.32.5",
    "rich==14.3.2",
    "shtab==1.8.0",
    "smmap==5.0.2",
    "soupsieve==2.8.3",
    "tqdm==4.67.3",
    "tree-sitter==0.25.2",
    "tree-sitter-c-sharp==0.23.1",
    "tree-sitter-embedded-template==0.25.0",
    "tree-sitter-language-pack==0.13.0",
    "tree-sitter-yaml==0.7.2",
    "typing-extensions==4.15.0",
    "urllib3==2.6.3",
    "wcwidth==0.6.0",
)
"""aider and what it imports for its work. litellm is not among it, nor what is for voice, pictures and telemetry."""

_RUNNER = "/lockgate/aider.py"


class Aider(Driver):
    """aider as its wheels, without litellm. It edits files by blocks in its answers and runs no commands.

    It finds its way by a map of the repository, and reads whole files that it or the task names.
    """

    _block_type_name = "Lockgate agent: aider"
    _block_type_slug = "lockgate-aider"
    _description = "aider in the sandbox; its model is reached through the gateway."

    PROGRAM: ClassVar[str] = "aider"
    VERSION: ClassVar[str] = WHEELS[0].rpartition("==")[2]
    STRUCTURED: ClassVar[bool] = False
    LOST_SESSION: ClassVar[re.Pattern[str]] = re.compile(r"Error reading chat history|chat\.md: .* decode")

    model: str = Field("anthropic/claude-sonnet-5", pattern=r"^[^/\s]+/\S+$", description="provider/model")
    api: Literal["anthropic", "openai"] | None = Field(
        None, description="anthropic (Messages) or openai (Chat); default: by the provider's name, else openai"
    )
    edit_format: Literal["diff", "diff-fenced", "udiff", "whole"] = Field(
        "diff", description="How the model writes edits; whole files suit small models"
    )
    map_tokens: int = Field(2048, ge=0, description="Size of the repository's map in its prompts; 0: none")

    def install(self, toolchains: Toolchains, sandbox: Sandbox) -> Mapping[str, str]:
        """Its wheels, about 200 MB, most of it grammars for the map."""
        return wheel_program(toolchains, sandbox, WHEELS, f"{PROGRAMS}/{self.PROGRAM}")

    def argv(self, turn: AgentTurn) -> list[str]:
        return [f"{PROGRAMS}/{self.PROGRAM}/bin/python", "-I", _RUNNER]

    def stdin(self, turn: AgentTurn) -> bytes:
        """The token comes with the prompt, so that no environment has it."""
        helper = self.helper_models[0].partition("/")[2] if self.helper_models else turn.model
        asked = {
            "prompt": turn.prompt,
            "model": turn.model,
            "helper": helper,
            "url": turn.url,
            "token": turn.token,
            "api": self.api or ("anthropic" if turn.provider.startswith("anthropic") else "openai"),
            "session": turn.session,
            "answer": turn.answer is not None,
            "state": f"{STATE}/aider",
            "edit_format": self.edit_format,
            "map_tokens": self.map_tokens,
        }
        return json.dumps(asked).encode()

    def variables(self, turn: AgentTurn) -> dict[str, str]:
        return {"HOME": f"{STATE}/aider"}

    def files(self, turn: AgentTurn) -> dict[str, bytes]:
        return {_RUNNER: Path(__file__).with_name("aider_runner.py").read_bytes()}

    def read(self, line: dict[str, Any]) -> Iterable[AgentEvent]:
        """One event a line, as `aider_runner.py` tells them."""
        match line["type"]:
            case "session":
                yield AgentEvent(EventKind.SESSION, line["id"])
            case "edited":
                yield AgentEvent(EventKind.CALL, f"edit {line['path']}", line["path"])
                yield AgentEvent(EventKind.OUTPUT, "edited", line["path"])
            case "message" | "error" | "result" as kind:
                yield AgentEvent(EventKind(kind), line["text"])
