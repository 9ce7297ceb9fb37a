"""The parameters that generators share: their defaults, checks and documentation, and the agents that they stand for."""

import functools
import inspect
import numbers
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin

import numpy as np

from hwmodel import op

BASE = 0x10_0000_0000
"""Address of the region of every synthetic workload."""
REGION = (op.USER_END - BASE) >> op.PAGE_SHIFT
"""Pages that user memory has from there on."""
MOST_PAGES = 1 << 28
"""Most pages of a region: per-page state stays within memory, and every count within its 31 bits."""

AGENTS = """cpus, devices : int
    Agents, of one address space: CPUs first, then devices. If there are devices, they alone access memory."""
ENTRIES = {
    "accesses": "accesses : int\n    Over all agents that access memory, dealt out in turn; a record each.",
    "pages": "pages : int\n    Size of the region in pages of 4 KiB; mapped from the start, anonymous, writable.",
    "writes": "writes : float\n    Part of the accesses that are writes, in [0, 1].",
    "cpus": AGENTS,
    "devices": AGENTS,
    "grain": "grain : int\n    Consecutive items of work that go to one agent; they take turns.",
    "seed": "seed : int\n    The same seed gives the same trace.",
}
"""What the documentation of a generator says of these parameters, unless it describes one itself."""
RETURNS = "Returns\n-------\nTrace\n    Lazy, in constant memory."
RAISES = "Raises\n------\nTraceError\n    If an argument is out of range; names it."

Natural = Annotated[int, 0]
Positive = Annotated[int, 1]
Count = Annotated[int, 1, op.MOST_COUNT]
NotNegative = Annotated[float, 0]
Share = Annotated[float, 0, 1]
"""Types of parameters with their bounds, which `workload` checks: the least value and, if there is one, the largest."""

Made = TypeVar("Made")


class Common(NamedTuple):
    """The arguments that generators share, checked, and their usual defaults; None if a generator does not have the parameter."""

    info: dict[str, Any]
    """The generator's name as "program", and all its arguments."""
    accesses: int = 1_000_000
    pages: int = 65_536
    writes: float = 0.3
    cpus: int = 1
    devices: int = 0
    grain: int = None  # type: ignore[assignment]  # of programs only
    seed: int = 0

    @property
    def agents(self) -> list[op.Agent]:
        """Return the CPUs, then the devices, all of address space 0."""
        return make_agents(self.cpus, self.devices)

    @property
    def users(self) -> np.ndarray:
        """Return the agents that access memory: the devices, or the CPUs if there are none."""
        numbers = np.arange(len(self.agents))
        return numbers[self.cpus :] if self.devices else numbers

    @property
    def described(self) -> dict[str, Any]:
        """Return `info` without the numbers of agents, which a trace lists itself."""
        return {name: value for name, value in self.info.items() if name not in ("cpus", "devices")}


def workload(most: int = REGION, **usual: Any) -> Callable[[Callable[..., Made]], Callable[..., Made]]:
    """Return a decorator: the generator takes the shared parameters as one `Common`, those who call it give them one by one.

    In its signature `accesses` and `pages` stand before the parameters that it declares, the others behind them. Its docstring describes
    the declared ones, and any other of which there is more to say than `ENTRIES` does. Arguments are checked: the shared ones, and those
    that are choices (Literal) or have bounds in their annotation (Annotated), which those who call it do not see.

    Parameters
    ----------
    most : int
        Most pages.
    **usual
        Defaults different from those of `Common`; None: the generator does not have this parameter, or declares it among its own,
        in a place of its own, and checks it.
    """
    defaults = {name: value for name, value in (Common._field_defaults | usual).items() if value is not None}
    shared = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=value, annotation=Common.__annotations__[name])
              for name, value in defaults.items()]  # fmt: skip
    front = [parameter for parameter in shared if parameter.name in ("accesses", "pages")]

    def decorate(function: Callable[..., Made]) -> Callable[..., Made]:
        taken = inspect.signature(function)
        own = list(taken.parameters.values())[1:]
        shown = [parameter.replace(annotation=_kind_and_bounds(parameter)[0]) for parameter in own]
        signature = taken.replace(parameters=[*front, *shown, *shared[len(front) :]])

        @functools.wraps(function)
        def generate(*given: Any, **named: Any) -> Made:
            try:
                bound = signature.bind(*given, **named)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            bound.apply_defaults()
            values: dict[str, Any] = dict.fromkeys(Common._field_defaults) | {name: bound.arguments[name] for name in defaults}
            common = Common({"program": function.__name__} | bound.arguments, **values)
            _check(common, most)
            for parameter in own:
                _check_own(parameter, bound.arguments[parameter.name])
            return function(common, **{parameter.name: bound.arguments[parameter.name] for parameter in own})

        generate.__signature__ = signature  # type: ignore[attr-defined]
        generate.__doc__ = _documented(function.__doc__ or "", signature.parameters)
        return generate

    return decorate


