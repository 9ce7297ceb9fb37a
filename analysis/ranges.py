"""Ranges of settings: which are uncertain, from where to where, and what a place in a range is; the basis of draws and tornadoes.

Uncertain are times (unit ns or cycles) and the lines of a cache that page tables have (unit lines): costs that somebody would have to
measure. Sizes, counts, ways, windows, words and the clock are what a machine is: a design choice is no uncertainty, and is swept instead.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwmodel.config import FREE, Sum
from hwmodel.machine import ConfigError, Machine, Provenance

UNITS = ("ns", "cycles", "lines")
"""The units of what is uncertain."""
FACTORS = {"V": 1.10, "S": 1.25, "M": 1.5, "E": 2.0}
"""How far a value without a published range may be off, by its letter; what a user has set (U) is not drawn."""
ADDED = "VS"
"""The letters of which the factor's hundredths go up and down alike (+-10 %, +-25 %); the others' times the value and over it."""
LARGE = 3.0
"""From this ratio of its ends on a range is covered evenly by its logarithm, if both are above 0."""
LEAST = 0.5
"""Cycles: what takes less is free."""


@dataclass(frozen=True)
class Range:
    """The range of a setting of a machine.

    Attributes
    ----------
    setting, unit, letter : str
        Its dotted name; its unit; the letter of its confidence.
    value, low, high : float
        The machine's value and the ends, a cost of nothing as 0.
    published : bool
        Whether the ends are those of the setting's source; if not they follow from the letter.
    mhz : int
        The clock of the machine.
    """

    setting: str
    unit: str
    letter: str
    value: float
    low: float
    high: float
    published: bool
    mhz: int

    @property
    def log(self) -> bool:
        """Return whether the logarithm is covered evenly, not the number."""
        by_factor = not self.published and self.letter not in ADDED
        return self.low > 0 and (by_factor or self.high / self.low >= LARGE)

    def number(self, place: float) -> float:
        """Return the number at a place in [0, 1], before it is made one that the setting accepts."""
        if self.log:
            return self.low * (self.high / self.low) ** place
        return self.low + place * (self.high - self.low)

    def at(self, place: float) -> Any:
        """Return the value at a place in [0, 1], as the setting accepts it."""
        return self.accepted(self.number(place))

    def accepted(self, number: float) -> Any:
        """Return the nearest value that the setting accepts: less than half a cycle is free, lines keep a power of two of sets."""
        if self.unit == "lines":
            return int(self.value * 2.0 ** round(math.log2(number / self.value)))
        if self.cycles(number) < LEAST:
            return FREE
        return max(1, round(number)) if self.unit == "cycles" else number

    def cycles(self, number: float) -> float:
        """Return a cost in cycles of the clock."""
        return number * self.mhz / 1000 if self.unit == "ns" else number

    @property
    def told(self) -> str:
        """Return where the ends are from, and how the range is covered."""
        how = "evenly by its logarithm" if self.log else "evenly"
        if self.published:
            return f"published range, {how}"
        factor = FACTORS[self.letter]
        return f"letter {self.letter}: {f'+-{100 * factor - 100:.0f} %' if self.letter in ADDED else f'times or over {factor:g}'}, {how}"


@dataclass(frozen=True)
class Quantity:
    """What is uncertain in one or several machines: a setting, or a sum of some whose parts keep their proportions.

    Attributes
    ----------
    name : str
        The setting, or the sum in words; with its machines before it if other machines have another value.
    owners : tuple of str
        The machines that share it: its value is the same in them, so it is drawn once for all.
    ranges : tuple of Range
        The setting's, or those of the parts.
    sum : Range or None
        The sum's own range.
    less : tuple of Range
        What a sum takes off.
    """

    name: str
    owners: tuple[str, ...]
    ranges: tuple[Range, ...]
    sum: Range | None = None
    less: tuple[Range, ...] = ()

    @property
    def range(self) -> Range:
        """Return the range of the setting, or of the sum."""
        return self.sum or self.ranges[0]

    def at(self, place: float, parts: Sequence[float] | None = None, less: Mapping[str, float] | None = None) -> dict[str, Any]:
        """Return values by setting, at a place in [0, 1] of the range.

        Parameters
        ----------
        place : float
            Of the setting, or of the sum.
        parts : sequence of float, optional
            Places of the parts, whose proportions a sum keeps; by default those of the machine's values.
        less : mapping of str to float, optional
            Numbers of the settings that a sum takes off; by default the machine's values.
        """
        if self.sum is None:
            return {self.ranges[0].setting: self.ranges[0].at(place)}
        numbers = [one.value if parts is None else one.number(parts[i]) for i, one in enumerate(self.ranges)]
        taken = sum(_ns(one, (less or {}).get(one.setting, one.value)) for one in self.less)
        scale = (self.sum.number(place) + taken) / sum(map(_ns, self.ranges, numbers))
        return {one.setting: one.accepted(number * scale) for one, number in zip(self.ranges, numbers, strict=True)}


def ranges(machine: Machine) -> dict[str, Range]:
    """Return the range of every setting of a machine that is uncertain, by its name; what the user has set is none of them."""
    mhz = machine.get("clock.mhz")
    found = {name: _range(name, about, mhz) for name, about in machine.provenance().items() if _is_uncertain(about)}
    return {name: one for name, one in found.items() if one.low < one.high}


def quantities(machines: Mapping[str, Machine], keep: Iterable[str] = ()) -> list[Quantity]:
    """Return what is uncertain in some machines, each once; a part of a sum that holds is none by itself.

    Parameters
    ----------
    machines : mapping of str to Machine
        By their names.
    keep : iterable of str
        Settings that are not to vary; a sum of which one is a part does not either.

    Raises
    ------
    ConfigError
        If nothing is uncertain, or no machine has a setting that is to be kept.
    """
    kept = list(keep)
    for name in kept:
        if not any(name in machine.flat() for machine in machines.values()):
            next(iter(machines.values())).get(name)  # raises, and suggests the closest one
            raise ConfigError(f"keep: {name} is a section, not a setting")
    owners: dict[tuple[Any, ...], list[str]] = {}
    found: dict[tuple[Any, ...], Quantity] = {}
    for label, machine in machines.items():
        for quantity in _of(machine, kept):
            key = (quantity.name, quantity.less, *((one.setting, one.value) for one in quantity.ranges))
            found.setdefault(key, quantity)
            owners.setdefault(key, []).append(label)
    if not found:
        raise ConfigError("machines: nothing of them is uncertain, for the user has set every cost")
    names = [quantity.name for quantity in found.values()]
    return [
        Quantity(
            quantity.name if names.count(quantity.name) == 1 else f"{', '.join(owners[key])}: {quantity.name}",
            tuple(owners[key]), quantity.ranges, quantity.sum, quantity.less,
        )
        for key, quantity in found.items()
    ]  # fmt: skip


def setting_of(owner: str, setting: str) -> str:
    """Return the axis of an experiment that is one machine's setting."""
    return f"{owner}:{setting}"


