"""How what agents tell is read: events, loops, structured answers, each adapter's own lines."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from blocks.agents.claude_code import ClaudeCode
from blocks.agents.codex import Codex
from blocks.agents.driver import Driver
from blocks.agents.events import CUT, MAX_LINE, AgentEvent, AgentWatch, EventKind, Repetition, parse
from blocks.agents.mini_swe import MiniSwe
from blocks.agents.structured import schema_of, value_of
from domain.errors import AgentError
from domain.task import Opinion, Plan
from domain.value import Value

C, O = EventKind.CALL, EventKind.OUTPUT  # noqa: E741


def echo(line: dict[str, Any]) -> Iterable[AgentEvent]:
    """The simplest adapter."""
    yield AgentEvent(EventKind(line["kind"]), line["text"], line.get("id", ""))


def told(kind: str, text: str, number: int = 0) -> str:
    return json.dumps({"kind": kind, "text": text, "id": str(number)}) + "\n"


def called(command: str, output: str, number: int) -> str:
    return told("call", command, number) + told("output", output, number)


# --- lines

NO_EVENTS = {
    "prose": "I would look around",
    "a list": "[1, 2]",
    "half an object": '{"kind": "message", "text": "x',
    "an unknown kind": '{"kind": "approval", "text": "x"}',
    "a missing field": '{"kind": "message"}',
    "nested without end": '{"kind": ' + "[" * 100_000,
    "too long": json.dumps({"kind": "message", "text": "x" * MAX_LINE}),
    "empty": "",
}


@pytest.mark.parametrize("line", NO_EVENTS.values(), ids=NO_EVENTS)
def test_what_is_no_event_is_passed_over(line: str) -> None:
    assert parse(line, echo) == []


def test_characters_that_the_sandbox_escaped_are_read() -> None:
    assert parse('{"kind": "message", "text": "a\\x7fb\\x9bc"}', echo) == [AgentEvent(EventKind.MESSAGE, "a\x7fb\x9bc")]


def test_lines_are_put_together_from_pieces_of_any_size() -> None:
    shown = list[str]()
    watch = AgentWatch(echo, show=shown.append, max_calls=9, idle_s=9)
    for character in "noise\n" + told("message", "hello") + called("ls", "a\nb", 1) + told("error", "oh"):
        watch.hear(character)
    assert shown == ["hello\n", "$ ls\n", "  b (2 lines)\n", "error: oh\n"]


# --- loops

LOOPS = {
    "the same": ([("ls", "a")] * 5, True),
    "not often enough": ([("ls", "a")] * 4, False),
    "another output": ([("ls", "a"), ("ls", "a"), ("ls", "b")] * 2, False),
    "outputs that change": ([("tail log", str(n)) for n in range(20)], False),
    "to and fro": ([("ls", "a"), ("pwd", "/")] * 5, True),
    "a cycle of four": ([("a", ""), ("b", ""), ("c", ""), ("d", "")] * 5, True),
    "a cycle of five": ([("a", ""), ("b", ""), ("c", ""), ("d", ""), ("e", "")] * 4, False),
    "work in between": ([("test", "fails"), ("edit", "ok")] * 4 + [("look", "x")] + [("test", "fails")] * 3, False),
    "only the duration differs": ([("pytest", f"1 failed in {n}.31s") for n in range(5)], True),
    "only the address differs": ([("run", f"<object at 0x7f{n}a>") for n in range(5)], True),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_the_same_commands_with_the_same_outputs(name: str) -> None:
    calls, is_loop = LOOPS[name]
    repetition = Repetition()
    seen = [repetition.saw(command, output) for command, output in calls]
    assert any(seen) is is_loop


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_silence_stops_it_unless_its_output_is_no_longer_shown() -> None:
    clock = Clock()
    watch = AgentWatch(echo, show=None, max_calls=9, idle_s=60, clock=clock)
    clock.now = 59
    watch.hear("a sign of life\n")
    clock.now = 119
    assert watch.stop() is None
    clock.now = 120
    assert watch.stop() == "it said nothing for 60 s"
    watch = AgentWatch(echo, show=None, max_calls=9, idle_s=60, clock=clock)
    watch.hear(CUT + "\n")
    clock.now = 1000
    assert watch.stop() is None


def test_outputs_of_calls_that_nobody_made_count_for_nothing() -> None:
    watch = AgentWatch(echo, show=None, max_calls=9, idle_s=9)
    for _ in range(20):
        watch.hear(told("output", "same", 7))
    assert watch.stop() is None


# --- structured answers


@pytest.mark.parametrize("kind", [Plan, Opinion])
def test_the_schema_is_strict(kind: type[Value]) -> None:
    schema = schema_of(kind)
    assert schema["additionalProperties"] is False
    assert schema["required"] == list(schema["properties"]) == list(kind.model_fields)
    assert '"default"' not in json.dumps(schema)


PLAN = Plan(steps=("look",), questions=("why?",))
WORDS = {
    "as an object": {"steps": ["look"], "questions": ["why?"]},
    "as text": '{"steps": ["look"], "questions": ["why?"]}',
    "in a fence": 'Here it is:\n```json\n{"steps": ["look"], "questions": ["why?"]}\n```\nShall I begin?',
    "after another": 'Such as {"steps": ["x"]}, or rather {"steps": ["look"], "questions": ["why?"]}',
    "after a brace that opens nothing": 'if (x) { y\n{"steps": ["look"], "questions": ["why?"]}',
}


@pytest.mark.parametrize("name", WORDS)
def test_a_plan_is_found_in_the_words_around_it(name: str) -> None:
    assert value_of(Plan, WORDS[name]) == PLAN


NONE = {
    "prose": "I would look around",
    "nothing": "",
    "a list": ["look"],
    "no steps": {"paths": ["a"]},
    "a field too many": {"steps": ["look"], "approved": True},
    "a wrong type": {"steps": "look"},
    "numbers for words": {"steps": [1]},
    "half a character": {"steps": ["\ud800"]},
    "nested without end": '{"steps": ' + "[" * 100_000,
    "braces without end": "{" * 150_000,
    "past the bound": " " * 300_000 + '{"steps": ["look"]}',
}


@pytest.mark.parametrize("name", NONE)
def test_what_is_no_plan_is_the_agents_fault(name: str) -> None:
    with pytest.raises(AgentError, match="plan"):
        value_of(Plan, NONE[name])


# --- each program's own lines

READ: dict[str, tuple[Driver, dict[str, Any], list[AgentEvent]]] = {
    "claude says success and means an error": (
        ClaudeCode(),
        {"type": "result", "subtype": "success", "is_error": True, "result": "API Error: 401"},
        [AgentEvent(EventKind.ERROR, "API Error: 401")],
    ),
    "claude ran out of turns": (
        ClaudeCode(),
        {"type": "result", "subtype": "error_max_turns", "is_error": False, "terminal_reason": "max_turns"},
        [AgentEvent(EventKind.ERROR, "max_turns")],
    ),
    "claude was aborted": (
        ClaudeCode(),
        {"type": "result", "subtype": "success", "is_error": False, "terminal_reason": "aborted_streaming"},
        [AgentEvent(EventKind.ERROR, "aborted_streaming")],
    ),
    "claude is done": (
        ClaudeCode(),
        {"type": "result", "subtype": "success", "is_error": False, "result": "ok", "terminal_reason": "completed"},
        [AgentEvent(EventKind.RESULT, "ok")],
    ),
    "claude uses another tool": (
        ClaudeCode(),
        {"type": "assistant", "message": {"content": [{"type": "tool_use", "id": "1", "name": "Read", "input": {}}]}},
        [AgentEvent(C, "Read {}", "1")],
    ),
    "claude's tool answers in parts": (
        ClaudeCode(),
        {
            "type": "user",
            "message": {
                "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "a"}, {}]}]
            },
        },
        [AgentEvent(O, "a\n", "1")],
    ),
    "codex failed": (
        Codex(),
        {"type": "turn.failed", "error": {"message": "401 Unauthorized"}},
        [AgentEvent(EventKind.ERROR, "401 Unauthorized")],
    ),
    "codex warns": (Codex(), {"type": "item.completed", "item": {"type": "error", "message": "a warning"}}, []),
    "codex patches": (
        Codex(),
        {
            "type": "item.completed",
            "item": {"id": "1", "type": "file_change", "changes": [{"path": "a"}], "status": "completed"},
        },
        [AgentEvent(C, 'apply_patch [{"path": "a"}]', "1"), AgentEvent(O, "completed", "1")],
    ),
    "codex is done": (Codex(), {"type": "turn.completed", "usage": {}}, [AgentEvent(EventKind.RESULT)]),
    "mini-swe is done": (MiniSwe(), {"type": "result", "text": "ok"}, [AgentEvent(EventKind.RESULT, "ok")]),
}


@pytest.mark.parametrize("name", READ)
def test_its_lines_are_read(name: str) -> None:
    agent, line, events = READ[name]
    assert parse(json.dumps(line), agent.read) == events


@pytest.mark.parametrize("model", ["gpt-6", "", "openai/", "/gpt-6", "open ai/gpt-6"])
def test_a_model_is_named_with_its_provider(model: str) -> None:
    with pytest.raises(ValueError, match="model"):
        Codex(model=model)


@pytest.mark.parametrize(
    "line",
    [
        {"type": "assistant", "message": {"content": [{"type": "text", "text": 5}]}},
        {"type": "system", "subtype": "init", "session_id": 7},
        {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": ["a"], "content": "x"}]}},
    ],
)
def test_a_line_that_lies_about_its_types_tells_nothing(line: dict[str, Any]) -> None:
    assert parse(json.dumps(line), ClaudeCode().read) == []
