"""What a command prints, bounded and harmless to show."""

import codecs
import re
from collections.abc import Callable

LINE = 8192
"""Longer lines are shown in pieces of this many characters."""
SHOWN = 8 << 20
"""Bytes that are shown of one command; who looks on (a log, a loop breaker) bounds what it keeps."""

# Everything that moves a cursor, colours, hides or reorders text: control characters but tab and newline, direction and
# zero-width characters, tags. https://trojansource.codes and https://unicode.org/reports/tr36/
_LIVELY = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)


def harmless(text: str) -> str:
    """`text` with characters that a terminal or a page would act on written as escapes; CRLF becomes LF."""
    return _LIVELY.sub(lambda found: ascii(found[0])[1:-1], text.replace("\r\n", "\n"))


class Transcript:
    """Keeps the first and last half of `max_bytes`, and shows the first `SHOWN` line by line as they come."""

    def __init__(self, max_bytes: int, on_output: Callable[[str], None] | None = None) -> None:
        self._half = max(1, max_bytes // 2)
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0
        self._on_output = on_output
        self._to_show = SHOWN
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""

    def feed(self, data: bytes) -> None:
        self._total += len(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
        self._tail += data[max(room, 0) :][-self._half :]
        if len(self._tail) > 4 * self._half:
            del self._tail[: -self._half]
        if self._on_output and self._to_show > 0:
            self._show(data, self._on_output)

    def _show(self, data: bytes, on_output: Callable[[str], None]) -> None:
        self._line += self._decoder.decode(data[: self._to_show])
        self._to_show -= len(data)
        end = self._line.rfind("\n") + 1
        if len(self._line) - end > LINE:
            end = len(self._line)
        if end:
            on_output(harmless(self._line[:end]))
            self._line = self._line[end:]
        if self._to_show <= 0:
            self.finish()
            on_output("[more output follows; it is not shown here]\n")

    def finish(self) -> None:
        """Show the line that had no end."""
        if self._on_output and self._line:
            line, self._line = self._line, ""
            self._on_output(harmless(line))

    @property
    def text(self) -> str:
        """Head and tail, with a line in between that says how much was cut."""
        tail = bytes(self._tail[-self._half :])
        cut = self._total - len(self._head) - len(tail)
        middle = f"\n[... {cut} bytes cut ...]\n".encode() if cut else b""
        return harmless((bytes(self._head) + middle + tail).decode(errors="replace"))
