"""The view of a script's log that a person reads while it runs: whole lines, in order, valid text, up to a cap.

Bytes come in at any chunk edges; ``run.log`` itself keeps every one of them, this shows what is worth showing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: A longer line is shown in pieces of at most so many bytes: log viewers choke on lines of megabytes.
MAX_LINE_BYTES = 32 * 1024
#: What is shown of the end of a log that went over its cap.
TAIL_BYTES = 32 * 1024
TAIL_LINES = 200
#: A progress bar (a line redrawn with carriage returns) that goes on without a newline shows its state so often.
REDRAW_SECONDS = 10.0
#: A character of UTF-8 has at most three bytes behind its first.
_MAX_CONTINUATION_BYTES = 3


class LogView:
    """Turns chunks of bytes into lines.

    :param sink: takes each line, without its newline.
    :param cap_bytes: how many bytes of the log are shown before the rest is left out; 0 for all.
    :param whole: where a person finds the whole log.
    :param offset: the byte of the log where this view starts.
    """

    def __init__(
        self, sink: Callable[[str], None], *, cap_bytes: int = 0, whole: str = "run.log", offset: int = 0
    ) -> None:
        self._sink, self._cap, self._whole = sink, cap_bytes, whole
        self._pending = b""
        self._shown_bytes = 0
        self._omitted_bytes = 0
        self._tail: list[str] = []
        self._redrawn_at: float | None = None
        self.shown_offset = offset  #: every line before this byte has been shown or left out: where a successor goes on

    @property
    def is_capped(self) -> bool:
        """Whether the view shows no more lines until the end."""
        return bool(self._cap) and self._shown_bytes >= self._cap

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the log, wherever they were cut."""
        newline = chunk.rfind(b"\n")
        if newline < 0:
            self._pending += chunk
        else:
            whole, self._pending = self._pending + chunk[:newline], chunk[newline + 1 :]
            self._show(whole, ending=1)
        if len(self._pending) > MAX_LINE_BYTES:
            self._shorten_pending()

    def skip(self, count: int) -> None:
        """Say that ``count`` bytes were left out, since the view is capped and only the end of the log matters now."""
        self._omitted_bytes += len(self._pending) + count
        self.shown_offset += len(self._pending) + count
        self._pending = b""
        self._tail.clear()

    def tick(self, now: float) -> None:
        """Show the latest state of a progress bar, if it has been long enough; ``now`` in seconds of any clock."""
        if b"\r" not in self._pending:
            return
        if self._redrawn_at is None:
            self._redrawn_at = now
        elif now - self._redrawn_at >= REDRAW_SECONDS:
            self._redrawn_at = now
            state = _last_state(self._pending.decode("utf-8", "replace").rpartition("\r")[0])
            if state.strip() and not self.is_capped:
                self._sink(state)

    def finish(self) -> None:
        """Show what has no newline yet and, over the cap, the last lines and where the rest is."""
        if self._pending:
            pending, self._pending = self._pending, b""
            self._show(pending, ending=0)
        if not self._omitted_bytes:
            return
        kept: list[str] = []
        room = TAIL_BYTES
        for line in reversed(self._tail[-TAIL_LINES:]):
            room -= len(line)
            if kept and room < 0:
                break
            kept.append(line)
        self._sink(
            f"... {self._omitted_bytes} bytes are not shown here, the whole log is {self._whole}; its last lines:"
        )
        for line in reversed(kept):
            self._sink(line)

    def _show(self, whole: bytes, *, ending: int) -> None:
        self.shown_offset += len(whole) + ending
        self._redrawn_at = None
        if len(whole) <= MAX_LINE_BYTES and not self._cap and b"\r" not in whole:
            for line in whole.decode("utf-8", "replace").split("\n"):
                self._sink(line)
            return
        self._take_bytes(ending - 1)
        for raw in whole.split(b"\n"):
            self._take_bytes(1)
            for piece in _pieces(raw) if len(raw) > MAX_LINE_BYTES and b"\r" not in raw else (raw,):
                self._show_line(piece)

    def _show_line(self, raw: bytes) -> None:
        text = raw.decode("utf-8", "replace")
        line = (_last_state(text) if "\r" in text else text)[:MAX_LINE_BYTES]
        if self.is_capped:
            self._tail.append(line)
            if len(self._tail) >= 2 * TAIL_LINES:
                del self._tail[:TAIL_LINES]
        else:
            self._sink(line)
        self._take_bytes(len(raw))

    def _take_bytes(self, count: int) -> None:
        if self.is_capped:
            self._omitted_bytes += count
        else:
            self._shown_bytes += count

    def _shorten_pending(self) -> None:
        drawn, mark, rest = self._pending.rpartition(b"\r")
        if mark and drawn:
            # All but the latest state of a progress bar has been drawn over.
            before = drawn.rpartition(b"\r")[2][-MAX_LINE_BYTES:]
            self.shown_offset += len(self._pending) - len(before) - 1 - len(rest)
            self._pending = before + mark + rest
        while len(self._pending) > MAX_LINE_BYTES and b"\r" not in self._pending[:MAX_LINE_BYTES]:
            piece = _first_piece(self._pending)
            self._pending = self._pending[len(piece) :]
            self._show(piece, ending=0)


def _last_state(text: str) -> str:
    """Return what a terminal would roughly show of a line that was redrawn: the last part that says something."""
    for part in reversed(text.split("\r")):
        if part:
            return part
    return ""


def _first_piece(raw: bytes) -> bytes:
    end = MAX_LINE_BYTES
    for _ in range(_MAX_CONTINUATION_BYTES):
        if end < len(raw) and raw[end] & 0xC0 == 0x80:
            end -= 1
    return raw[:end]


def _pieces(raw: bytes) -> list[bytes]:
    pieces = []
    while len(raw) > MAX_LINE_BYTES:
        piece = _first_piece(raw)
        pieces.append(piece)
        raw = raw[len(piece) :]
    return [*pieces, raw]