def _of(machine: Machine, kept: list[str]) -> list[Quantity]:
    known = {name: one for name, one in ranges(machine).items() if name not in kept}
    found, parts = [], set[str]()
    for one in machine.sums():
        quantity = _sum(one, machine, known)
        if quantity is not None:
            found.append(quantity)
            parts |= {part.setting for part in quantity.ranges}
    return [Quantity(name, (), (one,)) for name, one in known.items() if name not in parts] + found


def _sum(one: Sum, machine: Machine, known: Mapping[str, Range]) -> Quantity | None:
    """Return a sum of a machine as a quantity, None if it does not hold: a part is set by the user, or the machine's own is another one."""
    if not all(part in known for part in one.parts):
        return None
    mhz, about = machine.get("clock.mhz"), machine.provenance()
    parts = tuple(known[part] for part in one.parts)
    less = tuple(known.get(name) or _range(name, about[name], mhz) for name in one.less)
    value = sum(_ns(part, part.value) for part in parts) - sum(_ns(part, part.value) for part in less)
    if not one.low <= value <= one.high:
        return None
    worst = max((part.letter for part in parts), key="VSME".index)
    return Quantity(one.says, (), parts, Range(one.says, "ns", worst, value, one.low, one.high, True, mhz), less)


def _is_uncertain(about: Provenance) -> bool:
    return about.unit in UNITS and about.confidence in FACTORS


def _range(name: str, about: Provenance, mhz: int) -> Range:
    value = _plain(about.value)
    factor = FACTORS.get(about.confidence, 1.0)
    least = value * (2 - factor) if about.confidence in ADDED else value / factor
    low = least if about.low is None else _plain(about.low)
    high = value * factor if about.high is None else _plain(about.high)
    published = about.low is not None or about.high is not None
    return Range(name, about.unit, about.confidence, value, low, high, published, mhz)


def _plain(value: Any) -> float:
    """Return a cost as a number."""
    return 0.0 if value == FREE else float(value)


def _ns(one: Range, number: float) -> float:
    return one.cycles(number) * 1000 / one.mhz
