"""Atlassian's document format, in which Jira keeps descriptions and comments: read as Markdown, and written from ours.

https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/. What is not read stands in the text as
`[its type]`, so that people see in our comment what an agent does not get. So does what a page draws in another way
than its text says: that text is chosen freely by whoever writes by the API.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MOST_DEPTH = 40
"""Lists in tables in panels: deeper than a person writes."""
_INLINE = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)|\*\*(.+?)\*\*|\[([^\[\]]*)\]\((https?://[^\s()]+)\)", re.DOTALL)
_SHUT = re.compile(r"<details><summary>(.*)</summary>")
_FENCE = re.compile(r"(`{3,})(\S*)")
_BOXES = ("panel", "expand", "nestedExpand", "layoutSection", "layoutColumn")
_ADDRESS = re.compile(r"https?://[^\s()<>\[\]`\"']{1,500}")
_LANGUAGE = re.compile(r"[\w.+#-]{1,30}")
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_INK, _GROUNDS = "#172b4d", ("#ffffff", "#1f1f21")
"""Of Jira: its text, which a dark theme turns round, and what a text of another colour stands on in either theme."""
LEAST_CONTRAST = 1.5
"""By https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio; the palest ink of Jira's own palette on white has 1.6."""


def markdown_of(document: Any) -> str:
    """A document's text; plain text stays as it is. Whatever is in it, that is read or named. Raises ValueError for
    what is no document at all."""
    if document is None:
        return ""
    if isinstance(document, str):
        return document
    if not isinstance(document, dict) or document.get("type") != "doc":
        raise ValueError("a text that is no document")
    return "\n\n".join(_blocks(document, 0)).strip()


def _blocks(node: Mapping[str, Any], depth: int) -> Iterator[str]:
    """The blocks in a node, each as lines."""
    if depth > MOST_DEPTH:
        yield "[more, too deep to be read]"
        return
    line = ""
    for child in _children(node):
        if _is_inline(child):
            line += _inline(child)
            continue
        if line.strip():
            yield line
        line = ""
        if block := _block(child, depth + 1):
            yield block
    if line.strip():
        yield line


def _block(node: Mapping[str, Any], depth: int) -> str:
    kind, told = str(node.get("type")), _told(node)
    match kind:
        case "heading":
            level = told.get("level")
            return f"{'#' * (level if isinstance(level, int) and 1 <= level <= 6 else 3)} {_line(node)}"
        case "paragraph" if _is_title(node):
            return f"### {_line(node)}"
        case "paragraph" | "taskItem" | "decisionItem" | "caption":
            return "\n".join(_blocks(node, depth)).strip("\n")
        case "codeBlock":
            code = "".join(str(one.get("text", "")) for one in _children(node))
            ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", code)), default=0))
            said = str(told.get("language") or "")
            language = said if _LANGUAGE.fullmatch(said) else ""
            return f"{ticks}{language}\n{code}\n{ticks}"
        case "bulletList" | "orderedList" | "taskList" | "decisionList":
            return "\n".join(_items(node, depth))
        case "blockquote":
            return "\n".join(f"> {line}".rstrip() for line in "\n\n".join(_blocks(node, depth)).split("\n"))
        case "rule":
            return "---"
        case "table":
            return "\n".join(
                "| " + " | ".join(" ".join(" ".join(_blocks(cell, depth)).split()) for cell in _children(row)) + " |"
                for row in _children(node)
            )
        case "blockCard" | "embedCard":
            return _address(told.get("url")) or f"[{kind}]"
        case "mediaSingle" | "mediaGroup" | "media":
            return "[an attachment]"
    if kind in _BOXES:
        title = str(told.get("title") or "") if kind in ("expand", "nestedExpand") else ""
        return "\n\n".join([*([title] if title else []), *_blocks(node, depth)])
    return f"[{_word(kind)}]"


def _is_title(node: Mapping[str, Any]) -> bool:
    """A short line in bold, alone: what people write in place of a heading."""
    found = _children(node)
    is_bold = all(
        (one.get("type") == "text" and {"type": "strong"} in (one.get("marks") or ()))
        or (one.get("type") == "text" and not str(one.get("text", "")).strip())
        for one in found
        if one.get("type") != "hardBreak"
    )
    return bool(found) and is_bold and 0 < len(_line(node)) <= 60 and "`" not in _line(node)


def _items(node: Mapping[str, Any], depth: int) -> Iterator[str]:
    if depth > MOST_DEPTH:
        yield "[more, too deep to be read]"
        return
    first = _told(node).get("order")
    number = first if isinstance(first, int) and 0 <= first < 10**6 else 1
    for item in _children(node):
        mark = f"{number}. " if node["type"] == "orderedList" else "- "
        if item.get("type") == "taskItem":
            mark = f"- [{'x' if _told(item).get('state') == 'DONE' else ' '}] "
        if item.get("type") == node["type"]:  # a list of tasks in one
            yield "\n".join(f"  {line}" for line in _items(item, depth + 1))
            continue
        lines = "\n".join(_blocks(item, depth)).split("\n")
        yield "\n".join([f"{mark}{lines[0]}", *(f"{' ' * len(mark)}{line}".rstrip() for line in lines[1:])])
        number += 1


def _is_inline(node: Mapping[str, Any]) -> bool:
    return node.get("type") in (
        *("text", "hardBreak", "mention", "emoji", "date", "status", "inlineCard", "inlineExtension", "mediaInline"),
        *("placeholder",),
    )


