"""Stacked bars as a PNG, for the Prefect UI: it shows pictures that are in the Markdown itself."""

import io
import os
from collections.abc import Mapping, Sequence

from blocks.home import home

MAX_PARTS = 6


def bars(names: Sequence[str], parts: Mapping[str, Mapping[str, float]], unit: str) -> bytes:
    """One horizontal bar a name, top to bottom, stacked of `parts`: part → name → size. The sixth part has the rest."""
    os.environ.setdefault("MPLCONFIGDIR", str(home() / "cache" / "matplotlib"))  # else it wants to write in $HOME
    from matplotlib.figure import Figure  # takes half a second: only those who draw pay it

    figure = Figure(figsize=(8, 1.2 + 0.35 * len(names)), dpi=110, layout="constrained")
    axes = figure.subplots()
    rows = range(len(names))  # not the names: two long ones may look the same
    left = [0.0] * len(names)
    for label, sizes in _joined(parts).items():
        widths = [sizes.get(name, 0.0) for name in names]
        axes.barh(rows, widths, left=left, label=_label(label))
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(rows, [_label(name) for name in names])
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    if parts:
        axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def _joined(parts: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """The first parts, and the sum of the others."""
    shown = dict(list(parts.items())[:MAX_PARTS])
    others: dict[str, float] = {}
    for sizes in list(parts.values())[MAX_PARTS:]:
        for name, size in sizes.items():
            others[name] = others.get(name, 0.0) + size
    return shown | ({"others": others} if others else {})


def _label(text: str) -> str:
    """Plain text for a plot, where $…$ would be mathematics, and a label that begins with _ is not shown."""
    clean = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    clean = f" {clean}" if clean.startswith("_") else clean
    return (clean if len(clean) <= 40 else f"{clean[:39]}…").replace("$", r"\$")
