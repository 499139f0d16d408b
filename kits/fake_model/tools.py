"""A script's calls in the words of the tools that a request offers."""

import json
from typing import Any

from kits.fake_model.ask import ModelRequest, OfferedTool, ToolCall
from kits.fake_model.script import ScriptedToolCall, Turn

SHELLS = ("Bash", "bash", "shell", "shell_command", "exec_command", "run_shell_command", "local_shell", "exec")
"""In this order. Claude Code; opencode, mini-swe-agent and pi; Codex of several years; gemini-cli."""

STRUCTURED = "StructuredOutput"
"""The tool by which Claude Code and opencode take structured output."""

FENCES = {"mswea_bash_command": "mswea_bash_command"}
"""Word in the prompt → the fence of commands, for agents that read commands out of the text; bash for all others."""


def spoken(turn: Turn, ask: ModelRequest, tag: str) -> tuple[str, tuple[ToolCall, ...]]:
    """The text and the calls of an answer made of this turn."""
    text, calls = turn.text, list(turn.all_calls)
    if turn.structured is not None:
        wanted = ask.forced or STRUCTURED
        if any(tool.name == wanted for tool in ask.tools):
            calls.append(ScriptedToolCall(tool=wanted, arguments=turn.structured))
        else:
            text = "\n\n".join(filter(None, [text, json.dumps(turn.structured)]))
    made: list[ToolCall] = []
    for call in calls:
        tool = _tool(call, ask)
        if tool is None:
            text = "\n\n".join(filter(None, [text, _fenced(call.shell or "", ask)]))
        else:
            arguments = call.arguments if call.shell is None else shell_arguments(tool, call.shell)
            made.append(ToolCall(f"call_{tag}_{len(made)}", tool, arguments))
    return text, tuple(made)


def _tool(call: ScriptedToolCall, ask: ModelRequest) -> OfferedTool | None:
    """The offered tool; None for a shell command if there is no shell tool. An unknown name is called as it is."""
    offered = {tool.name: tool for tool in reversed(ask.tools)}
    if call.tool is not None:
        return offered.get(call.tool) or OfferedTool(call.tool, {})
    return next((offered[name] for name in SHELLS if name in offered), None)


def shell_arguments(tool: OfferedTool, command: str) -> Any:
    """What the tool takes to run a command: by its schema, or the text itself where it takes free text."""
    if tool.kind == "custom" and tool.name == "exec":  # Codex' code mode runs JavaScript
        return f"text(await tools.exec_command({json.dumps({'cmd': command})}));"
    if tool.kind == "custom":
        return command
    argv = ["bash", "-lc", command]
    if tool.kind == "local_shell":
        return {"command": argv}
    properties = tool.schema.get("properties", {})
    name = next((name for name in ("command", "cmd") if name in properties), "command")
    filled = {
        other: "run a command"
        for other in tool.schema.get("required", [])
        if other != name and _kind(properties.get(other, {})) == "string"
    }
    return {**filled, name: argv if _kind(properties.get(name, {})) == "array" else command}


def _kind(schema: dict[str, Any]) -> str:
    return str(schema.get("type", "string")).lower()


def _fenced(command: str, ask: ModelRequest) -> str:
    prompt = "\n".join([ask.system, *(said.text for said in ask.said)])
    fence = next((fence for word, fence in FENCES.items() if word in prompt), "bash")
    return f"```{fence}\n{command}\n```"
