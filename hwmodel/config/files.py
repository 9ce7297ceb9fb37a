"""Configuration files: the presets that come with the project and a user's own, read into dotted settings.

A file is TOML: `name`, `design`, `description`, `extends` (presets or parts, later ones win), and the settings, each
a plain value or an inline table with `value` and its `source`, `confidence`, `low`, `high`.
"""

import math
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from hwmodel.config.errors import ConfigError, suggestion
from hwmodel.config.section import CONFIDENCE, FREE, Bound
from hwmodel.output import encodable

KEYS = ("value", "source", "confidence", "low", "high")
HEAD = ("name", "design", "description", "extends")
LONGEST = 1 << 20
"""The most bytes of a file; presets have at most 15,000."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value as a file or a user gives it, with its source, confidence and range."""

    value: Any
    source: str
    confidence: str = "U"
    low: Bound | None = None
    high: Bound | None = None


@dataclass(slots=True)
class Draft:
    """The contents of a file and of the files it extends, not yet checked."""

    name: str = ""
    design: str = ""
    description: str = ""
    settings: dict[str, Given] = field(default_factory=dict)

    def take(self, other: "Draft") -> None:
        """Let the values that `other` gives override this draft's."""
        self.design = other.design or self.design
        self.description = other.description or self.description
        self.settings.update(other.settings)


def _folder() -> Traversable:
    return resources.files("hwmodel.config") / "presets"


def names(folder: Traversable | None = None) -> tuple[str, ...]:
    """Return the names of the presets, or, with `folder=parts()`, of the parts that presets share."""
    files = (folder or _folder()).iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def parts() -> Traversable:
    """Return the folder of the parts that presets share."""
    return _folder() / "parts"


def packaged(name: str) -> Draft:
    """Return the draft of the preset `name`."""
    if name not in names():
        raise ConfigError(f"there is no preset {name!r}{suggestion(name, names())} (presets: {', '.join(names())})")
    return _draft(_folder() / f"{name}.toml", f"{name}.toml")


def shared(name: str, prefixes: tuple[str, ...]) -> dict[str, Given]:
    """Return the settings that begin with one of the prefixes, of the preset, part or user's file of that name."""
    if is_own(name):
        draft = own(Path(name))
    else:
        known = [other for other in names() + names(parts()) if _having(_named(other), prefixes)]
        if name not in known:
            raise ConfigError(f"there is no {name!r} with settings {told(prefixes)}{suggestion(name, known)} (known: {', '.join(known)})")
        draft = _named(name)
    return _having(draft, prefixes)


def is_own(name: str) -> bool:
    """Return whether a name is that of a user's file, not of a preset or a part."""
    return name.endswith(".toml") or "/" in name


def told(prefixes: tuple[str, ...]) -> str:
    """Return prefixes as a message shows them."""
    return ", ".join(f"{prefix}*" for prefix in prefixes)


def _having(draft: Draft, prefixes: tuple[str, ...]) -> dict[str, Given]:
    return {name: given for name, given in draft.settings.items() if name.startswith(prefixes)}


def _named(name: str) -> Draft:
    """Return the draft of a preset or a part."""
    return packaged(name) if name in names() else _draft(parts() / f"{name}.toml", f"{name}.toml")


def own(path: Path) -> Draft:
    """Return the draft of a user's file."""
    name = encodable(path.name or str(path))
    try:
        return _draft(path, name)
    except RecursionError:
        raise ConfigError(f"{name}: its tables or lists are nested too deeply") from None


def _draft(file: Traversable, name: str) -> Draft:
    table = _table(file, name)
    head = {key: table.pop(key) for key in HEAD if key in table}
    draft = Draft()
    for base in _extends(head.get("extends", []), name):
        draft.take(_base(base, name))
    said = {key: _text(head, key, name) for key in ("name", "design", "description")}
    draft.take(Draft(**said, settings=dict(_settings(table, "", name))))
    draft.name = said["name"]  # a name is not inherited from the files it extends
    return draft


def _text(head: dict[str, Any], key: str, name: str) -> str:
    if not isinstance(head.get(key, ""), str):
        raise ConfigError(f"{name}: {key}: must be a text, not {head[key]!r}")
    return head.get(key, "")


def _table(file: Traversable, name: str) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:  # bounded: a device may have no end
            data = opened.read(LONGEST + 1)
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}") from None
    if len(data) > LONGEST:
        raise ConfigError(f"{name}: has more than {LONGEST:,} bytes: no settings of a machine")
    try:
        return tomllib.loads(data.decode())
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"{name}: {error}") from None


def _extends(bases: object, name: str) -> list[str]:
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{name}: extends: must be a list of names, not {bases!r}")
    return bases


def _base(base: str, name: str) -> Draft:
    known = names() + names(parts())
    if base in known:
        return _named(base)
    raise ConfigError(f"{name}: extends: there is no {base!r}{suggestion(base, known)} (names: {', '.join(known)})")


def _settings(table: dict[str, Any], prefix: str, name: str) -> Iterator[tuple[str, Given]]:
    for key, value in table.items():
        dotted = prefix + key
        if not isinstance(value, dict):
            yield dotted, Given(value, f"set in {name}")
        elif "value" in value:
            yield dotted, _given(dotted, value, name)
        else:
            yield from _settings(value, f"{dotted}.", name)


def _given(dotted: str, entry: dict[str, Any], name: str) -> Given:
    for key in entry:
        if key not in KEYS:
            raise ConfigError(f"{name}: {dotted}: unknown key {key!r}{suggestion(key, KEYS)} (keys: {', '.join(KEYS)})")
    given = Given(**{"source": f"set in {name}", **entry})
    problem = _doubt(given)
    if problem:
        raise ConfigError(f"{name}: {dotted}: {problem}")
    return given


def _doubt(given: Given) -> str | None:
    """Return why a value's source, confidence or range is refused, or None; the value itself is checked with its setting."""
    if not isinstance(given.source, str) or not given.source:
        return f"source: must be a text, not {given.source!r}"
    if not isinstance(given.confidence, str) or given.confidence not in CONFIDENCE:
        return f"confidence: must be a letter of {', '.join(CONFIDENCE)}, not {given.confidence!r}"
    for bound in (given.low, given.high):
        if not (bound is None or bound == FREE or (isinstance(bound, int | float) and not isinstance(bound, bool))):
            return f"low and high: must be numbers, or {FREE}, not {bound!r}"
    value, low, high = (0 if number == FREE else number for number in (given.value, given.low, given.high))
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    if isinstance(value, int | float) and not low <= value <= high:
        return f"{value} is not between low ({given.low}) and high ({given.high})"
    return None
