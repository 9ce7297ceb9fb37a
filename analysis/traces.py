"""Workloads of an experiment: traces, names of traces, or functions that make one of parameters and a seed."""

import dataclasses
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import runs
from analysis.replicates import Replica
from hwmodel.machine import ConfigError, Machine

if TYPE_CHECKING:
    from hwmodel.trace import Trace

SEED = "seed"


@dataclass(frozen=True)
class Source:
    """Where the traces of a workload come from.

    Attributes
    ----------
    label : str
        The workload's name in the experiment.
    given : Trace or callable
        The trace, or a function that makes one.
    names : tuple of str
        The parameters of the function.
    any : bool
        Whether it takes parameters of any name.
    """

    label: str
    given: "Trace | Callable[..., Trace]"
    names: tuple[str, ...] = ()
    any: bool = False

    @property
    def made(self) -> bool:
        """Return whether a function makes its traces."""
        return callable(self.given)

    def takes(self, parameter: str) -> bool:
        """Return whether its function has a parameter of that name."""
        return self.any or parameter in self.names

    def used(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of an experiment's parameters that it takes."""
        return {name: value for name, value in parameters.items() if self.takes(name)} if self.made else {}

    def is_random(self, replica: Replica) -> bool:
        """Return whether another seed would give other traces than these: it takes the seed itself, or they are offloaded with it."""
        return (self.made and SEED in self.names) or replica.shared is not replica.plain

    def replicas(
        self, parameters: Mapping[str, Any], seeds: Iterable[int], machines: Iterable[Machine], stream: dict[str, Any]
    ) -> list[Replica]:
        """Return its traces for each seed: the same for all if nothing is random."""
        found: list[Replica] = []
        for seed in seeds:
            is_other = not found or self.is_random(found[0])
            found.append(self._replica(parameters, seed, machines, stream) if is_other else dataclasses.replace(found[0], seed=seed))
        return found

    def _replica(self, parameters: Mapping[str, Any], seed: int, machines: Iterable[Machine], stream: dict[str, Any]) -> Replica:
        seeded = self.made and SEED in self.names
        trace = self.given(**self.used(parameters), **({SEED: seed} if seeded else {})) if callable(self.given) else self.given
        return Replica(seed, *runs.offloaded(runs.trace_of(trace), machines, seed=seed, **stream))


def sources_of(given: Any) -> dict[str, Source]:
    """Return workloads by name: of a mapping, of an iterable, or of one alone.

    Raises
    ------
    ConfigError
        If there is none, or two have the same name.
    """
    from hwmodel.trace import Trace

    if isinstance(given, Mapping):
        pairs = [(str(name), workload) for name, workload in given.items()]
    else:
        alone = isinstance(given, Trace | str | os.PathLike) or callable(given) or not isinstance(given, Iterable)
        pairs = [(_name(workload), workload) for workload in ([given] if alone else given)]
    found = {label: _source(label, workload) for label, workload in pairs}
    if not found:
        raise ConfigError("workloads: there is none")
    if len(found) < len(pairs):
        raise ConfigError("workloads: two have the same name; give a dict with names of your own")
    return found


def _source(label: str, workload: Any) -> Source:
    if not callable(workload):
        return Source(label, runs.trace_of(workload))
    named = inspect.signature(workload).parameters.values()
    any_ = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in named)
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return Source(label, workload, tuple(parameter.name for parameter in named if parameter.kind in kinds), any_)


def _name(workload: Any) -> str:
    """Return the name that a workload has by itself."""
    if isinstance(workload, str | os.PathLike):
        return os.path.basename(os.fspath(workload))
    if callable(workload):
        function = getattr(workload, "func", workload)  # of functools.partial
        return str(getattr(function, "__name__", type(function).__name__))
    return runs.title_of(getattr(workload, "info", {}), getattr(workload, "name", "") or "trace")
