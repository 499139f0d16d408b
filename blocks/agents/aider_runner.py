"""Runs aider inside a sandbox. Never imported by the platform: it is written into the workspace and run there.

Standard input: one JSON object (see `main`). Standard output: a JSON line for each event, as `aider.py` reads them,
between aider's own lines, which begin with `│`. aider reaches models through a package called litellm; a module of that
name with the few functions that aider calls takes its place.
"""

import io
import json
import os
import subprocess
import sys
import types
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

GIT = ("git", "-c", "core.hooksPath=/dev/null", "-c", "user.name=base", "-c", "user.email=base@localhost")
MAX_TOKENS = 16_000
ERRORS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    402: "AuthenticationError",
    403: "AuthenticationError",
    404: "NotFoundError",
    408: "Timeout",
    422: "BadRequestError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
}
"""Status → what aider calls it. It tries again where sense says so; any other status is the server's own trouble."""


class Model:
    """The model over plain HTTP, in the shape of `litellm.completion`."""

    def __init__(self, asked: dict[str, Any], errors: types.ModuleType) -> None:
        self._url, self._token, self._api, self._errors = asked["url"], asked["token"], asked["api"], errors
        self.said = ""
        self.failure: str | None = None

    def completion(self, *, model: str, messages: list[dict[str, Any]], **more: Any) -> types.SimpleNamespace:
        """One answer. Raises the errors that aider knows by name."""
        name = model.partition("/")[2]
        self.failure = "no answer"
        try:
            said, ended, usage = (self._anthropic if self._api == "anthropic" else self._openai)(name, messages)
        except urllib.error.HTTPError as err:
            self.failure = f"API error {err.code}: {err.read(2_000).decode(errors='replace')}"
            raise getattr(self._errors, ERRORS.get(err.code, "InternalServerError"))(self.failure) from err
        except (OSError, ValueError, LookupError) as err:
            self.failure = f"the model cannot be reached: {err!r}"
            raise self._errors.APIConnectionError(self.failure) from err
        self.said, self.failure = said, None
        tell(type="message", text=said)
        message = types.SimpleNamespace(content=said, tool_calls=None, reasoning_content=None)
        choice = types.SimpleNamespace(message=message, finish_reason="length" if ended in CUT_OFF else "stop")
        return types.SimpleNamespace(choices=[choice], usage=types.SimpleNamespace(**usage))

    def _openai(self, model: str, messages: list[dict[str, Any]]) -> tuple[str, str, dict[str, int]]:
        """https://platform.openai.com/docs/api-reference/chat"""
        body = {"model": model, "messages": messages}
        answer = self._post("/v1/chat/completions", {"Authorization": f"Bearer {self._token}"}, body)
        choice, usage = answer["choices"][0], answer.get("usage") or {}
        used = {name: int(usage.get(name, 0)) for name in ("prompt_tokens", "completion_tokens")}
        return choice["message"].get("content") or "", str(choice.get("finish_reason")), used

    def _anthropic(self, model: str, messages: list[dict[str, Any]]) -> tuple[str, str, dict[str, int]]:
        """https://docs.claude.com/en/api/messages"""
        turns: list[dict[str, Any]] = []
        for message in messages:
            if message["role"] == "system":
                continue
            if turns and turns[-1]["role"] == message["role"]:
                turns[-1]["content"] += f"\n\n{message['content']}"
            else:
                turns.append({"role": message["role"], "content": message["content"]})
        system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
        body = {"model": model, "max_tokens": MAX_TOKENS, "system": system, "messages": turns}
        answer = self._post("/v1/messages", {"x-api-key": self._token, "anthropic-version": "2023-06-01"}, body)
        said = "".join(block["text"] for block in answer["content"] if block["type"] == "text")
        usage = answer.get("usage") or {}
        used = {
            "prompt_tokens": int(usage.get("input_tokens", 0)),
            "completion_tokens": int(usage.get("output_tokens", 0)),
        }
        return said, str(answer.get("stop_reason")), used

    def _post(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310
            self._url + path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
        )
        with urllib.request.urlopen(request, timeout=900) as response:  # noqa: S310
            answer: dict[str, Any] = json.load(response)
            return answer


CUT_OFF = ("length", "max_tokens")
OPTIONS = (
    "--yes-always", "--no-stream", "--no-pretty", "--no-fancy-input", "--no-check-update", "--no-auto-commits",
    "--no-dirty-commits", "--no-auto-lint", "--no-gitignore", "--no-detect-urls", "--no-suggest-shell-commands",
    "--no-show-model-warnings", "--no-show-release-notes", "--analytics-disable", "--disable-playwright",
    "--env-file", os.devnull, "--llm-history-file", os.devnull,
)  # fmt: skip
"""https://aider.chat/docs/config/options.html."""
ABSENT = ("PIL", "httpx", "mixpanel", "numpy", "posthog", "pypandoc", "pyperclip", "watchfiles", "aider.voice")


