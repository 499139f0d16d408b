"""opencode: the native program of its npm package, headless. https://opencode.ai/docs/cli/#run-1"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from blocks.agents.driver import PROGRAMS, STATE, AgentTurn, Driver, npm_program
from blocks.agents.events import AgentEvent, EventKind
from domain.ports import Sandbox, Toolchains

BUILDS = {
    "x86_64": (
        "opencode-linux-x64@1.18.33",
        "sha512-q/t/3p2CTxOT9y2kvjesb/LZab2+1eqlhhWA02Be6mjTtmYtNBcBsrI5yDo4Fw7ZSPBW2oyMIGMNRqiKQjiAWw==",
    ),
}
"""What `npm view PACKAGE@VERSION dist.integrity` says. This version was not published for aarch64."""

_TOKEN = "/lockgate/opencode.token"  # noqa: S105 (its place)
_CONFIG = f"{STATE}/opencode.json"
_PACKAGES = {"anthropic": "@ai-sdk/anthropic", "openai": "@ai-sdk/openai-compatible"}
"""Ways to speak that are built into the program: https://opencode.ai/docs/providers/#custom-provider"""
_NO_EDITS = {"edit": "deny", "task": "deny"}


class Opencode(Driver):
    """opencode with its own tools, without plugins, language servers or the repository's settings.

    It tries a model that does not answer again without end, so `idle_timeout_s` is what ends that.
    """

    _block_type_name = "Lockgate agent: opencode"
    _block_type_slug = "lockgate-opencode"
    _description = "opencode in the sandbox; its model is reached through the gateway."

    PROGRAM: ClassVar[str] = "opencode"
    VERSION: ClassVar[str] = BUILDS["x86_64"][0].rpartition("@")[2]
    STRUCTURED: ClassVar[bool] = False
    LOST_SESSION: ClassVar[re.Pattern[str]] = re.compile(r"Session not found|NotFoundError")

    model: str = Field("anthropic/claude-sonnet-5", pattern=r"^[^/\s]+/\S+$", description="provider/model")
    api: Literal["anthropic", "openai"] | None = Field(
        None, description="anthropic (Messages) or openai (Chat); default: by the provider's name, else openai"
    )

    def install(self, toolchains: Toolchains, sandbox: Sandbox) -> Mapping[str, str]:
        """Its package, about 190 MB unpacked."""
        return npm_program(toolchains, BUILDS, f"{PROGRAMS}/{self.PROGRAM}")

    def argv(self, turn: AgentTurn) -> list[str]:
        words = [f"{PROGRAMS}/{self.PROGRAM}/bin/opencode", "run", "--format", "json", "--auto", "--pure"]
        words += ["--model", f"lockgate/{turn.model}", "--title", "task"]  # or it has a model think of a title
        return [*words, *(["--session", turn.session] if turn.session else [])]

    def variables(self, turn: AgentTurn) -> dict[str, str]:
        """https://opencode.ai/docs/cli/#environment-variables"""
        return {
            "OPENCODE_CONFIG": _CONFIG,
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_CLAUDE_CODE": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_PROJECT_CONFIG": "1",
            "XDG_CACHE_HOME": "/tmp/opencode",  # noqa: S108 (a sandbox's own)
            "XDG_CONFIG_HOME": f"{STATE}/config",
            "XDG_DATA_HOME": f"{STATE}/data",
            "XDG_STATE_HOME": f"{STATE}/state",
        }

    def files(self, turn: AgentTurn) -> dict[str, bytes]:
        """The token is in a file, so that no environment of a command has it."""
        api = self.api or ("anthropic" if turn.provider.startswith("anthropic") else "openai")
        helpers = [model.partition("/")[2] for model in self.helper_models]
        config = {
            "model": f"lockgate/{turn.model}",
            "small_model": f"lockgate/{helpers[0] if helpers else turn.model}",
            "enabled_providers": ["lockgate"],
            "provider": {
                "lockgate": {
                    "npm": _PACKAGES[api],
                    "options": {"baseURL": f"{turn.url}/v1", "apiKey": f"{{file:{_TOKEN}}}"},
                    "models": {name: {"name": name} for name in (turn.model, *helpers)},
                }
            },
            "permission": {"*": "allow", **(_NO_EDITS if turn.answer else {})},
            "share": "disabled",
            "snapshot": False,
            "autoupdate": False,
            "lsp": False,
            "formatter": False,
        }
        return {_CONFIG: json.dumps(config).encode(), _TOKEN: turn.token.encode()}

    def read(self, line: dict[str, Any]) -> Iterable[AgentEvent]:
        """One line a part of the conversation, and one for an error. `step_finish` with another reason than tool
        calls is the model's last word."""
        part = line.get("part", {})
        match line["type"]:
            case "step_start":
                yield AgentEvent(EventKind.SESSION, line["sessionID"])
            case "text":
                yield AgentEvent(EventKind.MESSAGE, part["text"])
            case "tool_use":
                state, asked = part["state"], part["state"].get("input") or {}
                shell = asked.get("command") if part["tool"] == "bash" else None
                yield AgentEvent(EventKind.CALL, shell or f"{part['tool']} {json.dumps(asked)}", part["callID"])
                yield AgentEvent(EventKind.OUTPUT, str(state.get("output") or state.get("error") or ""), part["callID"])
            case "step_finish" if part["reason"] == "stop":
                yield AgentEvent(EventKind.RESULT)
            case "step_finish" if part["reason"] != "tool-calls":
                yield AgentEvent(EventKind.ERROR, f"the model stopped: {part['reason']}")
            case "error":
                error = line["error"]
                yield AgentEvent(EventKind.ERROR, str(error.get("data", {}).get("message") or error["name"]))
