"""The terms of a comparison: on which primary MMU and which device machines are compared, and how a table says so."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from hwmodel.config import Scalar
from hwmodel.machine import DEVICE, PRIMARY, Machine

DEVICE_OF_NOBODY = "coprocessor"
"""The part with the device that machines are compared on by default."""


class Terms(NamedTuple):
    """The terms on which machines are compared.

    Parameters
    ----------
    same_primary : str or Machine, optional
        Whose clock, CPUs, memory and kernel every machine gets: one of the machines by the name it is shown under, a preset,
        a part of presets, a file. By default the first machine's.
    same_device : str or Machine, optional
        Whose device every machine gets, if its design has that section; in the same way. By default the coprocessor's.
    as_built : bool
        Keep each machine's own of both, where no name is given.
    settings : mapping of str to value
        What every machine gets that has such a setting, whatever the rest says; by dotted name.
    """

    same_primary: str | Machine | None = None
    same_device: str | Machine | None = None
    as_built: bool = False
    settings: Mapping[str, Scalar] = MappingProxyType({})


EQUAL = Terms()
"""The terms by default: the first machine's primary MMU, and the device that belongs to no design."""


def on_equal_terms(machines: dict[str, Machine], terms: Terms) -> tuple[dict[str, Machine], list[str]]:
    """Return the machines on equal terms, and notes for people. What the user has set on a machine (letter U) stays.

    Raises
    ------
    ConfigError
        If a name is unknown, or names something without such settings; if no machine has one of the settings, or it is out of range.
    """
    primary = terms.same_primary or (None if terms.as_built else next(iter(machines)))
    device = terms.same_device or (None if terms.as_built else DEVICE_OF_NOBODY)
    if primary is not None:
        base = _looked_up(primary, machines)
        chosen = {name: _kept(machine, machine.same_primary(base), PRIMARY) for name, machine in machines.items()}
    else:
        base, chosen = "", machines
    chosen = _set(chosen, terms.settings)
    notes = [f"Clock, CPUs, memory and kernel of {_named(base)} on every machine." if base else "Clock, CPUs, memory and kernel: as built."]
    if device is None:
        return chosen, [*notes, *_devices(chosen, "as built")]
    other = _looked_up(device, machines)
    with_one = {name: _kept(machine, machine.same_device(other), DEVICE) for name, machine in chosen.items() if machine.has_device}
    chosen = _set({**chosen, **with_one}, terms.settings)
    return chosen, [*notes, *_devices(chosen, _named(other))]


def shown_device(machine: Machine) -> str:
    """Return a device in a few words: accesses in flight, latency, interval, in the order of their importance."""
    device = machine.get("device")
    return f"{device.window} in flight, {device.latency_ns} ns to data, an issue every {device.interval_ns} ns"


def _set(machines: dict[str, Machine], settings: Mapping[str, Scalar]) -> dict[str, Machine]:
    """Return the machines with the settings that they have."""
    for name, value in settings.items():
        having = [key for key, machine in machines.items() if name in machine.flat()]
        if not having:
            next(iter(machines.values())).with_(**{name: value})  # raises, and suggests the closest setting
        machines = {key: m.with_(**{name: value}) if key in having else m for key, m in machines.items()}
    return machines


def _looked_up(given: str | Machine, machines: dict[str, Machine]) -> str | Machine:
    return machines.get(given, given) if isinstance(given, str) else given


def _named(given: str | Machine) -> str:
    return given if isinstance(given, str) else given.name


def _kept(before: Machine, after: Machine, prefixes: tuple[str, ...]) -> Machine:
    """Return `after` with what the user has set on `before`."""
    own = {name: about.value for name, about in before.provenance().items() if about.confidence == "U" and name.startswith(prefixes)}
    changed = {name: value for name, value in own.items() if after.get(name) != value}
    return after.with_(**changed) if changed else after


def _devices(machines: dict[str, Machine], whose: str) -> list[str]:
    """Return a sentence for each device that there is, and one for machines whose device is a part of their design."""
    groups: dict[str, list[str]] = {}
    for name, machine in machines.items():
        if machine.has_engines:
            groups.setdefault(shown_device(machine) if machine.has_device else "", []).append(name)
    apart = groups.pop("", [])
    several = len(groups) > 1
    notes = [f"Device{' of ' + ', '.join(names) if several else ''}: {whose} ({told})." for told, names in groups.items()]
    return notes + ([f"Device of {', '.join(apart)}: its design's own, which no setting describes."] if apart else [])
