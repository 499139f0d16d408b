"""How much of a JSON body may be read."""

MOST_PARTS = 1_000_000
"""So many take 60 MB and a twentieth of a second to read; 30 MB of `[],` would take 700 MB and 5 s."""


def has_too_many_parts(body: bytes) -> bool:
    """Whether reading it as JSON could cost more than a sandbox may: counted, not parsed."""
    return sum(map(body.count, (b"[", b"{", b","))) > MOST_PARTS
