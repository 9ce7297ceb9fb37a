"""The base of all settings: frozen sections whose fields declare their unit, source and range."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from hwmodel.config.errors import SettingError, shown

FREE = "free"
"""The value of a cost of nothing: a plain 0 is more often a mistake than intended."""
LARGEST_COST = 10**9
"""The largest cost, in ns (a second) or cycles: sums of cycles then stay far below 63 bits."""
CONFIDENCE = {
    "V": "read in the primary source",
    "S": "read in a secondary source",
    "M": "from memory, unverified",
    "E": "engineering estimate, not published",
    "U": "set by the user",
}
"""The meanings of the confidence letters; presets use the first four."""

Scalar = int | float | str | bool
"""The value of a setting."""
Bound = float | Literal["free"]
"""An end of the range of a setting: a value that it accepts."""


def _cost(unit: str, whole: bool) -> Callable[[object], object]:
    wanted = f"must be a positive {'whole ' if whole else ''}number of {unit}, or {FREE}"

    def checked(value: object) -> object:
        if value == FREE and isinstance(value, str):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
            raise ValueError(f"{wanted}, not {shown(value)}")
        if value == 0:
            raise ValueError(f"a cost of 0 is written {FREE}")
        if value < 0 or (whole and value != int(value)):
            raise ValueError(f"{wanted}, not {shown(value)}")
        if value > LARGEST_COST:
            raise ValueError(f"must be at most {LARGEST_COST} {unit}, not {shown(value)}")
        return int(value) if value == int(value) else value

    return checked


Nanoseconds = Annotated[int | float | Literal["free"], BeforeValidator(_cost("ns", whole=False))]
"""A cost that crosses a socket, a bus or a software path: it does not scale with the clock."""
Cycles = Annotated[int | Literal["free"], BeforeValidator(_cost("cycles", whole=True))]
"""A cost inside a core: it scales with the clock."""

AS_2008 = "default: the value of the 2008 presets, which name its source"
"""The source of a default whose value a preset of 2008 repeats; a test compares them."""


def setting(
    default: Scalar, unit: str, description: str, confidence: str, *,
    source: str = AS_2008, low: Bound | None = None, high: Bound | None = None, cost: str | None = None, **limits: Any,
) -> Any:
    """Declare a setting.

    Parameters
    ----------
    default : int, float, str or bool
        The value where no preset or file gives one.
    unit : str
        Unit of the value.
    description : str
        A description in one line.
    confidence : str
        The confidence in the default: a letter of `CONFIDENCE`.
    source : str
        The source of the default.
    low, high : float, optional
        The range in which the truth is believed to lie.
    cost : str, optional
        The cost `C.<cost>` of docs/model.md section 13 that this setting gives: the only place that states it.
    **limits
        Limits that pydantic's `Field` checks: `ge`, `le`.
    """
    about: dict[str, Any] = dict(unit=unit, source=source, confidence=confidence, low=low, high=high, cost=cost)
    return Field(default, description=description, json_schema_extra=about, **limits)


def size(default: int, unit: str, description: str, confidence: str, **about: Any) -> Any:
    """Declare the size of a table, `...entries` or `...lines`, divided by the `...ways` of the same prefix: see `setting`."""
    return setting(default, unit, description, confidence, **{"ge": 1, "le": 1 << 24, **about})


def optional_size(default: int, unit: str, description: str, confidence: str, **about: Any) -> Any:
    """Declare a `size` that may be 0: the table then does not exist, whatever its ways."""
    return size(default, unit, description, confidence, **{"ge": 0, **about})


def associativity(default: int, confidence: str, **about: Any) -> Any:
    """Declare the `...ways` of the `...entries` or `...lines` of the same prefix: see `setting`."""
    return setting(default, "ways", "associativity", confidence, **{"ge": 1, **about})


def cost_ns(default: float | str, cost: str, description: str, confidence: str, **about: Any) -> Any:
    """Declare a cost in nanoseconds: see `setting`."""
    return setting(default, "ns", description, confidence, cost=cost, **about)


def cost_cycles(default: int | str, cost: str, description: str, confidence: str, **about: Any) -> Any:
    """Declare a cost in cycles: see `setting`."""
    return setting(default, "cycles", description, confidence, cost=cost, **about)


def cycles(value: int | float | str, unit: str, mhz: int) -> int:
    """Return a cost in cycles: ns are rounded once, half up, to at least 1; `free` is 0 (docs/model.md 13)."""
    if isinstance(value, str):
        return 0
    return max(1, math.floor(value * mhz / 1000 + 0.5)) if unit == "ns" else int(value)


def power_of_two(name: str, value: int) -> None:
    """Refuse a value that is not a power of two."""
    if value & (value - 1):
        raise SettingError(name, f"{value} is not a power of two")


class Section(BaseModel):
    """A group of settings; a field is a setting or another section.

    Every field named `...ways` belongs to the `...entries` or `...lines` of the same prefix: the ways divide their number,
    and the number of sets must be a power of two, since the set is taken from the low bits of an address. The ways of a
    table without entries have no effect.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    @model_validator(mode="after")
    def _sets(self) -> Self:
        for name in type(self).model_fields:
            if name == "ways" or name.endswith("_ways"):
                self._check_sets(name, name.removesuffix("ways"))
        return self

    def _check_sets(self, name: str, prefix: str) -> None:
        size = f"{prefix}entries" if f"{prefix}entries" in type(self).model_fields else f"{prefix}lines"
        ways, total = getattr(self, name), getattr(self, size)
        if total % ways:
            raise SettingError(name, f"{ways} does not divide {{}}{size} ({total})")
        sets = total // ways
        if sets & (sets - 1):
            raise SettingError(name, f"{ways} of {{}}{size} ({total}) make {sets} sets, not a power of two")


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum of costs that is better known than its parts.

    It holds for a machine whose own parts add up to something in its range: what was found on one machine says nothing of another one.

    Attributes
    ----------
    says : str
        What takes this time.
    parts, less : tuple of str
        The settings that it adds up, and those that it takes off; costs in ns, or in cycles of the machine's clock.
    low, high : float
        Its range, in ns.
    source : str
        Where the range is from.
    """

    says: str
    parts: tuple[str, ...]
    low: float
    high: float
    source: str
    less: tuple[str, ...] = ()


class DesignSpec(Section):
    """The base of a design's `Spec`: the design's sections, and the checks that need them."""

    SUMS: ClassVar[tuple[Sum, ...]] = ()
    """Sums of the design's own costs that are better known than these; a setting is a part of one sum at the most."""
    FORMER: ClassVar[Mapping[str, str]] = {}
    """Settings that were, and what is in their place."""

    def check(self, common: Any) -> None:
        """Raise `SettingError` if the common sections contradict this design's settings."""

    def check_engines(self, engines: int) -> None:
        """Raise `ConfigError` if a machine of this design can't have so many engines (device agents)."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The declaration of a setting, from its field."""

    default: Scalar
    unit: str
    source: str
    confidence: str
    low: Bound | None
    high: Bound | None
    cost: str | None
    description: str


def declared(section: type[Section], prefix: str = "") -> Iterator[tuple[str, Declared]]:
    """Yield dotted name and declaration of every setting, in the order of declaration."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from declared(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, _declared(field)


def _declared(field: FieldInfo) -> Declared:
    extra: Mapping[str, Any] = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return Declared(default=field.default, description=field.description or "", **extra)


def flat(section: Section, prefix: str = "") -> Iterator[tuple[str, Scalar]]:
    """Yield dotted name and value of every setting, in the order of declaration."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def nested(values: Mapping[str, Scalar]) -> dict[str, Any]:
    """Return dotted names as tables in tables, as pydantic and TOML expect them."""
    tables: dict[str, Any] = {}
    for dotted, value in values.items():
        *path, last = dotted.split(".")
        table = tables
        for step in path:
            table = table.setdefault(step, {})
        table[last] = value
    return tables
