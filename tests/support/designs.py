"""The designs, found by looking: what tests are parametrised over. A file in `hwmodel/secondary` and a preset are enough."""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, get_args, get_origin

import pytest

from hwmodel import machine as machines
from hwmodel import secondary
from hwmodel.build import build
from hwmodel.machine import Machine
from hwmodel.op import Agent


@dataclass(frozen=True)
class Design:
    """One design.

    Parameters
    ----------
    name : str
        Its file in `hwmodel/secondary`.
    module : module
        What is in it.
    machines : tuple of Machine
        The presets whose design it is.
    """

    name: str
    module: ModuleType
    machines: tuple[Machine, ...]

    @property
    def machine(self) -> Machine:
        """Its first preset."""
        assert self.machines, f"no preset has the design {self.name}: add one to hwmodel/config/presets"
        return self.machines[0]

    @property
    def has_engines(self) -> bool:
        """Can anything but CPUs have agents?"""
        return self.machine.has_engines

    @property
    def subscribes(self) -> bool:
        """Do its engines' address spaces get notices?"""
        m, _, _ = build(self.machine, self.module, (Agent("cpu", 0, "cpu"), Agent("device", 0, "device")))
        return bool(m.spaces["subscribers"].any())

    @property
    def second_role(self) -> str:
        """Who a CPU shares pages with: a device, or another CPU where the design has no engines."""
        return "device" if self.has_engines else "cpu"


def words(name: str) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Each setting of a design that is a word, or true or false, with its values; what the sections of all designs have is none of it."""
    for section, field in design(name).module.Spec.model_fields.items():
        for setting, about in getattr(field.annotation, "model_fields", {}).items():
            if get_origin(about.annotation) is Literal or about.annotation is bool:
                yield f"{section}.{setting}", (False, True) if about.annotation is bool else get_args(about.annotation)


_tried: dict[str, Design] = {}
"""Designs on trial, which are not in `hwmodel/secondary`."""


def names() -> tuple[str, ...]:
    """The designs of `hwmodel/secondary`."""
    return tuple(name for name in secondary.names() if name not in _tried)


def with_engines() -> tuple[str, ...]:
    """Those that have engines."""
    return tuple(name for name in names() if design(name).has_engines)


def that_subscribe() -> tuple[str, ...]:
    """Those that ask for notices."""
    return tuple(name for name in with_engines() if design(name).subscribes)


def design(name: str) -> Design:
    """The design of this name."""
    return _tried[name] if name in _tried else _of_the_house(name)


@functools.cache
def _of_the_house(name: str) -> Design:
    all_of_them = (machines.preset(preset) for preset in machines.presets())
    return Design(name, secondary.design(name), tuple(machine for machine in all_of_them if machine.design == name))


@contextlib.contextmanager
def on_trial(folder: str, name: str, machine_file: str) -> Iterator[Design]:
    """A design in another folder than `hwmodel/secondary`, and a machine of it: meanwhile it is like one of the house."""
    secondary.__path__.append(folder)
    try:
        _tried[name] = Design(name, secondary.design(name), (machines.load(machine_file),))
        yield _tried[name]
    finally:
        _tried.pop(name, None)
        secondary.__path__.remove(folder)


def those_with_a_twin() -> list[object]:
    """Every design as a parameter; those that the oracle does not have are skipped, which says so."""
    from tests import reference

    reason = "the oracle has no twin of {}: write it into tests/reference (a Twin), from a section of docs/model.md"
    return [name if name in reference.TWINS else pytest.param(name, marks=pytest.mark.skip(reason=reason.format(name))) for name in names()]
