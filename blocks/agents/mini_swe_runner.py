"""Runs mini-swe-agent inside a sandbox. Never imported by the platform: it is written into the workspace and run there.

Standard input: one JSON object (see `main`). Standard output: a JSON line for each event, as `mini_swe.py` reads them.
"""

import json
import os
import shlex
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from minisweagent.agents.default import DefaultAgent  # type: ignore[import-not-found]
from minisweagent.environments.local import LocalEnvironment  # type: ignore[import-not-found]
from minisweagent.exceptions import FormatError, Submitted  # type: ignore[import-not-found]
from minisweagent.models.utils.actions_toolcall import BASH_TOOL  # type: ignore[import-not-found]
from pydantic import BaseModel

SYSTEM = (
    "You are a software engineer who works in a shell. Each command runs in a new shell at the top of the repository. "
    "Look before you change, keep changes small, and check them. When you are done, answer in words, without a command."
)
MAX_OUTPUT = 10_000
"""Characters of a command's output that the model sees."""
MAX_TOKENS = 16_000
PASSES = (408, 409, 429, 500, 502, 503, 504, 529)
"""Statuses that a later try may get past."""
TRIES = 4
CUT_OFF = ("length", "max_tokens")

Message = dict[str, Any]


class ApiError(Exception):
    """The model's answer is an error, or none."""


class Settings(BaseModel):
    model: str
    url: str
    api: str


class HttpModel:
    """A model over plain HTTP. Messages are kept in the shape of OpenAI's chat, whichever API speaks."""

    def __init__(self, config: Settings, token: str) -> None:
        self.config, self._token = config, token

    def query(self, messages: list[Message], **kwargs: Any) -> Message:
        """The model's next message, with its commands. Raises Submitted if it has none."""
        chat = [{key: value for key, value in one.items() if key != "extra"} for one in messages]
        speak = _anthropic if self.config.api == "anthropic" else _openai
        message, ended = speak(self.config, self._token, chat)
        message["extra"] = {"actions": _actions(message)}
        if message["extra"]["actions"]:
            return message
        if ended in CUT_OFF:
            raise FormatError(message, {"role": "user", "content": "Your answer was cut off. Go on in smaller steps."})
        text = message["content"]
        raise Submitted(
            message, {"role": "exit", "content": text, "extra": {"exit_status": "Submitted", "submission": text}}
        )

    def format_message(self, **kwargs: Any) -> Message:
        return kwargs

    def format_observation_messages(
        self, message: Message, outputs: list[dict[str, Any]], template_vars: Any = None
    ) -> list[Message]:
        actions = message["extra"]["actions"]
        return [
            {"role": "tool", "tool_call_id": action["tool_call_id"], "content": _observed(output)}
            for action, output in zip(actions, outputs, strict=True)
        ]

    def get_template_vars(self, **kwargs: Any) -> dict[str, Any]:
        return self.config.model_dump()

    def serialize(self) -> dict[str, Any]:
        return {"info": {"config": {"model": self.config.model_dump()}}}


class Shell(LocalEnvironment):  # type: ignore[misc]
    """Commands with the sandbox's environment, in which no token is: that one came on standard input."""

    def execute(self, action: dict[str, Any], cwd: str = "", *, timeout: int | None = None) -> dict[str, Any]:
        command = str(action["command"])
        if shutil.which("bash"):
            command = f"exec bash -c {shlex.quote(command)}"
        ended: dict[str, Any] = super().execute({"command": command}, cwd, timeout=timeout)
        return ended


