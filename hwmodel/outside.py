"""Safe display of foreign text: names in a trace or a machine's file, paths, error messages of libraries.

Foreign text must not give orders: no escape sequence reaches a terminal, no further line or column a table. Characters that would
do so are written as in Python's literals, `\\x1b`, so that they are visible.
"""

import re
import unicodedata

LONGEST = 2000
"""Characters of one text that are shown: two screens."""
MARKS = re.compile(r"[\\`*\[\]<|]")
"""Characters that have a meaning in Markdown within a line."""


def visible(text: str, longest: int = LONGEST) -> str:
    """Return a text in one line of visible characters; a long text is cut, followed by the number of characters left out."""
    rest = len(text) - longest
    shown = text[:longest] if rest > 0 else text
    if not shown.isprintable():
        shown = "".join(character if _is_seen(character) else _literal(character) for character in shown)
    return f"{shown}... ({rest:,} more characters)" if rest > 0 else shown


def markdown(text: str) -> str:
    """Return a text as Markdown that shows exactly this text, also within a table cell."""
    return MARKS.sub(r"\\\g<0>", visible(text))


def _is_seen(character: str) -> bool:
    """Return whether a character is visible or a space: no control character, change of direction or lone surrogate."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _literal(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