class Absent(types.ModuleType):
    """Stands for a package that aider imports and does not need here."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Exception,), {})


class Quoted(io.TextIOBase):
    """aider's own lines, marked so that none of them is read as an event."""

    def __init__(self, out: Any) -> None:
        self._out, self._begins = out, True

    def write(self, text: str) -> int:
        for line in text.splitlines(keepends=True):
            self._out.write(f"│ {line}" if self._begins else line)
            self._begins = line.endswith("\n")
        return len(text)

    def flush(self) -> None:
        self._out.flush()


OUT = sys.stdout
QUOTED = Quoted(OUT)


def tell(**event: Any) -> None:
    """An event on a line of its own."""
    if not QUOTED._begins:
        QUOTED.write("\n")
    print(json.dumps(event), file=OUT, flush=True)


def stand_in(asked: dict[str, Any]) -> Model:
    """Put the stand-in for litellm in place, and for what else is not there; aider is imported after it."""
    sys.modules.update({name: Absent(name) for name in ABSENT})
    module: Any = types.ModuleType("litellm")
    sys.modules["litellm"] = module
    from aider.exceptions import EXCEPTIONS  # type: ignore[import-not-found,unused-ignore]

    for known in EXCEPTIONS:
        setattr(module, known.name, type(known.name, (Exception,), {}))
    model = Model(asked, module)
    module.completion = model.completion
    module.model_cost = {}
    module._logging = types.SimpleNamespace(_disable_debugging=lambda: None)
    module.get_model_info = lambda model: {}
    module.validate_environment = lambda model: {"keys_in_environment": True, "missing_keys": []}
    module.encode = lambda model, text: text.split()
    module.token_counter = lambda model, messages: len(json.dumps(messages)) // 4
    module.completion_cost = lambda completion_response: 0.0
    return model


def is_repository() -> bool:
    """aider sees the files that git knows. Where the working copy has no git, it gets one, which nobody keeps."""
    if Path(".git").exists():
        return True
    steps = (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--allow-empty", "--message", "base"])
    return all(subprocess.run([*GIT, *step], stdin=subprocess.DEVNULL).returncode == 0 for step in steps)


def main() -> int:
    asked = json.load(sys.stdin)
    state = Path(asked["state"])
    state.mkdir(parents=True, exist_ok=True)
    sys.stdout = sys.stderr = QUOTED
    sys.stdin = open(os.devnull)  # noqa: SIM115
    model = stand_in(asked)
    import aider.models  # type: ignore[import-not-found,unused-ignore]
    import aider.repomap  # type: ignore[import-not-found,unused-ignore]
    import networkx  # type: ignore[import-untyped,unused-ignore]
    from aider.main import main as run  # type: ignore[import-not-found,unused-ignore]
    from networkx.algorithms.link_analysis.pagerank_alg import _pagerank_python  # type: ignore[import-untyped,unused-ignore]

    networkx.pagerank = _pagerank_python  # the other one wants scipy
    aider.repomap.RepoMap.TAGS_CACHE_DIR = str(state / "tags")  # not in the working copy
    aider.models.model_info_manager._update_cache = lambda: None  # it would fetch a table of prices
    words = ["--model", f"lockgate/{asked['model']}", "--weak-model", f"lockgate/{asked['helper']}"]
    words += ["--edit-format", "ask" if asked["answer"] else asked["edit_format"]]
    words += ["--map-tokens", str(asked["map_tokens"]), *OPTIONS, "--aiderignore", str(state / "ignore")]
    words += ["--input-history-file", str(state / "input"), "--chat-history-file", str(state / "chat.md")]
    words += ["--restore-chat-history"] if asked["session"] else []
    words += [] if is_repository() else ["--no-git"]
    coder = run([*words, "--exit"], return_coder=True)
    tell(type="session", id="chat")
    coder.check_for_file_mentions(asked["prompt"])  # the files it names are read
    coder.run(with_message=asked["prompt"], preproc=False)  # else a leading / would be a command
    for path in sorted(coder.aider_edited_files):
        tell(type="edited", path=path)
    if model.failure:
        tell(type="error", text=model.failure)
        return 1
    tell(type="result", text=model.said)
    return 0


if __name__ == "__main__":
    os.chdir("/work")
    sys.exit(main())
