"""Text that agents, services and repositories wrote, made safe to show: a terminal, a log or a page shows it and does
not obey it. Control characters, and those that hide text or turn its order around, are replaced."""

REPLACEMENT = "�"


def one_line(text: str, most: int | None = None, *, escape: bool = False) -> str:
    """The text on one line, cut to `most` characters with an ellipsis at its end.

    What may not be shown becomes �, or its escape such as \\x1b if `escape`.
    """
    line = _safe(text.replace("\n", " "), "", escape)
    return line if most is None or len(line) <= most else line[: most - 1] + "…"


def block(text: str, *, escape: bool = False) -> str:
    """The same for text of several lines: line ends and tabs stay."""
    return _safe(text, "\n\t", escape)


def _safe(text: str, kept: str, escape: bool) -> str:
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] if escape else REPLACEMENT for c in text)
