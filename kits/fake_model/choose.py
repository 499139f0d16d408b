"""Which turn is next: told by the request's own history, so that resumed and parallel conversations just work."""

import re

from kits.fake_model.ask import ModelRequest
from kits.fake_model.script import Conversation, Script

REMINDERS = re.compile(r"<(system-reminder|environment_context|user_instructions|INSTRUCTIONS)>.*?</\1>", re.DOTALL)
"""What clients put around the user's own words."""

SIDE_CALLS = re.compile(
    "|".join(
        (
            r"title generator",  # opencode
            r"[Gg]enerate a (?:short |concise, sentence-case )?title",  # opencode, Claude Code
            r"new conversation topic",  # Claude Code
            r"[Ss]ummarize this coding conversation",  # Claude Code
            r"one-line Git commit messages",  # aider
            r"determine who should speak next",  # gemini-cli
            r"Task Routing AI",  # gemini-cli
        )
    )
)
"""Marks of helper calls, in the system prompt or the last words of the user; only requests without a shell tool."""


def is_side_call(ask: ModelRequest) -> bool:
    """Whether a client asks for something beside the work: a title, a commit message, who speaks next."""
    last = next((said.text for said in reversed(ask.said) if said.role == "user"), "")
    return not ask.tools and bool(SIDE_CALLS.search(f"{ask.system}\n{last}"))


def choose(script: Script, ask: ModelRequest) -> tuple[Conversation, int]:
    """The conversation that goes on, and how many of its turns the history has.

    The last user text that an expression matches selects; an answer counts for what was selected when it was given.
    An answer that is not of this script (an example, another model's) does not count, unless it has tool calls.
    """
    side = is_side_call(ask)
    current = next((one for one in script.conversations if one.side and not one.match), None) if side else None
    current = current or (Conversation(side=True, turns=()) if side else script.rest)
    known = {_plain(turn.essence) for one in (script.rest, *script.conversations) for turn in one.turns}
    known |= {_plain(script.done)}
    counted: dict[str, int] = {}
    seen: set[str] = set()
    is_counted = False
    for said in ask.said:
        if said.role == "user":
            own = _own(said.text)
            found = [one for one in script.conversations if one.side is side and one.match]
            current = next((one for one in found if re.search(one.match, own)), current)
        if said.role != "assistant":
            is_counted = False
            continue
        text = _plain(said.text)
        is_ours = bool(said.calls) or any(essence in text for essence in known if essence)
        if is_ours and not is_counted and said.tag not in seen:
            counted[current.match] = counted.get(current.match, 0) + 1
            is_counted = True
        if said.tag:
            seen.add(said.tag)
    return current, counted.get(current.match, 0)


def begun_with(ask: ModelRequest) -> list[str]:
    """What a conversation is known by, however it goes on: its first words, and the marks of its answers."""
    first = next((own for said in ask.said if said.role == "user" and (own := _own(said.text))), "")
    return [first, *(said.tag for said in ask.said if said.tag)]


def _own(text: str) -> str:
    return REMINDERS.sub("", text).strip()


def _plain(text: str) -> str:
    return "".join(text.split())
