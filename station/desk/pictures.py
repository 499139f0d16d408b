"""Pictures: of an agent, drawn from its name, the same wherever it is shown, and nothing that could be uploaded; and
columns and bars that compare sums."""

from collections.abc import Sequence
from hashlib import sha256

from markupsafe import Markup

SIDE = 6
"""Fields on a side; the right half mirrors the left one."""


def picture(name: str) -> Markup:
    """An SVG of its own colour and pattern. Decoration: the name stands beside it."""
    bits = sha256(name.encode("utf-8", "surrogatepass")).digest()
    hue, turned = bits[0] * 360 // 256, (bits[0] * 360 // 256 + 150) % 360
    fields = [
        f"M{column} {row}h1v1h-1z"
        for row in range(SIDE)
        for column in range(SIDE)
        if bits[1 + row * (SIDE // 2) + min(column, SIDE - 1 - column)] & 1
    ]
    return Markup(  # noqa: S704 - numbers alone are put in
        f'<svg class="picture-of" viewBox="-1 -1 {SIDE + 2} {SIDE + 2}" aria-hidden="true" focusable="false">'
        f'<rect x="-1" y="-1" width="{SIDE + 2}" height="{SIDE + 2}" rx="1.6" fill="hsl({hue} 55% 88%)"/>'
        f'<path d="{"".join(fields)}" fill="hsl({turned} 60% 32%)"/></svg>'
    )


def columns(sizes: Sequence[float], names: Sequence[str]) -> Markup:
    """An SVG of columns side by side; each tells its name to who points at it. Decoration: a table stands beside it."""
    most = max(sizes, default=0) or 1
    drawn = [
        Markup('<rect class="{}" x="{}" y="{:.2f}" width="8" height="{:.2f}"><title>{}</title></rect>').format(
            "one" if size else "none", 10 * place + 1, 60 - max(1, 60 * size / most), max(1, 60 * size / most), name
        )
        for place, (size, name) in enumerate(zip(sizes, names, strict=True))
    ]
    return Markup(
        '<svg class="days" viewBox="0 0 {} 60" preserveAspectRatio="none" aria-hidden="true" focusable="false">{}</svg>'
    ).format(10 * len(drawn), Markup().join(drawn))


def bar(size: float, most: float) -> Markup:
    """An SVG of a bar as long as this is beside the most."""
    return Markup(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        '<rect width="{:.2f}" height="8"></rect></svg>'
    ).format(max(0.5, 100 * size / most) if most and size else 0)
