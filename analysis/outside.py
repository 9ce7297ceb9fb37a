"""Text that others wrote, as it may be shown: names in a trace or a machine's file, paths, what a library says of them.

Such text can't order anything: a terminal gets no escape sequence, a table no line or column more. What would is written as
Python's literals have it, `\\x1b`, so that it is seen.
"""

import re
import unicodedata

LONGEST = 2000
"""Characters of one text that are shown: two screens."""
MARKS = re.compile(r"[\\`*\[\]<|]")
"""What Markdown takes for more than itself within a line."""


def visible(text: str, longest: int = LONGEST) -> str:
    """Return a text in one line of characters that are seen; the end of a long one is left out, and how much that is is said."""
    rest = len(text) - longest
    shown = text[:longest] if rest > 0 else text
    if not shown.isprintable():
        shown = "".join(character if _is_seen(character) else _literal(character) for character in shown)
    return f"{shown}... ({rest:,} more characters)" if rest > 0 else shown


def markdown(text: str) -> str:
    """Return a text as Markdown that shows just it, in a cell of a table too."""
    return MARKS.sub(r"\\\g<0>", visible(text))


def _is_seen(character: str) -> bool:
    """Whether a character shows, or is a space: not an order to a terminal, a change of direction or half a character."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _literal(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
