"""Lines on a terminal with a status below them, or plain lines where there is none."""

from __future__ import annotations

import os
import shutil
import time
import unicodedata
from collections.abc import Callable
from typing import TextIO

# Without a terminal the status is a line of its own, at most this often (s).
_PLAIN_EVERY_S = 10.0
_CLEAR = "\r\x1b[2K"


def printable(text: str, keep: str = "") -> str:
    r"""Write out what names from tables and files could do to a terminal, such as ``\x1b``.

    The same as `snakeshed.errors.printable`. Snakemake loads this plugin before the workflow says
    whose library is used, so it imports nothing of any.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        # A space of any width is a space.
        if character.isprintable() or character in keep or unicodedata.category(character) == "Zs"
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


class Screen:
    """Where a run is shown.

    All text passes `printable`.

    Parameters
    ----------
    stream : text file
    clock : callable
        Seconds, from any beginning.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._live = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._status = ""
        self._shown_at = clock()
        self._shown = ""

    def line(self, text: str) -> None:
        """Show text for good."""
        self._line(text, clear=self._live and bool(self._status))

    def status(self, text: object, last: bool = False) -> None:
        """Show how far the run is, in place of what was shown before; the last time for good."""
        text = printable(str(text))
        if last:
            self._status = ""
            if text != self._shown:
                self._line(text, clear=self._live)
            self._shown = text
            return
        self._status = text
        if self._live:
            self._draw()
        elif text != self._shown and self._clock() - self._shown_at >= _PLAIN_EVERY_S:
            self._plain()
        self._stream.flush()

    def close(self) -> None:
        """Leave the last status on the screen."""
        if self._status:
            self.status(self._status, last=True)

    def _line(self, text: str, clear: bool) -> None:
        if clear:
            self._stream.write(_CLEAR)
        self._stream.write(printable(text, keep="\n") + "\n")
        self._draw()
        self._stream.flush()

    def _plain(self) -> None:
        self._stream.write(self._status + "\n")
        self._shown, self._shown_at = self._status, self._clock()

    def _draw(self) -> None:
        if self._live and self._status:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(_CLEAR + self._status[:width])
