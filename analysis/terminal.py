"""The only module that prints. Whoever wrote a text, it is printed as text: never as markup or as an order to the terminal."""

import contextlib
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from hwmodel.outside import visible

WIDTH = 100
"""Width in columns if the output does not go to a terminal."""


class Terminal(Console):
    """Standard output or error, for tables and lines.

    Parameters
    ----------
    stderr : bool
        Standard error instead of standard output.
    """

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, force_jupyter=False)
        if not self.is_terminal:
            self.width = WIDTH

    def render_str(self, text: str, **options: Any) -> Text:
        """Return printable text: everything printed passes through here, cells of tables too."""
        shown = visible(text).encode(self.encoding, "backslashreplace").decode(self.encoding)
        return super().render_str(shown, **options)

    def line(self, text: str, style: str | None = None) -> None:
        """Print a text in one line, however long."""
        self.print(text, style=style, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError for `cli.main` if the reader has closed our output: rich would end the process with status 1."""
        raise BrokenPipeError


def tell(message: str) -> None:
    """Print a message beside the results, in one line."""
    Terminal(stderr=True).line("hwmodel: " + " ".join(part.strip() for part in message.splitlines()))


def take_any_text() -> None:
    """Let the standard streams write characters that their encoding lacks, as `\\xe9`, instead of raising UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # a notebook's stream, or a closed one
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