class ReportingAgent(DefaultAgent):  # type: ignore[misc]
    """mini-swe-agent that tells what happens, saves after each step, and can go on with what it saved."""

    def __init__(self, *args: Any, trajectory: Path, go_on: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._trajectory = trajectory
        self._earlier = _saved(trajectory) if go_on else []

    def add_messages(self, *messages: Message) -> list[Message]:
        if self._earlier:  # the first two messages of a run are its system prompt and its task
            self.messages.extend(self._earlier)
            self._earlier, messages = [], messages[1:]
        for message in messages:
            _tell_message(message)
        added: list[Message] = super().add_messages(*messages)
        return added

    def save(self, path: Path | None, *extra_dicts: Any) -> dict[str, Any]:
        data: dict[str, Any] = super().save(None, *extra_dicts)
        new = self._trajectory.with_suffix(".new")
        new.write_text(json.dumps(data))
        new.replace(self._trajectory)
        return data


def main() -> int:
    asked = json.load(sys.stdin)
    trajectory = Path(asked["trajectory"])
    agent = ReportingAgent(
        HttpModel(Settings(model=asked["model"], url=asked["url"], api=asked["api"]), asked["token"]),
        Shell(timeout=asked["command_timeout_s"]),
        trajectory=trajectory,
        go_on=asked["session"] is not None,
        system_template=SYSTEM,
        instance_template="{{task}}",
        cost_limit=0,
    )
    tell(type="session", id="trajectory")
    try:
        ended = agent.run(asked["prompt"])
    except ApiError as err:
        tell(type="error", text=str(err))
        return 1
    if ended.get("exit_status") != "Submitted":
        tell(type="error", text=f"it gave up: {ended.get('exit_status')}")
        return 1
    tell(type="result", text=ended["submission"])
    return 0


def tell(**event: Any) -> None:
    print(json.dumps(event), flush=True)


def _tell_message(message: Message) -> None:
    if message["role"] == "assistant":
        if message["content"]:
            tell(type="message", text=message["content"])
        for action in message["extra"]["actions"]:
            tell(type="call", id=action["tool_call_id"], command=action["command"])
    elif message["role"] == "tool":
        tell(type="output", id=message["tool_call_id"], text=message["content"])


def _saved(trajectory: Path) -> list[Message]:
    """The conversation so far, up to its last whole step."""
    messages: list[Message] = json.loads(trajectory.read_text())["messages"]
    return [message for message in messages if message["role"] != "exit"]


def _actions(message: Message) -> list[dict[str, Any]]:
    actions = []
    for call in message.get("tool_calls") or ():
        try:
            command = json.loads(call["function"]["arguments"])["command"]
        except (ValueError, KeyError, TypeError) as err:
            why = f"A tool call could not be read ({err!r}). The tool is bash; its one argument is `command`."
            raise FormatError({"role": "user", "content": why}) from err
        actions.append({"command": command, "tool_call_id": call["id"]})
    return actions


def _observed(output: dict[str, Any]) -> str:
    text, problem = output["output"], output.get("exception_info")
    if len(text) > MAX_OUTPUT:
        half, cut = MAX_OUTPUT // 2, len(text) - MAX_OUTPUT
        text = f"{text[:half]}\n[... {cut} characters cut: look at less at a time ...]\n{text[-half:]}"
    return f"exit code {output['returncode']}\n{text}" + (f"\n{problem}" if problem else "")


def _openai(config: Settings, token: str, messages: list[Message]) -> tuple[Message, str]:
    """https://platform.openai.com/docs/api-reference/chat"""
    body = {"model": config.model, "messages": messages, "tools": [BASH_TOOL]}
    answer = _post(f"{config.url}/v1/chat/completions", {"Authorization": f"Bearer {token}"}, body)
    choice = answer["choices"][0]
    said = choice["message"]
    message: Message = {"role": "assistant", "content": said.get("content") or ""}
    if said.get("tool_calls"):
        message["tool_calls"] = said["tool_calls"]
    return message, str(choice.get("finish_reason"))


def _anthropic(config: Settings, token: str, messages: list[Message]) -> tuple[Message, str]:
    """https://docs.claude.com/en/api/messages"""
    turns: list[Message] = []
    for message in messages[1:]:
        role, blocks = _blocks(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    turns[-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}
    tool = BASH_TOOL["function"]
    body = {
        "model": config.model,
        "max_tokens": MAX_TOKENS,
        "system": messages[0]["content"],
        "messages": turns,
        "tools": [{"name": tool["name"], "description": tool["description"], "input_schema": tool["parameters"]}],
    }
    answer = _post(f"{config.url}/v1/messages", {"x-api-key": token, "anthropic-version": "2023-06-01"}, body)
    text = "".join(block["text"] for block in answer["content"] if block["type"] == "text")
    calls = [
        {"id": b["id"], "type": "function", "function": {"name": b["name"], "arguments": json.dumps(b["input"])}}
        for b in answer["content"]
        if b["type"] == "tool_use"
    ]
    return {"role": "assistant", "content": text, "tool_calls": calls}, str(answer.get("stop_reason"))


def _blocks(message: Message) -> tuple[str, list[dict[str, Any]]]:
    if message["role"] == "tool":
        found = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": message["content"]}
        return "user", [found]
    blocks = [{"type": "text", "text": message["content"]}] if message["content"].strip() else []
    for call in message.get("tool_calls") or ():
        made = call["function"]
        blocks.append(
            {"type": "tool_use", "id": call["id"], "name": made["name"], "input": json.loads(made["arguments"])}
        )
    return message["role"], blocks or [{"type": "text", "text": "(nothing)"}]


def _post(url: str, headers: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
    """The answer. Tries again where sense says so; raises ApiError with the provider's own words."""
    data = json.dumps(body).encode()
    for left in reversed(range(TRIES)):
        request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})  # noqa: S310
        wait = 2.0 ** (TRIES - left - 1)
        try:
            with urllib.request.urlopen(request, timeout=900) as response:  # noqa: S310
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as err:
            problem = f"API error {err.code}: {err.read(2_000).decode(errors='replace')}"
            if err.code not in PASSES:
                raise ApiError(problem) from err
            told = err.headers.get("retry-after") or ""
            wait = min(float(told), 60.0) if told.isdigit() else wait
        except (OSError, ValueError) as err:
            problem = f"the model cannot be reached: {err}"
        if left:
            time.sleep(wait)
    raise ApiError(problem)


if __name__ == "__main__":
    os.chdir("/work")
    sys.exit(main())