def _inline(node: Mapping[str, Any]) -> str:
    told = _told(node)
    match node.get("type"):
        case "text":
            return _marked(str(node.get("text", "")), node)
        case "hardBreak":
            return "\n"
        case "status":
            return str(told.get("text") or "[status]")
        case "emoji":
            drawn = str(told.get("text"))
            return drawn if len(drawn) <= 12 and all(map(_is_of_a_picture, drawn)) else "[emoji]"
        case "inlineCard":
            return _address(told.get("url")) or "[inlineCard]"
        case "date" if re.fullmatch(r"-?[0-9]{1,15}", str(told.get("timestamp"))):
            return f"[date {told['timestamp']}]"
        case "placeholder":
            return ""  # what an editor shows where nobody wrote anything
    return f"[{_word(node.get('type'))}]"


def _is_of_a_picture(char: str) -> bool:
    return char in "\u200d\ufe0f" or (not char.isascii() and unicodedata.category(char) in ("So", "Sk", "Sm"))


def _address(said: object) -> str:
    """Of a page; empty: it is none."""
    return str(said) if _ADDRESS.fullmatch(str(said)) else ""


def _marked(text: str, node: Mapping[str, Any]) -> str:
    """Code, links and what is struck out as Markdown has them; how else a text looks says nothing."""
    marks = _marks(node)
    for mark in marks:
        if mark.get("type") == "code":
            ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
            text = f"{ticks} {text} {ticks}" if "`" in text else f"`{text}`"
    for mark in marks:
        if mark.get("type") == "link":
            address = _address(_told(mark).get("href"))
            text = text if not address or address == text else f"[{text}]({address})"
    return f"~~{text}~~" if text.strip() and any(mark.get("type") == "strike" for mark in marks) else text


# ── what nobody sees of it ──


def is_unseen_in_part(document: Any) -> bool:
    """Whether some of its text has the colour of what it stands on, or one that is not understood."""
    rest: list[tuple[Any, str]] = [(document, "")]
    while rest:
        node, ground = rest.pop()
        if not isinstance(node, dict):
            continue
        told = _told(node)
        ground = _colour(told.get("background")) or _colour(told.get("panelColor")) or ground
        ink = ""
        for mark in _marks(node):
            if mark.get("type") == "backgroundColor":
                ground = _colour(_told(mark).get("color")) or "?"
            elif mark.get("type") == "textColor":
                ink = _colour(_told(mark).get("color")) or "?"
        is_text = node.get("type") == "text" and str(node.get("text", "")).strip()
        if is_text and not _is_read(ink, ground):
            return True
        rest += [(child, ground) for child in _children(node)]
    return False


def _is_read(ink: str, ground: str) -> bool:
    if ink in ("", _INK) and not ground:
        return True
    if not all(_COLOUR.fullmatch(one) for one in (ink, ground) if one):
        return False
    return all(_contrast(ink or _INK, one) >= LEAST_CONTRAST for one in ((ground,) if ground else _GROUNDS))


def _colour(said: object) -> str:
    """Empty: none is said. What is no #rrggbb stays as it is."""
    found = str(said or "").lower()
    return "#" + "".join(2 * one for one in found[1:]) if re.fullmatch("#[0-9a-f]{3}", found) else found


def _contrast(one: str, other: str) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


# ── its nodes ──


def _marks(node: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = node.get("marks")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _line(node: Mapping[str, Any]) -> str:
    return " ".join("".join(_inline(child) for child in _children(node)).split())


def _children(node: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = node.get("content")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _word(kind: object) -> str:
    return re.sub(r"[^A-Za-z]", "", str(kind))[:40]


def _told(node: Mapping[str, Any]) -> Mapping[str, Any]:
    told = node.get("attrs")
    return told if isinstance(told, dict) else {}


# ── what we write ──


def document_of(text: str) -> dict[str, Any]:
    """The Markdown of our own comments as a document: paragraphs, lists, code, bold, links, and what is folded away."""
    return {"type": "doc", "version": 1, "content": _written(text.split("\n"))}


def _written(lines: list[str]) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if fence := _FENCE.fullmatch(line):
            end = next((n for n in range(at + 1, len(lines)) if lines[n] == fence[1]), len(lines))
            code = "\n".join(lines[at + 1 : end])
            node: dict[str, Any] = {"type": "codeBlock", "attrs": {"language": fence[2] or "text"}}
            nodes.append(node | ({"content": [{"type": "text", "text": code}]} if code else {}))
            at = end + 1
        elif shut := _SHUT.fullmatch(line):
            end = next((n for n in range(len(lines) - 1, at, -1) if lines[n] == "</details>"), len(lines))
            inside = _written(lines[at + 1 : end]) or [{"type": "paragraph", "content": []}]
            nodes.append({"type": "expand", "attrs": {"title": shut[1]}, "content": inside})
            at = end + 1
        elif line.startswith("- "):
            end = next((n for n in range(at, len(lines)) if not lines[n].startswith("- ")), len(lines))
            items = [{"type": "listItem", "content": [_paragraph(one[2:])]} for one in lines[at:end]]
            nodes.append({"type": "bulletList", "content": items})
            at = end
        else:
            if line.strip():
                nodes.append(_paragraph(line))
            at += 1
    return nodes


def _paragraph(line: str) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    at = 0
    for found in _INLINE.finditer(line):
        content += _plain(line[at : found.start()])
        at = found.end()
        if found[1]:
            code = found[2]
            code = code[1:-1] if code.startswith(" ") and code.endswith(" ") and code.strip() else code
            content.append({"type": "text", "text": code, "marks": [{"type": "code"}]})
        elif found[3]:
            content.append({"type": "text", "text": found[3], "marks": [{"type": "strong"}]})
        else:
            mark = {"type": "link", "attrs": {"href": found[5]}}
            content.append({"type": "text", "text": found[4] or found[5], "marks": [mark]})
    return {"type": "paragraph", "content": [*content, *_plain(line[at:])]}


def _plain(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}] if text else []
