"""A commit as git stores it, read and written byte for byte: the same data always has the same id."""

import re
from typing import NamedTuple

REVERTS = "Lockgate-Reverts"
"""The trailer by which a revert is found again. Only a revert may write it."""


class CommitData(NamedTuple):
    """`author` is `Name <email>`; `date` is the committer's, in seconds since 1970."""

    tree: str
    parents: tuple[str, ...]
    author: bytes
    date: int
    message: bytes


def parsed(raw: bytes) -> CommitData:
    """What a commit object says. The author's own date is not kept."""
    head, _, message = raw.partition(b"\n\n")
    # A line that begins with a space goes on with the one before (signatures).
    fields = [line.partition(b" ")[::2] for line in head.split(b"\n") if not line.startswith(b" ")]
    one = dict(reversed(fields))
    date = re.search(rb" (\d{1,18}) [+-]\d+$", one[b"committer"])
    return CommitData(
        tree=one[b"tree"].decode(),
        parents=tuple(value.decode() for key, value in fields if key == b"parent"),
        author=re.sub(rb" -?\d+ [+-]\d+$", b"", one[b"author"]),
        date=int(date[1]) if date else 0,
        message=message,
    )


def stored(data: CommitData, committer: bytes) -> bytes:
    """The commit object; author and committer have the same date, in UTC."""
    stamp = b" %d +0000" % data.date
    lines = [b"tree " + data.tree.encode(), *(b"parent " + parent.encode() for parent in data.parents)]
    lines += [b"author " + data.author + stamp, b"committer " + committer + stamp, b"", data.message]
    return b"\n".join(lines)


def identity(name: str, otherwise: str, email: str) -> bytes:
    """`Name <email>` without what would end a header; `otherwise` where the name is empty."""
    clean = [re.sub(r"[<>\x00-\x1f\x7f]", "", part).strip() for part in (name, email)]
    return f"{clean[0] or otherwise} <{clean[1]}>".encode("utf-8", "replace")


def plain(text: str) -> bytes:
    """A message without NUL and without the trailer that only a revert may write."""
    lines = [line for line in text.replace("\0", "").split("\n") if not line.lower().startswith(REVERTS.lower())]
    return ("\n".join(lines).strip() + "\n").encode("utf-8", "replace")
