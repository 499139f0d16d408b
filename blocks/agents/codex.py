"""Codex: the native program of its npm package, headless. https://developers.openai.com/codex/noninteractive"""

import json
import platform
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field

from blocks.agents.driver import PROGRAMS, STATE, AgentTurn, Driver, npm_program
from blocks.agents.events import AgentEvent, EventKind
from blocks.agents.structured import schema_of
from domain.ports import Sandbox, Toolchains

BUILDS = {
    "x86_64": (
        "@openai/codex@0.169.0-linux-x64",
        "sha512-o05NyAOCDygSPRo1yinzxvkRSdmsZyBD9E7mbpmjRanSfM8lypqWtQgEo4XfNkwhuCR2aFu8mlGOsQGFXVbVww==",
    ),
    "aarch64": (
        "@openai/codex@0.169.0-linux-arm64",
        "sha512-NZ/DaQUpcQmxmqee7Z9uC1rzw3GhSbooawcaTe1LN5Yk+WlinUKGdTXJgClRT/9ogQEEM9TWxYzvxPfj5G/xFg==",
    ),
}
"""What `npm view PACKAGE@VERSION dist.integrity` says."""

_KEY = "LOCKGATE_MODEL_TOKEN"
_SCHEMA = f"{STATE}/answer.schema.json"


class Codex(Driver):
    """Codex with its own tools; what confines it is the platform's sandbox, so its own is off."""

    _block_type_name = "Lockgate agent: Codex"
    _block_type_slug = "lockgate-codex"
    _description = "Codex in the sandbox; its model is reached through the gateway."

    PROGRAM: ClassVar[str] = "codex"
    VERSION: ClassVar[str] = BUILDS["x86_64"][0].rpartition("@")[2].removesuffix("-linux-x64")
    LOST_SESSION: ClassVar[re.Pattern[str]] = re.compile(
        r"no rollout found|[Nn]o (?:saved )?(?:session|thread)|thread not found"
    )

    model: str = Field(
        "openai/gpt-6.1-sol", pattern=r"^[^/\s]+/\S+$", description="provider/model, over OpenAI's Responses"
    )

    def install(self, toolchains: Toolchains, sandbox: Sandbox) -> Mapping[str, str]:
        """Its package, about 400 MB unpacked."""
        return npm_program(toolchains, BUILDS, f"{PROGRAMS}/{self.PROGRAM}")

    def argv(self, turn: AgentTurn) -> list[str]:
        go_on = ["resume", turn.session] if turn.session else []
        program = f"{PROGRAMS}/{self.PROGRAM}/vendor/{platform.machine()}-unknown-linux-musl/bin/codex"
        words = [program, "exec", *go_on, "--json", "--skip-git-repo-check"]
        words += ["--dangerously-bypass-approvals-and-sandbox", "--ignore-rules", "--model", turn.model]
        for name, value in self._settings(turn).items():
            words += ["--config", f"{name}={json.dumps(value)}"]
        if turn.answer:
            words += ["--output-schema", _SCHEMA]
        return [*words, "-"]

    def _settings(self, turn: AgentTurn) -> dict[str, Any]:
        """https://developers.openai.com/codex/config-reference"""
        return {
            "model_provider": "lockgate",
            "model_providers.lockgate.name": "lockgate",
            "model_providers.lockgate.base_url": f"{turn.url}/v1",
            "model_providers.lockgate.env_key": _KEY,
            "model_providers.lockgate.wire_api": "responses",  # the only one that it speaks
            "model_providers.lockgate.request_max_retries": 3,
            "model_providers.lockgate.stream_max_retries": 3,
            "model_providers.lockgate.supports_websockets": False,
            "shell_environment_policy.inherit": "all",
            "shell_environment_policy.ignore_default_excludes": True,  # placeholders of secrets are for the shell
            "shell_environment_policy.exclude": [_KEY],
            "allow_login_shell": False,  # /etc/profile would take the toolchain out of PATH
            "project_doc_max_bytes": 0,  # the prompt has the repository's conventions, marked for what they are
            "check_for_update_on_startup": False,
            "analytics.enabled": False,
            "web_search": "disabled",
        }

    def variables(self, turn: AgentTurn) -> dict[str, str]:
        return {"CODEX_HOME": f"{STATE}/codex", _KEY: turn.token}

    def files(self, turn: AgentTurn) -> dict[str, bytes]:
        made = {f"{STATE}/codex/.keep": b""}  # it does not make its home itself
        if turn.answer:
            made[_SCHEMA] = json.dumps(schema_of(turn.answer)).encode()
        return made

    def read(self, line: dict[str, Any]) -> Iterable[AgentEvent]:
        """https://developers.openai.com/codex/noninteractive: thread, turn, item and error events."""
        match line["type"]:
            case "thread.started":
                yield AgentEvent(EventKind.SESSION, line["thread_id"])
            case "item.started" | "item.completed" as when:
                yield from _item(line["item"], is_over=when == "item.completed")
            case "turn.completed":
                yield AgentEvent(EventKind.RESULT)
            case "turn.failed":
                yield AgentEvent(EventKind.ERROR, str(line["error"]["message"]))
            case "error":
                yield AgentEvent(EventKind.ERROR, str(line["message"]))


def _item(item: dict[str, Any], *, is_over: bool) -> Iterable[AgentEvent]:
    match item["type"]:
        case "agent_message" if is_over:
            yield AgentEvent(EventKind.MESSAGE, item["text"])
        case "command_execution":
            if is_over:
                yield AgentEvent(
                    EventKind.OUTPUT, f"{item.get('aggregated_output') or ''}\nexit {item.get('exit_code')}", item["id"]
                )
            else:
                yield AgentEvent(EventKind.CALL, item["command"], item["id"])
        case "file_change" if is_over:
            changes = json.dumps(item.get("changes"))
            yield AgentEvent(EventKind.CALL, f"apply_patch {changes}", item["id"])
            yield AgentEvent(EventKind.OUTPUT, str(item.get("status")), item["id"])
        case "mcp_tool_call" | "web_search" if is_over:
            yield AgentEvent(EventKind.CALL, json.dumps(item), item["id"])
