"""What stands in for secrets while an agent works: a tree without them, and the way back. Bytes in, bytes out.

A replacement is `redacted_<kind>_<hash8>`, an identifier in most languages. Its hash is keyed by the run, so that no
weak password can be guessed from it; within a run the same value always gets the same replacement.
"""

import hmac
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from domain.spots import WIDE, Everywhere, Spot, plain_places
from domain.trees import Tree, TreeEntry

REPLACEMENT = re.compile(r"redacted_[a-z0-9_]+_[0-9a-f]{8}")
TOLD = 8
"""Characters from which on a shorter value with a digit in it is hidden in texts too, as a word of its own."""
MAX_LINE = 2000
_STUB = "{}: a secret is inside of this file, so agents do not get it. Left as it is, it becomes the file again."


class _Cut(NamedTuple):
    """A part of a file that is taken out."""

    start: int
    end: int
    kind: str


class Redaction:
    """A tree as an agent may see it. It holds secrets: it stays in memory, and says nothing of itself."""

    def __init__(self, tree: Tree, spotted: Sequence[tuple[Tree, Sequence[Spot]]] = (), key: str = "") -> None:
        """`spotted`: trees with their spots, of which each one's contents are hidden in `tree` and in texts."""
        self._key = key.encode()
        self._filled: dict[str, dict[bytes, bytes]] = {}
        self._withheld: set[str] = set()
        self._told: dict[str, str] = {}
        self._not_in_patches: set[str] = set()
        self._whole: Tree = tree
        self.tree: Tree = tree
        if any(spots for _, spots in spotted):
            self._redact(spotted)

    def __repr__(self) -> str:
        return f"<redaction of {len(self._filled) + len(self._withheld)} files>"

    @property
    def hides(self) -> bool:
        """Whether anything was taken out."""
        return bool(self._filled or self._withheld)

    def restored(self, collected: Tree) -> Tree:
        """What an agent left, with secrets back where they stood: in their own file, and never more often than there.

        A file that was not touched is the original byte for byte. What the agent put elsewhere stays a replacement,
        which the gates show to a person.
        """
        return {path: TreeEntry(entry.mode, self._back(path, entry.content)) for path, entry in collected.items()}

    def text(self, text: str) -> str:
        """A text for an agent's eyes: values, and lines that held one, are taken out."""
        for secret, instead in sorted(self._told.items(), key=lambda pair: (-len(pair[0]), pair[0])):
            if len(secret) >= WIDE:
                text = text.replace(secret, instead)
            elif secret in text:
                text = instead.join(re.split(rf"(?<!\w){re.escape(secret)}(?!\w)", text))
        return text

    def patch(self, diff: str) -> str:
        """A unified diff of git's for an agent's eyes: as `text`, and without the files that are withheld."""
        if self._not_in_patches:
            diff = "".join(map(self._section, re.split(r"(?m)^(?=diff --git )", diff)))
        return self.text(diff)

    # ── there ──

    def _redact(self, spotted: Sequence[tuple[Tree, Sequence[Spot]]]) -> None:
        cuts: dict[bytes, set[_Cut]] = {}
        inside: dict[bytes, str] = {}
        for tree, spots in spotted:
            for spot in spots:
                content = tree[spot.path].content
                if spot.end:
                    cuts.setdefault(content, set()).add(_Cut(spot.start, spot.end, _kind(spot.kind)))
                else:
                    inside[content] = min(_kind(spot.kind), inside.get(content, "~"))
                    self._not_in_patches.add(spot.path)
        wide: dict[bytes, str] = {}
        for content, found in cuts.items():
            self._tell(content, found)
            for start, end, kind in found:
                if end - start >= WIDE:
                    value = content[start:end]
                    wide[value] = min(kind, wide.get(value, "~"))
        everywhere = Everywhere(wide)
        shown = {}
        for path, entry in self.tree.items():
            mine = set(cuts.get(entry.content, ()))
            for value in everywhere.values_in(entry.content):
                mine |= {_Cut(start, end, wide[value]) for start, end in plain_places(entry.content, value)}
            shown[path] = TreeEntry(entry.mode, self._without(path, entry.content, mine, inside))
        self.tree = shown

    def _without(self, path: str, content: bytes, cuts: Collection[_Cut], inside: Mapping[bytes, str]) -> bytes:
        if content in inside:
            self._withheld.add(path)
            self._not_in_patches.add(path)
            return self._stub(content, inside[content])
        if not cuts:
            return content
        shown, self._filled[path] = self._cut_out(content, _merged(cuts))
        self._tell(content, cuts)
        return shown

    def _cut_out(self, content: bytes, cuts: Iterable[_Cut]) -> tuple[bytes, dict[bytes, bytes]]:
        """The content with replacements, and replacement → value. `cuts` are in their order and do not touch."""
        made, values, at = [], {}, 0
        for start, end, kind in cuts:
            instead = self._instead(content[start:end], kind)
            values[instead] = content[start:end]
            made += [content[at:start], instead]
            at = end
        return b"".join([*made, content[at:]]), values

    def _instead(self, value: bytes, kind: str) -> bytes:
        return f"redacted_{kind}_{hmac.new(self._key, value, 'sha256').hexdigest()[:8]}".encode()

    def _stub(self, content: bytes, kind: str) -> bytes:
        return _STUB.format(self._instead(content, kind).decode()).encode()

    def _tell(self, content: bytes, cuts: Collection[_Cut]) -> None:
        """Learn what to take out of texts: values, lines of long values, and the lines that values stood on."""
        for start, end, kind in {*cuts, *_merged(cuts)}:
            told = content[start:end].decode("utf-8", "replace")
            if len(told) >= WIDE or (len(told) >= TOLD and re.search(r"\d", told)):
                self._told[told] = self._instead(content[start:end], kind).decode()
            lines = [line.strip() for line in told.splitlines()]
            for part in lines if len(lines) > 1 else ():
                if len(part) >= TOLD:
                    self._told[part] = self._instead(part.encode(), kind).decode()
        lines_of: dict[int, list[_Cut]] = {}
        for cut in _merged(cuts):
            before = content.rfind(b"\n", 0, cut.start) + 1
            moved = cut._replace(start=cut.start - before, end=cut.end - before)
            lines_of.setdefault(before, []).append(moved)
        for before, moved_cuts in lines_of.items():
            line = _line_at(content, before)
            if len(line) <= MAX_LINE and min(cut.end - cut.start for cut in moved_cuts) < WIDE:
                told = line.decode("utf-8", "replace").strip()
                self._told[told] = self._cut_out(line, moved_cuts)[0].decode("utf-8", "replace").strip()

    def _section(self, section: str) -> str:
        """One file of a patch. A name that git quotes is not compared, so any such file is left out."""
        head = section.partition("\n")[0]
        named = any(re.search(rf" [ab]/{re.escape(path)}(?= |$)", head) for path in self._not_in_patches)
        if not head.startswith("diff --git ") or not (named or '"' in head):
            return section
        return f"{head}\n(not shown: a secret is inside of this file)\n"

    # ── and back ──

    def _back(self, path: str, content: bytes) -> bytes:
        if path not in self._filled and path not in self._withheld:
            return content
        before = self.tree[path].content
        if content == before:
            return self._whole[path].content
        if path in self._withheld:
            return content
        values = self._filled[path]
        pattern = re.compile(b"|".join(map(re.escape, values)))
        left = Counter(found.group() for found in pattern.finditer(before))
        places = list(pattern.finditer(content))
        known = set(before.splitlines())
        first = sorted(places, key=lambda place: (_line_at(content, place.start()) not in known, place.start()))
        chosen = set()
        for place in first:
            if left[place.group()] > 0:
                left[place.group()] -= 1
                chosen.add(place.start())
        return pattern.sub(lambda place: values[place.group()] if place.start() in chosen else place.group(), content)


def _kind(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40].strip("_") or "secret"


def _merged(cuts: Iterable[_Cut]) -> Iterator[_Cut]:
    """Cuts that touch as one, in their order: half of a secret must not stay beside the other's replacement."""
    now: _Cut | None = None
    for cut in sorted(cuts):
        if now and cut.start < now.end:
            now = now._replace(end=max(now.end, cut.end))
            continue
        if now:
            yield now
        now = cut
    if now:
        yield now


def _line_at(content: bytes, place: int) -> bytes:
    start = content.rfind(b"\n", 0, place) + 1
    end = content.find(b"\n", place)
    return content[start : end if end >= 0 else len(content)].removesuffix(b"\r")
