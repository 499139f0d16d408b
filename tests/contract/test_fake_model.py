"""What the fake model server promises to clients of four protocols, and to the tests that use it."""

import gzip
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from genai_prices import extract_usage

from domain.errors import InputError
from domain.models import TokenUsage
from kits.fake_model import Conversation, FakeModel, Script, ScriptedToolCall, ServedCall, Turn

PROJECT = Path(__file__).parents[2]
EDIT: dict[str, Any] = {
    "turns": [{"text": "I look.", "shell": "ls; echo 'é'"}, {"shell": "cat a"}, {"text": "All is well."}]
}
COMMAND = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}


class Answer(NamedTuple):
    """What a client has understood."""

    text: str
    calls: list[tuple[str, Any]]
    usage: dict[str, Any]
    back: list[dict[str, Any]]
    """What it sends back as its history."""


class Client:
    """A small client of one protocol, which knows nothing of the server's code."""

    def __init__(self, url: str, *, stream: bool) -> None:
        self.http = httpx.Client(base_url=url, timeout=30)
        self.stream = stream
        self.history: list[dict[str, Any]] = []

    def says(self, text: str) -> Answer:
        self.history.append(self.user(text))
        return self.goes_on()

    def goes_on(self) -> Answer:
        path, body = self.request()
        response = self.http.post(path, json=body)
        assert response.status_code == 200, response.text
        answer = self.streamed(events(response.text)) if self.stream else self.whole(response.json())
        self.history += answer.back
        return answer

    def work(self, text: str) -> list[Answer]:
        """Until it calls no more tools, twenty rounds at most."""
        answers = [self.says(text)]
        while answers[-1].calls and len(answers) < 20:
            self.history += self.results(answers[-1])
            answers.append(self.goes_on())
        return answers

    def user(self, text: str) -> dict[str, Any]:
        return {"role": "user", "content": text}

    def request(self) -> tuple[str, dict[str, Any]]:
        raise NotImplementedError

    def streamed(self, found: list[dict[str, Any]]) -> Answer:
        raise NotImplementedError

    def whole(self, body: dict[str, Any]) -> Answer:
        raise NotImplementedError

    def results(self, answer: Answer) -> list[dict[str, Any]]:
        raise NotImplementedError

    def used(self, answer: Answer) -> TokenUsage:
        raise NotImplementedError


def events(text: str) -> list[dict[str, Any]]:
    """The data of server-sent events."""
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in data if line != "[DONE]"]


def priced(provider: str, flavor: str, usage: dict[str, Any], field: str = "usage", model: str = "model") -> TokenUsage:
    """Tokens as the price table's library reads them: a judge that is not of this project."""
    known = {"anthropic": "claude-sonnet-4-5", "openai": "gpt-5", "google": "gemini-2.5-pro"}[provider]
    read = extract_usage({model: known, field: usage}, provider_id=provider, api_flavor=flavor).usage
    return TokenUsage(
        input=read.input_tokens or 0,
        output=read.output_tokens or 0,
        cache_read=read.cache_read_tokens or 0,
        cache_write=read.cache_write_tokens or 0,
    )


class Anthropic(Client):
    def request(self) -> tuple[str, dict[str, Any]]:
        tools = [{"name": "Bash", "input_schema": COMMAND}]
        return "/v1/messages?beta=true", {
            "model": "m",
            "max_tokens": 99,
            "stream": self.stream,
            "system": [{"type": "text", "text": "You are an agent."}],
            "messages": self.history,
            "tools": tools,
        }

    def streamed(self, found: list[dict[str, Any]]) -> Answer:
        assert [found[0]["type"], found[-1]["type"]] == ["message_start", "message_stop"]
        message = found[0]["message"]
        blocks: list[dict[str, Any]] = []
        partial: dict[int, str] = {}
        for event in found:
            if event["type"] == "content_block_start":
                assert event["index"] == len(blocks)
                blocks.append(event["content_block"])
            elif event["type"] == "content_block_delta" and event["delta"]["type"] == "text_delta":
                blocks[event["index"]]["text"] += event["delta"]["text"]
            elif event["type"] == "content_block_delta":
                partial[event["index"]] = partial.get(event["index"], "") + event["delta"]["partial_json"]
            elif event["type"] == "message_delta":
                message |= {**event["delta"], "usage": event["usage"]}
        for index, text in partial.items():
            blocks[index]["input"] = json.loads(text)
        return self.whole({**message, "content": blocks})

    def whole(self, body: dict[str, Any]) -> Answer:
        text = "".join(block["text"] for block in body["content"] if block["type"] == "text")
        calls = [(block["id"], block["input"]) for block in body["content"] if block["type"] == "tool_use"]
        assert body["stop_reason"] == ("tool_use" if calls else "end_turn")
        return Answer(text, calls, body["usage"], [{"role": "assistant", "content": body["content"]}])

    def results(self, answer: Answer) -> list[dict[str, Any]]:
        said = [{"type": "tool_result", "tool_use_id": call, "content": "ok"} for call, _ in answer.calls]
        reminder = {"type": "text", "text": "<system-reminder>Greet the plan</system-reminder>"}
        return [{"role": "user", "content": [*said, reminder]}]

    def used(self, answer: Answer) -> TokenUsage:
        return priced("anthropic", "default", answer.usage)


