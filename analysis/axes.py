"""Axes of an experiment: what is varied, and its points: products, zips, lists of points, samples of a range."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwmodel.config.errors import suggestion
from hwmodel.machine import ConfigError, Machine

WORKLOAD = "workload."
"""The beginning of an axis that is a parameter of the workload."""


@dataclass(frozen=True)
class Axes:
    """What an experiment varies.

    Attributes
    ----------
    names : tuple of str
        The axes: ``"tlb.entries"`` of all machines that have it, ``"GRU:tlb.entries"`` of one machine, ``"workload.pages"``.
    points : tuple of dict
        A value for each axis, by its name.
    product : bool
        Whether the points are all combinations of the axes' values, each once, so that each axis is a dimension of its own.
    """

    names: tuple[str, ...]
    points: tuple[dict[str, Any], ...]
    product: bool

    def settings(self, point: Mapping[str, Any], label: str, machine: Machine) -> dict[str, Any]:
        """Return the settings that a point gives a machine, by its name in the experiment; an axis of its own comes before one of all."""
        known = machine.flat()
        for_all = {name: point[name] for name in self.names if name in known}
        return for_all | {setting: point[name] for name in self.names for owner, setting in [_split(name)] if owner == label}

    def parameters(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters that a point gives workloads."""
        return {name.removeprefix(WORKLOAD): point[name] for name in self.names if name.startswith(WORKLOAD)}


def axes_of(over: Any) -> Axes:
    """Return axes and points.

    Parameters
    ----------
    over : mapping, iterable of mappings, DataFrame or None
        Lists of values by axis: their product, in which a tuple of axes has tuples of values and is one (a zip). Or points, each a value
        for each axis: dicts, or the rows of a frame. None: one point without axes.

    Raises
    ------
    ConfigError
        If there is no axis, no value or no point; or points have different axes.
    """
    if over is None:
        return Axes((), ({},), True)
    if isinstance(over, Mapping):
        return _product(over)
    if hasattr(over, "columns") and hasattr(over, "to_dict"):
        rows = [{str(name): _whole(value) for name, value in row.items()} for row in over.to_dict("records")]
        return _listed(rows)
    if isinstance(over, str) or not isinstance(over, Iterable):
        raise ConfigError(f"over: must be lists of values by axis, or a list of points, not {over!r}")
    return _listed(list(over))


def check_axes(axes: Axes, machines: Mapping[str, Machine], takes: Iterable[Callable[[str], bool]], parameters: Iterable[str]) -> None:
    """Refuse an axis that no machine and no workload has.

    Parameters
    ----------
    axes : Axes
        The axes.
    machines : mapping of str to Machine
        By their names in the experiment.
    takes : iterable of callable
        Of each workload that is a function: whether it takes a parameter of that name.
    parameters : iterable of str
        Their parameters, for the message.
    """
    takes = list(takes)
    for name in axes.names:
        owner, setting = _split(name)
        if name.startswith(WORKLOAD):
            _check_parameter(name, takes, parameters)
        elif owner is not None:
            if owner not in machines:
                raise ConfigError(f"{name}: there is no machine {owner}{suggestion(owner, machines)}")
            _check_setting(name, setting, {owner: machines[owner]})
        else:
            _check_setting(name, name, machines)


def identity(values: Iterable[Any]) -> tuple[Any, ...]:
    """Return what tells values apart: type and value; of one that has no hash, which object it is."""
    return tuple((type(value), value) if _has_hash(value) else id(value) for value in values)


def lacking(axes: Axes, machines: Mapping[str, Machine]) -> list[str]:
    """Return a sentence for each axis of all machines that some of them do not have."""
    found = []
    for name in axes.names:
        without = [label for label, machine in machines.items() if name not in machine.flat()]
        if _split(name)[0] is None and not name.startswith(WORKLOAD) and without:
            found.append(f"{', '.join(without)} has no {name}: one and the same run stands at each of its values.")
    return found


