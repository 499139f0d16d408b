"""Claude Code: the native program of its npm package, headless. https://code.claude.com/docs/en/headless"""

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field

from blocks.agents.driver import PROGRAMS, STATE, AgentTurn, Driver, npm_program
from blocks.agents.events import AgentEvent, EventKind
from blocks.agents.structured import schema_of
from domain.ports import Sandbox, Toolchains

BUILDS = {
    "x86_64": (
        "@anthropic-ai/claude-code-linux-x64@2.1.330",
        "sha512-9Gn+V7DtJ8M1nztP9CeDVl9g3RtrepI7rOFTyPRRnZe8D6zebIHKmC7OvBauucuAP0X0k85SDN/LPVZyjsGezQ==",
    ),
    "aarch64": (
        "@anthropic-ai/claude-code-linux-arm64@2.1.330",
        "sha512-V4yanAY5EA5UpwwRPtjSfqDbNqAlUJeVn3NYZw2AgmRHjdpSsLtHAzbxRXfkAnbjwTXzE0uedjQxUY02ARPcsA==",
    ),
}
"""What `npm view PACKAGE@VERSION dist.integrity` says."""

_TOKEN = "/lockgate/claude_code.token"  # noqa: S105 (where it is)
"""Not in the environment, which its shell tool hands to every command (its own scrubbing needs nested namespaces)."""


class ClaudeCode(Driver):
    """Claude Code with its own tools, without hooks, plugins, memory or the repository's settings (`--bare`)."""

    _block_type_name = "Lockgate agent: Claude Code"
    _block_type_slug = "lockgate-claude-code"
    _description = "Claude Code in the sandbox; its model is reached through the gateway."

    PROGRAM: ClassVar[str] = "claude_code"
    VERSION: ClassVar[str] = BUILDS["x86_64"][0].rpartition("@")[2]
    LOST_SESSION: ClassVar[re.Pattern[str]] = re.compile(
        r"No conversation found|Session ID .* (?:already in use|invalid)"
    )

    model: str = Field(
        "anthropic/claude-sonnet-5-5", pattern=r"^[^/\s]+/\S+$", description="provider/model, over Anthropic's Messages"
    )

    def install(self, toolchains: Toolchains, sandbox: Sandbox) -> Mapping[str, str]:
        """Its package, about 380 MB unpacked."""
        return npm_program(toolchains, BUILDS, f"{PROGRAMS}/{self.PROGRAM}")

    def argv(self, turn: AgentTurn) -> list[str]:
        words = [
            f"{PROGRAMS}/{self.PROGRAM}/claude",
            "--print",
            "--bare",
            "--output-format",
            "stream-json",
            "--verbose",
        ]
        words += ["--model", turn.model, "--permission-mode", "bypassPermissions", "--strict-mcp-config"]
        words += ["--settings", json.dumps({"apiKeyHelper": f"cat {_TOKEN}"})]
        if turn.answer:
            words += ["--tools", "Bash,Read", "--json-schema", json.dumps(schema_of(turn.answer))]
            return [*words, "--no-session-persistence"]
        return [*words, *(["--resume", turn.session] if turn.session else ["--session-id", str(uuid.uuid4())])]

    def variables(self, turn: AgentTurn) -> dict[str, str]:
        helper = self.helper_models[0].partition("/")[2] if self.helper_models else turn.model
        return {
            "ANTHROPIC_BASE_URL": turn.url,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": helper,  # titles, summaries: by a model that the gateway knows of
            "CLAUDE_CODE_SUBAGENT_MODEL": turn.model,
            "CLAUDE_CONFIG_DIR": f"{STATE}/claude",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "3",
            "DISABLE_AUTOUPDATER": "1",
            "IS_SANDBOX": "1",
        }

    def files(self, turn: AgentTurn) -> dict[str, bytes]:
        return {_TOKEN: turn.token.encode()}

    def read(self, line: dict[str, Any]) -> Iterable[AgentEvent]:
        """https://code.claude.com/docs/en/sdk: system/init, assistant, user (tool results) and one result."""
        match line["type"]:
            case "system" if line.get("subtype") == "init":
                yield AgentEvent(EventKind.SESSION, line["session_id"])
            case "assistant" | "user":
                content = line["message"]["content"]
                for part in content if isinstance(content, list) else ():
                    yield from _part(part)
            case "result":
                yield from _result(line)


def _part(part: dict[str, Any]) -> Iterable[AgentEvent]:
    match part["type"]:
        case "text":
            yield AgentEvent(EventKind.MESSAGE, part["text"])
        case "tool_use":
            asked = part["input"]
            command = asked.get("command") if part["name"] == "Bash" else None
            yield AgentEvent(EventKind.CALL, command or f"{part['name']} {json.dumps(asked)}", part["id"])
        case "tool_result":
            said = part.get("content") or ""
            text = said if isinstance(said, str) else "\n".join(str(piece.get("text", "")) for piece in said)
            yield AgentEvent(EventKind.OUTPUT, text, part["tool_use_id"])


def _result(line: dict[str, Any]) -> Iterable[AgentEvent]:
    """`subtype` says success even where the API failed: https://github.com/anthropics/claude-code/issues"""
    said = str(line.get("result") or "")
    ended_well = line["subtype"] == "success" and not line["is_error"]
    if not ended_well or line.get("terminal_reason", "completed") != "completed":
        reasons = [said, *map(str, line.get("errors") or ()), str(line.get("terminal_reason") or ""), line["subtype"]]
        yield AgentEvent(EventKind.ERROR, next(reason for reason in reasons if reason))
    else:
        yield AgentEvent(EventKind.RESULT, said, value=line.get("structured_output"))
