"""Machines and traces as users give them: the thing itself, or its name."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from hwmodel.config import ConfigError, files
from hwmodel.machine import Machine, load, preset
from hwmodel.op import TraceError
from hwmodel.trace import Trace

Opener = TypeVar("Opener", bound=Callable[..., Trace])
_openers: list[Callable[[str], Trace]] = []


def names_traces(opener: Opener) -> Opener:
    """Decorate the function that opens a trace by its name: `workloads` has it, which this package does not know."""
    _openers.append(opener)
    return opener


def is_shown(progress: bool | None) -> bool:
    """Return whether progress is shown: as somebody asked for, else if someone is watching, a terminal or a notebook."""
    return "ipykernel" in sys.modules or sys.stderr.isatty() if progress is None else progress


def machine_of(given: Any) -> Machine:
    """Return the machine that is given, or the preset or the file (.toml) of that name.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if isinstance(given, Machine):
        return given
    if isinstance(given, str | os.PathLike):
        name = os.fspath(given)
        return load(name) if files.is_own(name) else preset(name)
    raise ConfigError(f"machine: must be a Machine or the name of a preset, not {_told(given)}")


def machines_of(given: Any) -> dict[str, Machine]:
    """Return machines by the names they are shown under: of a mapping, of an iterable, or of one machine alone.

    Raises
    ------
    ConfigError
        If there is none, one is neither a machine nor a preset's name, or names repeat.
    """
    if isinstance(given, Mapping):
        named = {str(name): machine_of(machine) for name, machine in given.items()}
    else:
        alone = isinstance(given, Machine | str | os.PathLike | Trace) or not isinstance(given, Iterable)
        listed = [machine_of(machine) for machine in ([given] if alone else given)]
        named = {machine.name: machine for machine in listed}
        if len(named) < len(listed):
            raise ConfigError("machines: two have the same name; give a dict with names of your own")
    if not named:
        raise ConfigError("machines: there is none")
    return named


def trace_of(given: Any) -> Trace:
    """Return the trace that is given, or the shipped recording or the file of that name.

    Raises
    ------
    TraceError
        If it is neither, or a name is given and `workloads`, which knows the names, has not been imported.
    """
    if isinstance(given, Trace):
        return given
    if not isinstance(given, str | os.PathLike):
        raise TraceError(f"trace: must be a Trace or the name of a recording or file, not {_told(given)}")
    if not _openers:
        raise TraceError(f"trace: {os.fspath(given)!r} is a name, and traces have names once workloads is imported")
    return _openers[-1](os.fspath(given))


def _told(given: Any) -> str:
    """Return what was given, in a few words."""
    if isinstance(given, Machine):
        return f"the machine {given.name} (are the arguments swapped?)"
    if isinstance(given, Trace):
        return "a Trace (are the arguments swapped?)"
    return f"{type(given).__name__}"
