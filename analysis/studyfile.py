"""Experiments as files: TOML with machines, workloads, axes and what `analysis.experiment` takes besides; `hwmodel sweep FILE.toml`."""

import functools
import inspect
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import pydantic

from analysis import axes
from analysis.terms import Terms
from hwmodel.arguments import machine_of
from hwmodel.config.errors import suggestion
from hwmodel.config.files import is_own
from hwmodel.machine import ConfigError, Machine

METHODS: dict[str, Callable[..., list[dict[str, Any]]]] = {"latin_hypercube": axes.latin_hypercube, "sobol": axes.sobol}
"""How `sample` draws its points."""
LONGEST = 1 << 20
"""The most bytes of a file, as of one with a machine."""
WAYS = ("over", "points", "sample")
"""The tables of which a file has at most one: a product, a list of points, points drawn from ranges."""


def _is(described: str, default: Any = ...) -> Any:
    """Return a field: what it must be, in words for a message, and its default, if it has one."""
    return pydantic.Field(default, description=described)


class _Table(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)


class _Machine(_Table):
    """A machine with settings of its own."""

    machine: str
    settings: dict[str, Any] = {}


class _Sample(_Table):
    """Points drawn from ranges by axis."""

    method: Literal["latin_hypercube", "sobol"] = "latin_hypercube"
    samples: int
    ranges: dict[str, Any]
    seed: int = 0
    log: list[str] = []


class _Opened(_Table):
    """A trace's file, or a shipped recording's name, and how it is opened."""

    file: str = _is("a recording's name, or a path")
    partial: bool = _is("true or false", False)
    columns: list[str] = _is("a list of names", [])
    ignore: list[str] = _is("a list of names", [])
    guest_base: int | None = _is("a whole number", None)
    arch: str | None = _is("a name", None)
    processes: list[list[int]] = _is("a list with the numbers of each process's threads", [])


class _File(_Table):
    """What a file may hold."""

    machines: list[str] | dict[str, str | _Machine] = _is("a list of names, or a table of them by names of your own")
    workloads: list[str] | dict[str, str | dict[str, Any]] = _is("a list of names, or a table of names, files and generators")
    over: dict[str, Any] | None = _is("a table of lists by axis", None)
    points: list[dict[str, Any]] | None = _is("a list of tables, a value by axis", None)
    sample: _Sample | None = _is("a table with samples and ranges", None)
    seeds: int | list[int] = _is("a list of whole numbers, or how many", 1)
    warmup: int | float = _is("a number of records, or a share of them", 0)
    regions: dict[str, int] | None = _is("a table of records by name", None)
    metrics: list[str] | None = _is("a list of names", None)
    accounts: bool = _is("true or false", False)
    same_primary: str | None = _is("a name", None)
    same_device: str | None = _is("a name", None)
    as_built: bool = _is("true or false", False)
    store: str | None = _is("a path", None)
    threads: int = _is("a whole number", 2)
    share: float = _is("a number", 0.5)
    unit: str = _is("a name", "line")
    bytes: int = _is("a whole number", 8)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the arguments of `analysis.experiment` that a file has; paths in it are relative to its folder.

    Parameters
    ----------
    path : path
        A TOML file: ``machines`` and ``workloads`` (a list, or a table by name: of presets or files; of recordings, files, or tables with a
        ``generator`` and its parameters, or a ``file`` and how `workloads.named` opens it), one of ``over``, ``points`` and ``sample``, and
        the other parameters of `analysis.experiment`. ``seeds`` is a list, or how many.

    Raises
    ------
    ConfigError
        If there is no such file, or something in it is unknown or of the wrong kind: names the file and the dotted setting.
    """
    name = os.fspath(path)
    given = _checked(_loaded(name), name)
    folder = os.path.dirname(name)
    try:
        asked = {key: value for key, value in given if key not in (*WAYS, "machines", "workloads", "seeds") and value is not None}
        asked["machines"] = _named(given.machines, functools.partial(_machine, folder))
        asked["workloads"] = _named(given.workloads, functools.partial(_workload, folder))
        asked["seeds"] = range(given.seeds) if isinstance(given.seeds, int) else given.seeds
        asked["over"] = _over(given)
        asked["terms"] = Terms(**{name: asked.pop(name) for name in Terms._fields if name in asked})
        if "store" in asked:
            asked["store"] = os.path.join(folder, asked["store"])
        return asked
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def _loaded(name: str) -> dict[str, Any]:
    try:
        with open(name, "rb") as file:
            data = file.read(LONGEST + 1)
        if len(data) > LONGEST:
            raise ConfigError(f"{name}: has more than {LONGEST:,} bytes: no experiment")
        return tomllib.loads(data.decode())
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: is no TOML: {error}") from None


def _checked(table: dict[str, Any], name: str) -> _File:
    try:
        given = _File.model_validate(table)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{name}: {_problem(max(error.errors(), key=_certainty))}") from None
    several = [way for way in WAYS if getattr(given, way) is not None]
    if len(several) > 1:
        raise ConfigError(f"{name}: {several[1]}: the points are told by {several[0]} already")
    return given


def _certainty(problem: Any) -> tuple[bool, int]:
    """Return how much a problem says: a name too many most; of a value that may be of several kinds, the kind that fits it best."""
    return problem["type"] == "extra_forbidden", len(problem["loc"])


def _problem(problem: Any) -> str:
    """Return what is wrong, in one line that begins with the dotted setting."""
    kinds = ("list[", "dict[", "function-")
    path = [str(part) for part in problem["loc"] if not str(part).startswith(kinds) and part not in ("_Machine", "int", "float", "str")]
    tables: dict[str, type[_Table]] = {"sample": _Sample, "machines": _Machine, "workloads": _Opened}
    where, table = ".".join(path), tables.get(path[0], _File)
    if problem["type"] == "extra_forbidden":
        return f"{where}: there is no such setting{suggestion(path[-1], list((table if len(path) > 1 else _File).model_fields))}"
    if problem["type"] == "missing":
        return f"{where}: is missing"
    holder: dict[int, type[_Table]] = {1: _File, 3: _Opened} if table is _Opened else {1: _File}
    about = holder[len(path)].model_fields[path[-1]].description if len(path) in holder else None
    return f"{where}: must be {about}, not {problem['input']!r}" if about else f"{where}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"


def _named(given: Any, made: Callable[[str, Any], Any]) -> Any:
    """Return a list or a table with what is made of each of its members."""
    if isinstance(given, Mapping):
        return {label: made(label, one) for label, one in given.items()}
    names = [str(one) for one in given]
    if len(set(names)) < len(names):
        raise ConfigError(f"{next(one for one in names if names.count(one) > 1)}: is there twice; give a table with names of your own")
    return {one: made(one, one) for one in names}


def _machine(folder: str, label: str, given: str | _Machine) -> Machine:
    name = given if isinstance(given, str) else given.machine
    try:
        found = machine_of(os.path.join(folder, name) if is_own(name) else name)
        return found if isinstance(given, str) else found.with_(**dict(_flat(given.settings)))
    except ConfigError as error:
        raise ConfigError(f"machines.{label}: {error}") from None


def _workload(folder: str, label: str, given: str | dict[str, Any]) -> Any:
    if isinstance(given, str):
        return _place(folder, given)
    return _opened(folder, label, given) if "file" in given else _generator(label, dict(given))


def _place(folder: str, name: str) -> str:
    """Return the name of a shipped recording as it is, any other as a path from the file's folder."""
    from workloads.recorded import names

    return name if name in names() else os.path.join(folder, name)