class Responses(Client):
    def request(self) -> tuple[str, dict[str, Any]]:
        tools = [{"type": "function", "name": "shell_command", "parameters": COMMAND}]
        return "/v1/responses", {"model": "m", "stream": self.stream, "input": self.history, "tools": tools}

    def streamed(self, found: list[dict[str, Any]]) -> Answer:
        assert [event["sequence_number"] for event in found] == list(range(len(found)))
        done = [event["item"] for event in found if event["type"] == "response.output_item.done"]
        deltas = "".join(event["delta"] for event in found if event["type"] == "response.output_text.delta")
        assert deltas == "".join(item["content"][0]["text"] for item in done if item["type"] == "message")
        assert found[-1]["type"] == "response.completed"
        assert found[-1]["response"]["output"] == done
        return self.whole(found[-1]["response"])

    def whole(self, body: dict[str, Any]) -> Answer:
        assert body["status"] == "completed"
        text = "".join(item["content"][0]["text"] for item in body["output"] if item["type"] == "message")
        made = [item for item in body["output"] if item["type"] == "function_call"]
        calls = [(item["call_id"], json.loads(item["arguments"])) for item in made]
        return Answer(text, calls, body["usage"], body["output"])

    def results(self, answer: Answer) -> list[dict[str, Any]]:
        return [{"type": "function_call_output", "call_id": call, "output": "ok"} for call, _ in answer.calls]

    def used(self, answer: Answer) -> TokenUsage:
        return priced("openai", "responses", answer.usage)


class Chat(Client):
    def request(self) -> tuple[str, dict[str, Any]]:
        tools = [{"type": "function", "function": {"name": "bash", "parameters": COMMAND}}]
        messages = [{"role": "system", "content": "You are an agent."}, *self.history]
        more = {"stream_options": {"include_usage": True}} if self.stream else {}
        return "/v1/chat/completions", {
            "model": "m",
            "stream": self.stream,
            "messages": messages,
            "tools": tools,
            **more,
        }

    def streamed(self, found: list[dict[str, Any]]) -> Answer:
        message: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": []}
        finish = None
        for chunk in found[:-1]:
            (choice,) = chunk["choices"]
            message["content"] += choice["delta"].get("content", "")
            finish = choice["finish_reason"]
            for delta in choice["delta"].get("tool_calls", []):
                if "id" in delta:
                    message["tool_calls"].append({name: delta[name] for name in ("id", "type", "function")})
                else:
                    message["tool_calls"][delta["index"]]["function"]["arguments"] += delta["function"]["arguments"]
        assert found[-1]["choices"] == []
        if not message["tool_calls"]:
            del message["tool_calls"]
        return self.whole({"choices": [{"message": message, "finish_reason": finish}], "usage": found[-1]["usage"]})

    def whole(self, body: dict[str, Any]) -> Answer:
        (choice,) = body["choices"]
        made = choice["message"].get("tool_calls", [])
        assert choice["finish_reason"] == ("tool_calls" if made else "stop")
        calls = [(call["id"], json.loads(call["function"]["arguments"])) for call in made]
        return Answer(choice["message"]["content"] or "", calls, body["usage"], [choice["message"]])

    def results(self, answer: Answer) -> list[dict[str, Any]]:
        return [{"role": "tool", "tool_call_id": call, "content": "ok"} for call, _ in answer.calls]

    def used(self, answer: Answer) -> TokenUsage:
        return priced("openai", "chat", answer.usage)


