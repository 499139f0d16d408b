"""What a form says, as the answer that the door takes: comments at lines become text with path and line."""

from collections.abc import Mapping

from station.door.bodies import MAX_TEXT
from station.door.reading import DoorDenied

AT = "at:"
"""How a comment's field begins: `at:PATH:LINE`."""


def answer_of(form: Mapping[str, str]) -> dict[str, str]:
    """Raises Denied for an answer that says nothing."""
    kind = form.get("kind", "")
    if kind == "questions":
        return {"answers": form.get("answers", "")}
    if kind == "window":
        return {"why": form.get("why", "")}
    if kind == "push":
        return {"stop": form.get("stop", "")}
    if kind in ("ready", "forge", "away"):
        return {}
    decision, comment = form.get("decision", ""), _comment(form)
    if not decision:
        raise DoorDenied(400, "choose what your answer is: approve, ask for changes, or reject")
    if decision == "ask for changes" and not comment:
        raise DoorDenied(400, "say what should change, below the change or at its lines")
    return {"decision": decision, "mark": form.get("mark", ""), "comment": comment}


def _comment(form: Mapping[str, str]) -> str:
    lines = [form.get("comment", "").strip()]
    for name, value in form.items():
        path, _, line = name.removeprefix(AT).rpartition(":")
        if name.startswith(AT) and path and line.isascii() and line.isdigit() and value.strip():
            lines.append(f"{path}:{line}: {' '.join(value.split())}")
    text = "\n".join(filter(None, lines))
    if len(text) > MAX_TEXT:
        raise DoorDenied(400, f"your comments are longer than {MAX_TEXT:,} characters together")
    return text
