"""Brackets around the settings at which the cheaper of two machines changes, and their bisection over what the machines accept."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from analysis.axes import Axes
from analysis.tables import cell
from hwmodel.machine import ConfigError, Machine
from hwmodel.op import TraceError

WIDE = 16
"""From this ratio of its ends on a bracket of floats is halved by its logarithm, if both are above 0."""
TRIES = 1 << 17
"""Most whole numbers that are tried to find one between two that the machines accept."""


class Bracket(NamedTuple):
    """Two neighbouring settings on the first axis, with the other machine cheaper at each, and the values on the other axes.

    Attributes
    ----------
    others : tuple
        The values on the other axes.
    below, above : int or float
        The settings.
    sign : int
        At `below`: -1 if the first machine is cheaper there, 1 if the second is.
    reason : str
        Why it could not be made narrower; empty if it is as narrow as was asked for.
    done : bool
        Whether nothing is left to do.
    """

    others: tuple[Any, ...]
    below: Any
    above: Any
    sign: int
    reason: str = ""
    done: bool = False


def found_in(rows: Sequence[Mapping[str, Any]], axes: Axes) -> list[Bracket]:
    """Return two neighbours for each change along the first axis; points that are undecided or equal in between are left out."""
    first, *others = axes.names
    last: dict[tuple[Any, ...], tuple[Any, int]] = {}
    found = []
    for row in sorted(rows, key=lambda one: one[first]):
        sign, key = _sign(row), tuple(row[name] for name in others)
        if not sign:
            continue
        before = last.get(key)
        if before and before[1] != sign:
            found.append(Bracket(key, before[0], row[first], before[1]))
        last[key] = row[first], sign
    return sorted(found, key=lambda one: (_place(one.others, axes), one.below))


def narrowed(
    brackets: list[Bracket], axes: Axes, machines: Mapping[str, Machine], tolerance: float, run: Callable[[list[dict[str, Any]]], Any]
) -> list[Bracket]:
    """Return the brackets, each as narrow as can be; all that are open are halved together, so that runs go side by side."""
    while any(not one.done for one in brackets):
        middles = {number: _middle(one, axes, machines, tolerance) for number, one in enumerate(brackets) if not one.done}
        brackets = [_ended(one) if middles.get(number, 0) is None else one for number, one in enumerate(brackets)]
        asked = {number: _point(brackets[number].others, middle, axes) for number, middle in middles.items() if middle is not None}
        if not asked:
            continue
        try:
            rows = dict(zip(asked, run(list(asked.values())), strict=True))
        except (ConfigError, TraceError) as error:  # a parameter of the workload that has limits of its own
            brackets = [one._replace(done=True, reason=str(error)) if number in asked else one for number, one in enumerate(brackets)]
            continue
        brackets = [_halved(one, rows[number], axes.names[0]) if number in rows else one for number, one in enumerate(brackets)]
    return brackets


def written(value: Any) -> str:
    """Return a setting as people write it."""
    value = value.item() if isinstance(value, np.generic) else value
    return cell(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _sign(row: Mapping[str, Any]) -> int:
    """Return -1 where the first machine is cheaper, 1 where the second one is, 0 where neither is known to be."""
    return -1 if row["high"] < 0 else int(row["low"] > 0)


def _place(others: tuple[Any, ...], axes: Axes) -> int:
    """Return where the values of the other axes first stand in the grid."""
    return next(place for place, point in enumerate(axes.points) if tuple(point[name] for name in axes.names[1:]) == others)


def _ended(one: Bracket) -> Bracket:
    """Return a bracket that has no middle, with the reason if that is not for sure."""
    untried = isinstance(one.below, int) and isinstance(one.above, int) and one.above - one.below > TRIES
    return one._replace(done=True, reason=f"of the whole numbers between only {TRIES:,} were tried" if untried else "")


def _halved(one: Bracket, row: Mapping[str, Any], axis: str) -> Bracket:
    """Return the half of a bracket in which the change is; a middle at which neither machine is known to be cheaper ends the search."""
    sign = _sign(row)
    if not sign:
        return one._replace(done=True, reason=f"{row['cheaper']} at {written(row[axis])}")
    return one._replace(below=row[axis]) if sign == one.sign else one._replace(above=row[axis])


def _middle(one: Bracket, axes: Axes, machines: Mapping[str, Machine], tolerance: float) -> Any:
    """Return the setting that halves a bracket, one that the machines accept; None if there is none, or the bracket is narrow enough."""
    low, high = one.below, one.above
    if isinstance(low, int) and isinstance(high, int):
        return _whole_middle(one, axes, machines)
    if high - low <= tolerance * max(abs(low), abs(high)):
        return None
    return math.sqrt(low * high) if low > 0 and high / low >= WIDE else (low + high) / 2


def _whole_middle(one: Bracket, axes: Axes, machines: Mapping[str, Machine]) -> int | None:
    """Return the accepted whole number nearest to the middle, by the logarithm if the ends are far apart."""
    low, high = one.below, one.above
    centre = math.isqrt(low * high) if low > 0 and high / low >= WIDE else (low + high) // 2
    near = [low << shift for shift in range(1, 64) if 0 < low << shift < high] if low > 0 else []  # sizes are mostly doubled
    doubled = sorted(near, key=lambda value: abs(value - centre))
    for value in (*doubled, *_outward(low, high, centre)):
        if _is_accepted(_point(one.others, value, axes), axes, machines):
            return value
    return None


def _outward(low: int, high: int, centre: int) -> Iterable[int]:
    """Yield the whole numbers between two others, those nearest to a centre first, at most `TRIES`."""
    for step in range(min(high - low, TRIES // 2)):
        yield from (value for value in dict.fromkeys((centre - step, centre + step)) if low < value < high)


def _is_accepted(point: Mapping[str, Any], axes: Axes, machines: Mapping[str, Machine]) -> bool:
    """Return whether every machine accepts the settings of a point."""
    try:
        for label, machine in machines.items():
            machine.with_(**axes.settings(point, label, machine))
    except ConfigError:
        return False
    return True


def _point(others: tuple[Any, ...], value: Any, axes: Axes) -> dict[str, Any]:
    return dict(zip(axes.names, (value, *others), strict=True))