def _opened(folder: str, label: str, given: dict[str, Any]) -> Any:
    """Return the trace that a table names, opened as it says."""
    from hwmodel.op import TraceError
    from workloads.formats.kernel import facts
    from workloads.named import named

    where = f"workloads.{label}"
    try:
        asked = dict(_Opened.model_validate(given))
        facts.check({name: asked[name] for name in facts.SPELLED}, f"{where}.{{}}".format)
        return named(_place(folder, asked.pop("file")), **asked)
    except pydantic.ValidationError as error:
        problem = max(error.errors(), key=_certainty)
        raise ConfigError(_problem({**problem, "loc": ("workloads", label, *problem["loc"])})) from None
    except TraceError as error:
        raise ConfigError(str(error) if str(error).startswith(f"{where}.") else f"{where}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{where}.file: {error}") from None


def setting_of(option: str) -> str:
    """Return the setting of a file that an option of the command line stands for, of those that open a trace."""
    from workloads.formats.kernel.facts import SPELLED

    settings = {spelled: name for name, spelled in SPELLED.items()}
    return f"workloads.NAME.{settings.get(option, option.removeprefix('--'))}"


def _generator(label: str, given: dict[str, Any]) -> Callable[..., Any]:
    """Return the generator that a table names, with its parameters; what is left is for axes and seeds."""
    from workloads import synthetic

    name = given.pop("generator", None)
    if name not in synthetic.__all__:
        raise ConfigError(f"workloads.{label}.generator: there is no {name!r}{suggestion(str(name), synthetic.__all__)}")
    generator = getattr(synthetic, name)
    known = list(inspect.signature(generator).parameters)
    for parameter in given:
        if parameter not in known:
            raise ConfigError(f"workloads.{label}.{parameter}: {name} has no such parameter{suggestion(parameter, known)}")
    return functools.partial(generator, **given)


def _over(given: _File) -> Any:
    if given.sample is not None:
        asked = given.sample
        ranges = {key: _ends(key, ends) for key, ends in _flat(asked.ranges)}
        return METHODS[asked.method](ranges, asked.samples, asked.seed, asked.log)
    if given.points is not None:
        return [dict(_flat(point)) for point in given.points]
    return None if given.over is None else dict(_flat(given.over))


def _ends(name: str, given: Any) -> tuple[Any, Any]:
    numbers = isinstance(given, list) and len(given) == 2 and all(isinstance(end, int | float) and type(end) is not bool for end in given)
    if not numbers:
        raise ConfigError(f"sample.ranges.{name}: must be the two ends of a range, not {given!r}")
    return given[0], given[1]


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings by their dotted names, however the table is written: ``tlb.entries = [64]`` is a table in a table to TOML."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