def latin_hypercube(ranges: Mapping[str, tuple[Any, Any]], samples: int, seed: int = 0, log: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Return points that cover ranges evenly, axis by axis: a Latin hypercube, for `over` of `experiment`.

    Parameters
    ----------
    ranges : mapping of str to (low, high)
        By axis. Two whole numbers give whole numbers, both ends included.
    samples : int
        The number of points.
    seed : int
        Of the sample: the same seed gives the same points.
    log : iterable of str
        The axes whose logarithm is covered evenly.
    """
    return _scaled(ranges, samples, log, lambda qmc: qmc.LatinHypercube(len(ranges), rng=seed).random(samples))


def sobol(ranges: Mapping[str, tuple[Any, Any]], samples: int, seed: int = 0, log: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Return points that cover a space of ranges evenly: a scrambled Sobol sequence; the parameters are those of `latin_hypercube`.

    The number of samples is a power of two, without which the sequence is not balanced.
    """
    if samples < 1 or samples & (samples - 1):
        raise ConfigError(f"samples: of a Sobol sequence must be a power of two, not {samples}")
    return _scaled(ranges, samples, log, lambda qmc: qmc.Sobol(len(ranges), rng=seed).random(samples))


def _scaled(
    ranges: Mapping[str, tuple[Any, Any]], samples: int, log: Iterable[str], draw: Callable[[Any], np.ndarray]
) -> list[dict[str, Any]]:
    """Return points of which `draw` gives the places in the unit cube."""
    log = [log] if isinstance(log, str) else list(log)
    for name in log:
        if name not in ranges:
            raise ConfigError(f"log: {name} is no axis{suggestion(name, ranges)}")
    if not ranges or samples < 1:
        raise ConfigError("ranges: there is no axis to sample" if not ranges else f"samples: must be at least 1, not {samples}")
    for name, (low, high) in ranges.items():
        if not low < high or (name in log and low <= 0):
            raise ConfigError(f"{name}: {low} to {high} is no range{' of a logarithm' if name in log else ''}")
    from scipy.stats import qmc

    columns = {name: _values(unit, *ranges[name], name in log) for name, unit in zip(ranges, draw(qmc).T, strict=True)}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(unit: np.ndarray, low: Any, high: Any, log: bool) -> list[Any]:
    """Return what numbers in [0, 1) are in a range."""
    whole = all(isinstance(end, int | np.integer) for end in (low, high))
    first, last = (low, high + 1) if whole else (low, high)
    scaled = np.exp(math.log(first) + unit * math.log(last / first)) if log else first + unit * (last - first)
    return [min(int(value), high) for value in scaled] if whole else [float(value) for value in scaled]


def _product(over: Mapping[Any, Iterable[Any]]) -> Axes:
    if not over:
        raise ConfigError("over: there is no axis")
    lists = []
    for names, given in over.items():
        values = _values_of(names, given)
        lists.append([_point(names, value) for value in values] if isinstance(names, tuple) else [{names: value} for value in values])
    names = [name for part in lists for name in part[0]]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{name}: is an axis twice")
    points = tuple({name: value for part in parts for name, value in part.items()} for parts in itertools.product(*lists))
    alone = all(len({identity(part.values()) for part in values}) == len(values) for values in lists)
    return Axes(tuple(names), points, alone and not any(isinstance(names, tuple) for names in over))


def _values_of(names: Any, given: Any) -> list[Any]:
    told = ", ".join(names) if isinstance(names, tuple) else names
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"{told}: a sweep needs a list of values, not {given!r}")
    values = [value.item() if isinstance(value, np.generic) else value for value in given]
    if not values:
        raise ConfigError(f"{told}: there is no value to sweep")
    return values


def _point(names: tuple[str, ...], values: Any) -> dict[str, Any]:
    """Return a point of several axes that go together."""
    if isinstance(values, str) or not isinstance(values, Iterable) or len(values := list(values)) != len(names):
        raise ConfigError(f"{', '.join(names)}: these {len(names)} axes go together, and {values!r} has no value for each")
    return dict(zip(names, values, strict=True))


def _listed(points: list[Any]) -> Axes:
    if not points:
        raise ConfigError("over: there is no point")
    for point in points:
        if not isinstance(point, Mapping):
            raise ConfigError(f"over: a point must be a value by axis, not {point!r}")
        if point.keys() != points[0].keys() or not point:
            raise ConfigError(f"over: one point has the axes {', '.join(points[0]) or '(none)'}, another {', '.join(point) or '(none)'}")
    return Axes(tuple(points[0]), tuple(dict(point) for point in points), False)


def _whole(value: Any) -> Any:
    """Return a value of a frame: a column of whole numbers may have been made one of floats."""
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _has_hash(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _split(name: str) -> tuple[str | None, str]:
    """Return the machine that an axis is of, None for all, and its setting."""
    owner, colon, setting = name.rpartition(":")
    return (owner, setting) if colon else (None, name)


def _check_setting(name: str, setting: str, machines: Mapping[str, Machine]) -> None:
    if any(setting in machine.flat() for machine in machines.values()):
        return
    if len(machines) == 1:
        for machine in machines.values():
            machine.with_(**{setting: 0})  # refuses it in the words of its design
    known = {other for machine in machines.values() for other in machine.flat()}
    raise ConfigError(f"{name}: no machine has such a setting{suggestion(setting, sorted(known))}")


def _check_parameter(name: str, takes: list[Callable[[str], bool]], parameters: Iterable[str]) -> None:
    parameter = name.removeprefix(WORKLOAD)
    if not takes:
        raise ConfigError(f"{name}: no workload has parameters; give a function that makes a trace of them, as workloads.zipf")
    if not any(taken(parameter) for taken in takes):
        known = sorted(parameters)
        raise ConfigError(f"{name}: no workload has such a parameter{suggestion(parameter, known) or '; they have ' + ', '.join(known)}")