class Gemini(Client):
    def user(self, text: str) -> dict[str, Any]:
        return {"role": "user", "parts": [{"text": text}]}

    def request(self) -> tuple[str, dict[str, Any]]:
        tools = [{"functionDeclarations": [{"name": "run_shell_command", "parametersJsonSchema": COMMAND}]}]
        method = "streamGenerateContent?alt=sse" if self.stream else "generateContent"
        return f"/v1beta/models/m:{method}", {"contents": self.history, "tools": tools}

    def streamed(self, found: list[dict[str, Any]]) -> Answer:
        parts = [part for event in found for part in event["candidates"][0]["content"]["parts"]]
        last = found[-1]
        return self.whole({**last, "candidates": [{**last["candidates"][0], "content": {"parts": parts}}]})

    def whole(self, body: dict[str, Any]) -> Answer:
        (candidate,) = body["candidates"]
        assert candidate["finishReason"] == "STOP"
        parts = candidate["content"]["parts"]
        text = "".join(part.get("text", "") for part in parts)
        calls = [("", part["functionCall"]["args"]) for part in parts if "functionCall" in part]
        back = [{"text": text}] * bool(text) + [part for part in parts if "functionCall" in part]
        return Answer(text, calls, body["usageMetadata"], [{"role": "model", "parts": back}])

    def results(self, answer: Answer) -> list[dict[str, Any]]:
        said = {"functionResponse": {"name": "run_shell_command", "response": {"output": "ok"}}}
        return [{"role": "user", "parts": [said] * len(answer.calls)}]

    def used(self, answer: Answer) -> TokenUsage:
        return priced("google", "default", answer.usage, "usageMetadata", "modelVersion")


KINDS = {"anthropic": Anthropic, "responses": Responses, "chat": Chat, "gemini": Gemini}
Make = Callable[[FakeModel], Client]


