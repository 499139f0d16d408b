"""Stacked bars as an SVG, for the Prefect UI: it shows pictures that are in the Markdown itself."""

from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape  # it only writes: nothing is parsed here

from domain.text import one_line

MAX_PARTS = 6
_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#7f7f7f")
_LEFT, _WIDTH, _ROW = 300, 440, 26
"""Pixels: where bars begin, how long the longest is, and how high a row is."""


def bars(names: Sequence[str], parts: Mapping[str, Mapping[str, float]], unit: str) -> bytes:
    """One horizontal bar a name, top to bottom, stacked of `parts`: part → name → size. The last part has the rest."""
    shown = _joined(parts)
    sums = [sum(sizes.get(name, 0.0) for sizes in shown.values()) for name in names]
    scale = _WIDTH / max([*sums, 1e-9])
    lines = list(_rows(names, sums, shown, scale, unit))
    for at, (label, colour) in enumerate(zip(shown, _COLOURS, strict=False)):
        y = _ROW * (len(names) + at + 1)
        lines += [_box(_LEFT, y, 12, colour), _text(_LEFT + 20, y, label)]
    height = _ROW * (len(names) + len(shown) + 1) + 10
    font = 'font-family="sans-serif" font-size="13"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="{height}" {font}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#ffffff"/>', *lines, "</svg>"]).encode()


def _rows(
    names: Sequence[str], sums: Sequence[float], parts: Mapping[str, Mapping[str, float]], scale: float, unit: str
) -> Iterator[str]:
    for row, (name, total) in enumerate(zip(names, sums, strict=True)):
        y, x = _ROW * row + 8, float(_LEFT)
        yield _text(_LEFT - 10, y, name, anchor="end")
        for colour, sizes in zip(_COLOURS, parts.values(), strict=False):
            yield _box(x, y, width := sizes.get(name, 0.0) * scale, colour)
            x += width
        yield _text(x + 8, y, f"{total:,.4g} {unit}")


def _box(x: float, y: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="16" fill="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y + 13}" text-anchor="{anchor}" fill="#222222">{escape(one_line(text, 40))}</text>'


def _joined(parts: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """The first parts, and the sum of the others."""
    shown = dict(list(parts.items())[:MAX_PARTS])
    others: dict[str, float] = {}
    for sizes in list(parts.values())[MAX_PARTS:]:
        for name, size in sizes.items():
            others[name] = others.get(name, 0.0) + size
    return shown | ({"others": others} if others else {})