def make_agents(cpus: int, devices: int) -> list[op.Agent]:
    """Return the CPUs, then the devices, all of address space 0."""
    check_range("cpus", cpus, 1)
    check_range("devices", devices, 0)
    check_range("cpus + devices", cpus + devices, 1, op.AGENTS)
    names = [("cpu", i) for i in range(cpus)] + [("device", i) for i in range(devices)]
    return [op.Agent(role, 0, f"{role}{i}") for role, i in names]  # type: ignore[arg-type]


def check_range(name: str, value: float, low: float, high: float | None = None, kind: Any = int) -> None:
    """Refuse a parameter that is no number of its kind or out of range, by its name."""
    whole = kind is int
    if isinstance(value, bool) or not isinstance(value, numbers.Integral if whole else numbers.Real):
        raise op.TraceError(f"{name} must be a {'whole ' * whole}number, not {value!r}")
    if value < low or (high is not None and value > high):
        wanted = f"at least {low}" if high is None else f"in [{low}, {high}]"
        raise op.TraceError(f"{name} must be {wanted}, not {value}")


def _check(common: Common, most: int) -> None:
    bounds = {"pages": (1, most), "accesses": (1,), "writes": (0, 1), "grain": (1, (1 << 62) - 1), "seed": (0,)}
    for name, bound in bounds.items():
        if (value := getattr(common, name)) is not None:
            check_range(name, value, *bound, kind=float if name == "writes" else int)


def _kind_and_bounds(parameter: inspect.Parameter) -> list[Any]:
    """Return the type of a parameter, then its bounds if it has any."""
    return list(get_args(parameter.annotation)) if get_origin(parameter.annotation) is Annotated else [parameter.annotation]


def _check_own(parameter: inspect.Parameter, value: Any) -> None:
    """Refuse what is out of a parameter's bounds, or not among its choices."""
    kind, *bounds = _kind_and_bounds(parameter)
    if bounds:
        check_range(parameter.name, value, *bounds, kind=kind)
    choices = get_args(kind) if get_origin(kind) is Literal else (value,)
    if value not in choices:
        *others, last = map(repr, choices)
        raise op.TraceError(f"{parameter.name} must be {', '.join(others)} or {last}, not {value!r}")


def _documented(text: str, names: Iterable[str]) -> str:
    """Return a docstring completed by the shared parameters, what is returned and what is raised; entries in the order of `names`."""
    head, *rest = re.split(r"\n\n(?=\w+\n---)", inspect.cleandoc(text))
    sections = {section.split("\n", 1)[0]: section for section in rest}
    told = re.findall(r"(?m)^\w.* : .*(?:\n +.*)+", sections.get("Parameters", ""))
    own = {name: entry for entry in told for name in entry.split(" : ", 1)[0].split(", ")}
    entries = dict.fromkeys(own.get(name) or ENTRIES.get(name, name) for name in names)
    return "\n\n".join([head, "\n".join(["Parameters\n----------", *entries]), sections.get("Returns", RETURNS), RAISES])