@pytest.fixture(params=[(kind, stream) for kind in KINDS for stream in (True, False)], ids=lambda p: f"{p[0]}-{p[1]}")
def client(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Clients of each protocol, streamed and whole."""
    kind, stream = request.param
    made: list[Client] = []

    def make(fake: FakeModel) -> Client:
        made.append(KINDS[kind](fake.url, stream=stream))
        return made[-1]

    yield make
    for one in made:
        one.http.close()


def post(fake: FakeModel, path: str, body: Any, **more: Any) -> httpx.Response:
    return httpx.post(f"{fake.url}{path}", json=body, timeout=30, **more)


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


# --- every protocol


def test_a_client_plays_the_script_to_its_end(client: Make) -> None:
    with FakeModel(EDIT) as fake:
        first, second, last = client(fake).work("Please")
        assert first.text == "I look."
        assert [call[1]["command"] for answer in (first, second) for call in answer.calls] == ["ls; echo 'é'", "cat a"]
        assert (last.text, last.calls) == ("All is well.", [])
        assert [call.turn for call in fake.served] == [0, 1, 2]


def test_what_the_answers_say_of_their_usage_is_what_was_served(client: Make) -> None:
    usage = TokenUsage(input=1000, output=50, cache_read=600)
    with FakeModel({"turns": [{"text": "one", "usage": usage}, *EDIT["turns"]]}) as fake:
        one = client(fake)
        used = [one.used(answer) for answer in (one.says("Please"), *one.work("More"))]
        assert used == [call.tokens for call in fake.served]
        assert used[0] == usage
        assert all(tokens.input > tokens.output > 0 for tokens in used[1:])
        assert {call.status for call in fake.served} == {200}


@pytest.mark.parametrize("kind", [Anthropic, Responses, Chat])
@pytest.mark.parametrize("stream", [True, False])
def test_writes_to_a_cache_are_told(kind: type[Client], stream: bool) -> None:
    usage = TokenUsage(input=1000, output=5, cache_read=100, cache_write=300)
    with FakeModel({"turns": [{"text": "one", "usage": usage}]}) as fake:
        one = kind(fake.url, stream=stream)
        assert one.used(one.says("Please")) == usage == fake.served[0].tokens
        one.http.close()


def test_a_new_conversation_starts_at_the_first_turn_whatever_others_did(client: Make) -> None:
    with FakeModel(EDIT) as fake:
        many = [client(fake) for _ in range(6)]
        with ThreadPoolExecutor(6) as pool:
            ends = list(pool.map(lambda one: [answer.text for answer in one.work("Please")], many))
        assert ends == [["I look.", "", "All is well."]] * 6


def test_a_resumed_conversation_goes_on_where_it_was(client: Make) -> None:
    with FakeModel({"turns": [*EDIT["turns"], {"text": "More is done."}]}) as fake:
        one = client(fake)
        one.work("Please")
        assert one.says("And now more").text == "More is done."


def test_a_script_that_is_used_up_says_that_it_is_done(client: Make) -> None:
    with FakeModel({"turns": [{"text": "one"}], "done": "That was all."}) as fake:
        one = client(fake)
        assert [one.says(text).text for text in ("a", "b", "c")] == ["one", "That was all.", "That was all."]
        assert [call.turn for call in fake.served] == [0, None, None]


PLANS = {
    "conversations": [
        {"match": "^Plan", "turns": [{"structured": {"steps": ["é"]}}]},
        {"match": "feedback", "turns": [{"shell": "mend"}, {"text": "Mended."}]},
    ],
    **EDIT,
}


def test_an_expression_selects_the_conversation(client: Make) -> None:
    with FakeModel(PLANS) as fake:
        one = client(fake)
        assert json.loads(one.says("Plan it").text) == {"steps": ["é"]}
        other = client(fake)
        assert [answer.text for answer in other.work("Do it")] == ["I look.", "", "All is well."]
        assert [answer.text for answer in other.work("Here is feedback")] == ["", "Mended."]
        assert [(call.conversation, call.turn) for call in fake.served[-2:]] == [("feedback", 0), ("feedback", 1)]


def test_an_error_comes_as_often_as_the_script_says_and_then_the_answer(client: Make) -> None:
    with FakeModel({"turns": [{"status": 529, "times": 2, "retry_after_s": 7}, {"text": "one"}]}) as fake:
        one = client(fake)
        one.history.append(one.user("Please"))
        for _ in range(2):
            path, body = one.request()
            refused = one.http.post(path, json=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (529, "7")
            assert refused.json()["error"]["message"] == "the script says 529"
        assert one.goes_on().text == "one"
        assert [(call.status, call.tokens.input > 0) for call in fake.served] == [(529, False)] * 2 + [(200, True)]


def test_an_error_without_end_stays(client: Make) -> None:
    with FakeModel({"turns": [{"status": 401, "times": 0, "message": "no"}, {"text": "one"}]}) as fake:
        one = client(fake)
        one.history.append(one.user("Please"))
        path, body = one.request()
        assert [one.http.post(path, json=body).status_code for _ in range(4)] == [401] * 4


def test_an_answer_that_is_cut_breaks_off_and_the_next_try_is_whole(client: Make) -> None:
    with FakeModel({"turns": [{"text": "a long tale", "cut": True}, {"text": "one"}]}) as fake:
        one = client(fake)
        with pytest.raises(httpx.RemoteProtocolError):
            one.says("Please")
        assert one.goes_on().text == "one"
        broken = fake.served[0]
        assert (broken.status, broken.whole) == (200, False)
        assert broken.tokens.output <= 1


def test_a_connection_may_break_before_any_answer(client: Make) -> None:
    with FakeModel({"turns": [{"cut": True}, {"text": "one"}]}) as fake:
        one = client(fake)
        with pytest.raises(httpx.RemoteProtocolError):
            one.says("Please")
        assert one.goes_on().text == "one"
        assert (fake.served[0].status, fake.served[0].tokens) == (None, TokenUsage())


def test_an_answer_that_hangs_says_nothing_more_until_the_client_leaves(client: Make) -> None:
    with FakeModel({"turns": [{"text": "a long tale", "hang": True}, {"text": "one"}]}) as fake:
        one = client(fake)
        one.history.append(one.user("Please"))
        path, body = one.request()
        with one.http.stream("POST", path, json=body, timeout=httpx.Timeout(30, read=0.5)) as response:
            begun = response.iter_raw()
            with pytest.raises(httpx.ReadTimeout):
                b"".join(begun)
        one.history.append(one.user("Go on"))  # as after a kill and a resume
        assert one.goes_on().text == "one"
        assert [call.whole for call in fake.served] == [False, True]


def test_a_server_that_ends_lets_go_of_who_hangs(client: Make) -> None:
    before = set(threading.enumerate())
    with FakeModel({"turns": [{"text": "a long tale", "hang": True}]}) as fake, ThreadPoolExecutor(1) as pool:
        one = client(fake)
        waiting = pool.submit(one.says, "Please")
        assert fake.wait(1)[0].whole is False
        fake.stop()
        with pytest.raises(httpx.TransportError):
            waiting.result(30)
    assert set(threading.enumerate()) <= before


# --- histories as real clients send them


def test_an_answer_in_several_items_is_one_turn() -> None:
    with FakeModel(EDIT) as fake:
        one = Responses(fake.url, stream=True)
        first = one.says("Please")
        assert [item["type"] for item in first.back] == ["message", "function_call"]
        one.history += one.results(first)
        one.goes_on()
        assert fake.served[-1].turn == 1
        one.http.close()


def test_calls_whose_results_come_between_them_are_one_turn() -> None:
    with FakeModel({"turns": [{"calls": [{"shell": "a"}, {"shell": "b"}]}, {"text": "one"}]}) as fake:
        one = Responses(fake.url, stream=False)
        first = one.says("Please")
        results = one.results(first)
        del one.history[1:]
        one.history += [first.back[0], results[0], first.back[1], results[1]]
        assert one.goes_on().text == "one"
        one.http.close()


def test_examples_that_the_client_made_up_are_no_turns() -> None:
    examples = [("user", "Change it"), ("assistant", "Ok, here it is."), ("user", "New files"), ("assistant", "Ok.")]
    with FakeModel(EDIT) as fake:
        one = Chat(fake.url, stream=False)
        one.history = [{"role": role, "content": text} for role, text in examples]
        assert one.says("Please").text == "I look."
        one.http.close()


def test_reminders_around_the_words_of_the_user_select_nothing() -> None:
    script = {"conversations": [{"match": "plan", "turns": [{"text": "A plan."}]}], "turns": [{"text": "one"}]}
    with FakeModel(script) as fake:
        body = ask("<system-reminder>\nno plan\n</system-reminder>Please", max_tokens=9)
        assert post(fake, "/v1/messages", body).json()["content"][0]["text"] == "one"


SIDE = {
    "opencode": {"system": "You are a title generator. You output ONLY a thread title."},
    "aider": {"system": "You generate concise, one-line Git commit messages."},
}


@pytest.mark.parametrize("name", SIDE)
def test_a_call_for_a_title_gets_a_harmless_answer_and_moves_nothing(name: str) -> None:
    with FakeModel(PLANS) as fake:
        body = ask("Plan it", max_tokens=9, **SIDE[name])
        assert post(fake, "/v1/messages", body).json()["content"][0]["text"] == "Done."
        assert (fake.served[0].side, fake.served[0].conversation, fake.served[0].turn) == (True, "", None)


def test_a_script_may_answer_side_calls() -> None:
    side = Conversation(side=True, turns=(Turn(text="A title"),))
    with FakeModel(Script(turns=(Turn(text="one"),), conversations=(side,))) as fake:
        body = ask("Please", max_tokens=9)
        titled = post(fake, "/v1/messages", {**body, **SIDE["opencode"]}).json()["content"][0]["text"]
        assert (titled, post(fake, "/v1/messages", body).json()["content"][0]["text"]) == ("A title", "one")


# --- tools


def function(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "name": name, "parameters": schema}


TEXT = {"type": "string"}
SHELLS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "Claude Code": ([function("Bash", command=TEXT)], {"name": "Bash", "arguments": {"command": "ls"}}),
    "opencode": (
        [function("read", path=TEXT), function("bash", command=TEXT, description=TEXT)],
        {"name": "bash", "arguments": {"description": "run a command", "command": "ls"}},
    ),
    "Codex": ([function("exec_command", cmd=TEXT)], {"name": "exec_command", "arguments": {"cmd": "ls"}}),
    "Codex of 2025": (
        [function("shell", command={"type": "array", "items": TEXT})],
        {"name": "shell", "arguments": {"command": ["bash", "-lc", "ls"]}},
    ),
    "Codex in code mode": (
        [{"type": "namespace", "name": "functions", "tools": [{"type": "custom", "name": "exec"}]}],
        {"name": "exec", "namespace": "functions", "input": 'text(await tools.exec_command({"cmd": "ls"}));'},
    ),
    "a local shell": (
        [{"type": "local_shell"}],
        {"type": "local_shell_call", "action": {"type": "exec", "env": {}, "command": ["bash", "-lc", "ls"]}},
    ),
    "gemini-cli": (
        [function("run_shell_command", command={"type": "STRING"})],
        {"name": "run_shell_command", "arguments": {"command": "ls"}},
    ),
}


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("where", ["tools", "input"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_command_goes_by_the_shell_tool_that_is_offered(name: str, where: str, stream: bool) -> None:
    tools, expected = SHELLS[name]
    user = {"role": "user", "content": "Please"}
    added = [{"type": "additional_tools", "role": "developer", "tools": tools}]
    body = (
        {"model": "m", "input": [user], "tools": tools} if where == "tools" else {"model": "m", "input": [*added, user]}
    )
    with FakeModel({"turns": [{"shell": "ls"}]}) as fake:
        response = post(fake, "/v1/responses", {**body, "stream": stream})
        answer = events(response.text)[-1]["response"] if stream else response.json()
    (call,) = answer["output"]
    if "arguments" in call:
        call = {**call, "arguments": json.loads(call["arguments"])}
    assert {field: call[field] for field in expected} == expected


@pytest.mark.parametrize(
    ("system", "fence"), [("Edit the files.", "bash"), ("Use ```mswea_bash_command", "mswea_bash_command")]
)
def test_without_a_shell_tool_a_command_is_text_and_still_counts_as_a_turn(system: str, fence: str) -> None:
    with FakeModel({"turns": [{"text": "Look.", "shell": "ls -l"}, {"text": "one"}]}) as fake:
        body = ask("Please", system=system)
        text = post(fake, "/v1/messages", body).json()["content"][0]["text"]
        assert text == f"Look.\n\n```{fence}\nls -l\n```"
        body["messages"] += [{"role": "assistant", "content": text}, {"role": "user", "content": "<output>"}]
        assert post(fake, "/v1/messages", body).json()["content"][0]["text"] == "one"


def test_a_tool_by_its_name_gets_its_arguments() -> None:
    calls = (ScriptedToolCall(tool="Write", arguments={"file_path": "a", "content": "b"}), ScriptedToolCall(shell="ls"))
    with FakeModel(Script(turns=(Turn(calls=calls),))) as fake:
        tools = [{"name": name, "input_schema": COMMAND} for name in ("Bash", "Write")]
        blocks = post(fake, "/v1/messages", ask("Please", tools=tools)).json()["content"]
        assert [(block["name"], block["input"]) for block in blocks] == [
            ("Write", {"file_path": "a", "content": "b"}),
            ("Bash", {"command": "ls"}),
        ]


@pytest.mark.parametrize("forced", [None, "answer"])
def test_structured_output_goes_by_the_tool_for_it(forced: str | None) -> None:
    name = forced or "StructuredOutput"
    tools = [{"name": other, "input_schema": COMMAND} for other in ("Bash", name)]
    choice = {"tool_choice": {"type": "tool", "name": forced}} if forced else {}
    with FakeModel({"turns": [{"structured": {"steps": ["a"]}}]}) as fake:
        (block,) = post(fake, "/v1/messages", ask("Plan", tools=tools, **choice)).json()["content"]
    assert (block["type"], block["name"], block["input"]) == ("tool_use", name, {"steps": ["a"]})


# --- the server


def test_chat_streams_tell_usage_only_to_who_asks_and_it_is_on_record_all_the_same() -> None:
    with FakeModel({"turns": [{"text": "one"}]}) as fake:
        found = events(post(fake, "/v1/chat/completions", ask("Please", stream=True)).text)
        assert all("usage" not in chunk for chunk in found)
        assert fake.served[0].tokens.input > 0


KEYS = [
    ("/v1/messages", {"x-api-key": "tok"}),
    ("/v1/messages", {"authorization": "Bearer tok"}),
    ("/v1/chat/completions", {"authorization": "Bearer tok"}),
    ("/v1/responses", {"authorization": "Bearer tok"}),
    ("/v1beta/models/m:generateContent", {"x-goog-api-key": "tok"}),
    ("/v1beta/models/m:generateContent?key=tok", {}),
]


@pytest.mark.parametrize(("path", "headers"), KEYS)
def test_only_the_key_opens(path: str, headers: dict[str, str]) -> None:
    body = {**ask("Please"), "input": "Please", "contents": [{"parts": [{"text": "Please"}]}]}
    with FakeModel({"turns": [{"text": "one"}]}, key="tok") as fake:
        assert post(fake, path, body, headers=headers).status_code == 200
        for wrong in ({}, {name: f"{value}x" for name, value in headers.items()}):
            bare = path.partition("?")[0]
            refused = post(fake, bare, body, headers=wrong)
            assert (refused.status_code, refused.json()["error"]["message"]) == (401, "wrong key")
        assert httpx.get(f"{fake.url}/v1/models").status_code == 401
        assert [call.status for call in fake.served] == [200, 401, 401]
        assert [call.tokens for call in fake.served[1:]] == [TokenUsage()] * 2


def test_errors_have_the_shape_of_their_protocol() -> None:
    with FakeModel({"turns": [{"status": 429, "times": 0}]}) as fake:
        anthropic = post(fake, "/v1/messages", ask("Please")).json()
        assert (anthropic["type"], anthropic["error"]["type"]) == ("error", "rate_limit_error")
        openai = post(fake, "/v1/responses", {"model": "m", "input": "Please"}).json()["error"]
        assert (openai["type"], openai["code"]) == ("invalid_request_error", "rate_limit_exceeded")
        gemini = post(fake, "/v1beta/models/m:generateContent", {"contents": []}).json()["error"]
        assert (gemini["code"], gemini["status"]) == (429, "RESOURCE_EXHAUSTED")


def test_counting_tokens_and_listing_models_costs_nothing() -> None:
    with FakeModel({"turns": [{"text": "one"}], "models": ["a", "b"]}) as fake:
        assert post(fake, "/v1/messages/count_tokens", ask("Please")).json()["input_tokens"] > 0
        counted = post(fake, "/v1beta/models/m:countTokens", {"contents": []}).json()
        assert counted["totalTokens"] > 0
        listed = httpx.get(f"{fake.url}/v1/models").json()
        assert [model["id"] for model in listed["data"]] == ["a", "b"]
        assert httpx.get(f"{fake.url}/v1/models/a").json()["id"] == "a"
        assert httpx.get(f"{fake.url}/v1beta/models").json()["models"][1]["name"] == "models/b"
        assert [call.tokens for call in fake.served] == [TokenUsage()] * 2


def test_what_was_served_can_be_asked_for_over_http() -> None:
    with FakeModel({"turns": [{"text": "one"}, {"status": 500}]}, key="tok") as fake:
        post(fake, "/v1/messages", ask("Please"), headers={"x-api-key": "tok"})
        post(fake, "/v1/messages", ask("Please"))
        told = httpx.get(f"{fake.url}/served").json()["calls"]
        assert [ServedCall.model_validate(call) for call in told] == list(fake.served)
        assert [call["status"] for call in told] == [200, 401]
        assert [body.get("model") for body in fake.requests] == ["m", None]


@pytest.mark.parametrize("stream", [True, False])
def test_answers_are_compressed_where_the_script_says_so(stream: bool) -> None:
    with FakeModel({**EDIT, "gzip": True}) as fake:
        packed = post(fake, "/v1/messages", ask("Please", stream=stream))
        assert packed.headers["content-encoding"] == "gzip"
        assert "I lo" in packed.text
        plain = post(fake, "/v1/messages", ask("Please", stream=stream), headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert re.sub("[0-9a-f]{12}", "", plain.text) == re.sub("[0-9a-f]{12}", "", packed.text)


def test_requests_may_come_in_chunks_or_compressed() -> None:
    content = json.dumps(ask("Please")).encode()
    with FakeModel({"turns": [{"text": "one"}]}) as fake, httpx.Client(base_url=fake.url) as http:
        for sent, headers in (
            (iter([content[:9], content[9:]]), {}),
            (gzip.compress(content), {"content-encoding": "gzip"}),
        ):
            answer = http.post("/v1/messages", content=sent, headers=headers)
            assert answer.json()["content"][0]["text"] == "one"


BAD = [b"", b"no json", b"[]", b'{"messages": 1}', b'{"messages": [{"content": "x"}]}', b'{"messages": [1]}']


@pytest.mark.parametrize("content", BAD)
def test_what_is_no_request_gets_an_error_and_the_connection_lives(content: bytes) -> None:
    with FakeModel({"turns": [{"text": "one"}]}) as fake, httpx.Client(base_url=fake.url) as http:
        refused = http.post("/v1/messages", content=content)
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
        assert http.post("/v1/nothing", json={}).status_code == 404
        assert http.get("/nothing").status_code == 404
        assert http.post("/v1/messages", json=ask("Please")).status_code == 200


def test_over_tls_only_its_own_authority_is_trusted(tmp_path: Path) -> None:
    with FakeModel(EDIT, tls_dir=tmp_path / "tls", names=("models.example",)) as fake:
        assert fake.ca == tmp_path / "tls" / "ca.pem"
        assert (tmp_path / "tls" / "server.pem").stat().st_mode & 0o777 == 0o600
        trusting = ssl.create_default_context(cafile=str(fake.ca))
        assert post(fake, "/v1/messages", ask("Please"), verify=trusting).status_code == 200
        with pytest.raises(httpx.ConnectError):
            post(fake, "/v1/messages", ask("Please"))
        with (
            socket.create_connection(("127.0.0.1", fake.port)) as plain,
            trusting.wrap_socket(plain, server_hostname="models.example") as wrapped,
        ):
            assert wrapped.version()


def test_a_server_that_ended_listens_no_more() -> None:
    with FakeModel(EDIT) as fake, httpx.Client(base_url=fake.url) as http:
        assert http.get("/served").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{fake.url}/served")


def test_a_port_in_use_is_an_input_error() -> None:
    with FakeModel(EDIT) as fake, pytest.raises(InputError, match=f"port {fake.port} "):
        FakeModel(EDIT, port=fake.port)


# --- scripts

WRONG: dict[str, tuple[str, str]] = {
    "a misspelt field": ('[[turns]]\ntxt = "a"', "turns.0.txt"),
    "an empty turn": ("[[turns]]", "turns.0: .*`text`"),
    "two failures": ("[[turns]]\ncut = true\nhang = true", "turns.0: .*one of"),
    "a status that is none": ("[[turns]]\nstatus = 200", "turns.0.status"),
    "no expression": ('[[conversations]]\nmatch = "("\nturns = []', "conversations.0.match"),
    "a call of nothing": ('[[turns]]\ntext = "a"\ncalls = [{}]', "turns.0.calls.0"),
    "no TOML": ("turns = ", "cannot be read"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_script_that_cannot_be_played_says_where(name: str, tmp_path: Path) -> None:
    text, said = WRONG[name]
    (tmp_path / "script.toml").write_text(text)
    with pytest.raises(InputError, match=rf"script\.toml: .*{said}|script\.toml: {said}"):
        FakeModel(tmp_path / "script.toml")


def test_scripts_are_files_of_toml_or_json(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text(json.dumps(EDIT))
    (tmp_path / "script.toml").write_text('[[turns]]\ntext = "I look."')
    for file in tmp_path.iterdir():
        with FakeModel(file) as fake:
            assert "I look." in post(fake, "/v1/messages", ask("Please")).text
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        FakeModel(tmp_path / "none.toml")


# --- docs


def test_the_page_names_every_field_and_its_scripts_play(tmp_path: Path) -> None:
    page = (PROJECT / "docs" / "fake-model.md").read_text()
    fields = {
        field for model in (Script, Conversation, Turn, ScriptedToolCall, ServedCall) for field in model.model_fields
    }
    assert {field for field in fields if f"`{field}`" not in page} == set()
    scripts = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert scripts
    for text in scripts:
        (tmp_path / "script.toml").write_text(text)
        FakeModel(tmp_path / "script.toml").stop()
