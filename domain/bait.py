"""Injection bait: text that gives an agent orders. Shown to people before the work begins; it decides nothing.

Words do not protect: the sandbox, the gateway and the gates do. So these rules are few and careful, to be read when
they speak: a manual for agents is not bait, an order that hides from readers is.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from domain.brief import Brief
from domain.policy.rule import Hit, Rule, apply
from domain.task import Finding, Severity
from domain.text import one_line
from domain.trees import Tree

MAX_BYTES = 1_000_000
"""Larger files are data; what a person can be shown of them is no help."""
MAX_SENTENCE = 600
"""Longer ones are no sentences."""
SYMLINK = 0o120000


class Text(NamedTuple):
    """One text that an agent may read. `path` is None for the brief."""

    path: str | None
    text: str


_NAMES = (
    r"(?:(?:AI|LLM|coding|autonomous)[ -]?(?:agent|assistant|model|tool|reviewer|bot)s?|LLMs?|language models?"
    r"|Claude(?: Code)?|ChatGPT|Copilot|Codex|Gemini)"
)
_ADDRESS = re.compile(
    rf"\b(?:to|for|dear|hey|attention|notice|as|if you(?:'re| are)|you(?:'re| are))[ ,:]{{1,3}}"
    rf"(?:(?:an|the|any|all|every) )?(?:{_NAMES}|AIs?)\b|\b{_NAMES} ?[:,]|\b{_NAMES} (?:must|should|shall)\b",
    re.IGNORECASE,
)
_OLD = r"(?:previous|prior|above|earlier|preceding|foregoing|existing|original|system|safety|developer)"
_RULES = r"(?:instructions?|prompts?|directives?|guidelines|guardrails|commands|orders|messages?)"
_OWN = r"(?:instructions|prompt|guidelines|guardrails|training|directives)"
_DROP = r"\b(?:ignore|disregard|forget|override|bypass|discard)"
_ORDERS = (
    rf"{_DROP} (?:(?:all|any|every)(?: (?:of )?(?:your|the|my|these|those))? |(?:your|my) )?{_OLD}"
    rf"(?: (?:and|or) \w+)? (?:\w+ )?{_RULES}\b",
    rf"{_DROP} the (?:\w+ )?{_OLD} {_RULES}\b(?!,? (?:if|when|unless|and (?:skip|go|use|jump|follow|proceed))\b)",
    rf"{_DROP} (?:all )?(?:of )?your (?:\w+ )?{_OWN}\b",
    r"\byou are now (?:in )?(?:DAN\b|developer mode|(?:an? )?(?:unrestricted|unfiltered|jailbroken))",
    r"\b(?:reveal|print|output|repeat) (?:your|the) (?:hidden |full )?system prompt\b",
)
ORDERS = re.compile("|".join(_ORDERS).replace(" ", r"\s{1,9}"), re.IGNORECASE)
"""A blank of the patterns is any white space, a little of it."""
_VERB = re.compile(
    r"\b(?:ignore|disregard|forget|override|execute|run|curl|wget|fetch|download|send|post|upload|exfiltrate|reveal|approve"
    r"|install|delete|remove|disable|skip|bypass)\b",
    re.IGNORECASE,
)
"""What an order to look something up has not: hidden comments that point agents to a manual are common."""
_HARM = re.compile(
    r"\b(?:send|post|upload|exfiltrate|leak|forward|e-?mail|transmit)\b[^.\n]{0,80}"
    r"\b(?:secrets?|tokens?|api keys?|credentials?|passwords?|\.env|environment variables|private keys?)\b"
    r"|\b(?:disable|skip|bypass|turn off|delete|remove)\b[^.\n]{0,30}"
    r"\b(?:tests?|checks?|scan(?:s|ners?)?|security|review)\b"
    r"|\b(?:approve|merge|accept)\b[^.\n]{0,40}\b(?:without|regardless|immediately)\b",
    re.IGNORECASE,
)
_NOT = re.compile(r"\b(?:not|never|without|avoid|cannot|no|refuse|nor)\b|n['’]t\b", re.IGNORECASE)
_PEOPLE = r"(?:the |any |your )?(?:user|human|reviewer|maintainer|operator)s?\b"
_SECRECY = re.compile(
    r"(?:\b(?:not|never|without)|n['’]t) "
    rf"(?:(?:tell|inform|alert|notify)(?:ing)? {_PEOPLE}(?= (?:about|of) (?:this|it|these|what)\b|[.!,;]|$)"
    rf"|(?:mention|reveal|show)(?:ing)? (?:this|it|these|that|any of this) to {_PEOPLE})",
    re.IGNORECASE,
)
_HIDDEN = re.compile(
    r"^\[(?://|comment|_)\]:[ \t]{0,9}(?:#|<>)[ \t]{0,9}[\"(']([^\n]{0,5000})"
    r"|<\w{1,20} [^<>]{0,200}style ?= ?[\"'][^\"'<>]{0,200}"
    r"(?:display ?: ?none|visibility ?: ?hidden|font-size ?: ?0|opacity ?: ?0\b)[^<>]{0,200}>([^<]{0,2000})",
    re.IGNORECASE | re.MULTILINE,
)
_UNSEEN = re.compile(
    "[\U000e0020-\U000e007e]{8,}|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{8,}|[\u200b-\u200d\u2060-\u2064\ufeff]{8,}"
)
"""Eight in a row can spell something; scripts and emoji need one or two, and the flag of a region six tags."""
_ENCODED = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{40,20000}={0,2}(?![A-Za-z0-9+/=_-])")
_MARKUP = re.compile(r"<\|(?:im_start|im_end|system|start_header_id)\|?>?|\[/?INST\]|<</?SYS>>", re.IGNORECASE)


def bait_in(tree: Tree, brief: Brief) -> tuple[Finding, ...]:
    """Notes for people on the text files of a tree and on a brief, which may quote an issue. Pure; nothing is run."""
    return apply(BAIT_RULES, [Text(None, f"{brief.title}\n\n{brief.goal}"), *_texts(tree)])


def _texts(tree: Tree) -> Iterator[Text]:
    for path, (mode, content) in sorted(tree.items()):
        if mode != SYMLINK and len(content) <= MAX_BYTES and b"\0" not in content:
            try:
                yield Text(path, content.decode())
            except UnicodeDecodeError:
                continue


def _hit(about: str, text: Text, place: int, shown: str) -> Hit:
    where = "" if text.path else " in the brief"
    excerpt = one_line(" ".join(shown.split()))[:120]
    return Hit(f"{about}{where}: {excerpt!r}", text.path, text.text.count("\n", 0, place) + 1 if text.path else None)


def _orders(texts: list[Text]) -> Iterator[Hit]:
    for text in texts:
        for found in ORDERS.finditer(text.text):
            yield _hit("text that tells an agent to drop its orders", text, found.start(), found.group())


def _addressed(texts: list[Text]) -> Iterator[Hit]:
    """Orders in a paragraph that speaks to an agent; what it is told not to do is advice, secrecy apart."""
    for text in texts:
        for paragraph in re.finditer(r"[^\n]+(?:\n[^\n]+)*", text.text) if _ADDRESS.search(text.text) else ():
            words = re.sub(r"\n(?!\s{0,9}(?:[-*#>|]|\d))", " ", paragraph.group())
            if not _ADDRESS.search(words):
                continue
            for sentence in re.finditer(r"[^.!?\n]+(?:[.!?](?!\s)[^.!?\n]*)*", words):
                said = sentence.group()
                if len(said) > MAX_SENTENCE:
                    continue
                harm = _HARM.search(said)
                if _SECRECY.search(said) or (harm and not _NOT.search(said[: harm.start()])):
                    yield _hit("an order to an agent", text, paragraph.start() + sentence.start(), said)


def _hidden(texts: list[Text]) -> Iterator[Hit]:
    for text in texts:
        styled = ((found.start(), found[1] or found[2] or "") for found in _HIDDEN.finditer(text.text))
        for place, inside in (*_comments(text.text), *styled):
            if ORDERS.search(inside) or (_ADDRESS.search(inside) and _VERB.search(inside)):
                yield _hit("text for an agent that a page does not show", text, place, inside)


def _comments(text: str) -> Iterator[tuple[int, str]]:
    start = text.find("<!--")
    while start >= 0 and (end := text.find("-->", start)) >= 0:
        yield start, text[start + 4 : end]
        start = text.find("<!--", end)


def _invisible(texts: list[Text]) -> Iterator[Hit]:
    for text in texts:
        if not text.text.isascii() and (found := _UNSEEN.search(text.text)):
            tags = "".join(chr(ord(c) - 0xE0000) for c in text.text if 0xE0020 <= ord(c) <= 0xE007E)
            yield _hit("characters in a row that are not shown", text, found.start(), tags)


def _encoded(texts: list[Text]) -> Iterator[Hit]:
    for text in texts:
        for found in _ENCODED.finditer(text.text):
            run = found.group().rstrip("=").replace("-", "+").replace("_", "/")
            try:
                said = base64.b64decode(run + "=" * (-len(run) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue
            if ORDERS.search(said) or (_ADDRESS.search(said) and _VERB.search(said)):
                yield _hit("orders to an agent in Base64", text, found.start(), said)


def _markup(texts: list[Text]) -> Iterator[Hit]:
    for text in texts:
        if text.path is None and (found := _MARKUP.search(text.text)):
            yield _hit("marks that set a model's own words apart", text, found.start(), found.group())


def _rule(name: str, what: str, check: Callable[[list[Text]], Iterable[Hit]]) -> Rule[list[Text]]:
    why = "An agent reads it. It can order nothing that sandbox and gates allow, but people should know."
    fix = "read it before you approve; take it out where nobody needs it"
    return Rule(name, "prepare", Severity.NOTE, what, why, fix, check)


BAIT_RULES: tuple[Rule[list[Text]], ...] = (
    _rule("bait-orders", "“Ignore all previous instructions” and its like, in a text file or the brief.", _orders),
    _rule(
        "bait-addressed",
        "A paragraph that speaks to AI agents and tells them to send secrets, to switch checks off, to approve, or to "
        "keep something from people. Being told not to do such things is advice.",
        _addressed,
    ),
    _rule("bait-hidden", "Orders to agents in HTML comments or in elements that a page does not show.", _hidden),
    _rule(
        "bait-invisible",
        "Eight or more characters in a row that are not shown: tags, variation selectors, zero-width characters.",
        _invisible,
    ),
    _rule("bait-encoded", "Base64 that reads as orders to an agent.", _encoded),
    _rule("bait-markup", "A brief with the marks of chat templates, such as <|im_start|> or [INST].", _markup),
)
