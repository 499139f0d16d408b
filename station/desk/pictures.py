"""The picture of an agent, drawn from its name: the same wherever it is shown, and nothing that could be uploaded."""

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
