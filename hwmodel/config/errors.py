"""The errors of refused settings: one line each, the dotted name first, then the reason."""

import difflib
from collections.abc import Iterable

from pydantic import ValidationError

LONGEST = 60
"""The most characters of a refused value that are shown."""


class ConfigError(ValueError):
    """A setting, a preset or a configuration file that can't be used; the message is one line that names it."""


class SettingError(ValueError):
    """The error of a validator inside a section: a setting of that section and the reason for its refusal.

    The section doesn't know under which name it is used, so `{}` in `reason` stands for its dotted prefix.
    """

    def __init__(self, setting: str, reason: str):
        super().__init__(f"{setting}: {reason.format('')}")
        self.setting, self.reason = setting, reason


def explained(error: ValidationError) -> ConfigError:
    """Return pydantic's error as a `ConfigError`: one line that begins with the dotted name."""
    problems = error.errors()
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return ConfigError(_line(problems[0]) + more)


def _line(problem) -> str:
    path = ".".join(str(step) for step in problem["loc"])
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, SettingError):
        prefix = f"{path}." if path else ""
        return f"{prefix}{cause.setting}: {cause.reason.format(prefix)}"
    if isinstance(cause, Exception):
        return f"{path}: {cause}"
    reason = problem["msg"].replace("Input should be", "must be")
    return f"{path}: {reason}, not {shown(problem['input'])}"


def shown(value: object) -> str:
    """Return a refused value as a message shows it: in full if it is short, otherwise cut."""
    try:
        text = repr(value)
    except ValueError:  # a number of thousands of digits
        text = f"a number of {value.bit_length()} bits" if isinstance(value, int) else type(value).__name__
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean x?" for the closest known name, or an empty text."""
    known = tuple(known)
    close = difflib.get_close_matches(name, known, n=1)
    # A user who gives only the last part of a dotted name ("entries") means a name that ends in it.
    close = close or [other for other in known if other.endswith(f".{name}")]
    return f"; did you mean {close[0]}?" if close else ""
