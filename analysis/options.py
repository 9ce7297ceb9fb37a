"""Options that several commands have, and what their texts mean."""

import functools
import inspect
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwmodel.machine import ConfigError

if TYPE_CHECKING:
    from hwmodel.trace import Trace as AnyTrace

Trace = Annotated[str, typer.Option("--trace", help="A shipped recording's name, or a file.", show_default=False)]
Share = Annotated[
    float, typer.Option("--share", help="Data accesses that an engine gets if the trace has no device agent.")
]
Unit = Annotated[
    str, typer.Option("--unit", help="What an access of that engine is: one of the program's (record), to a line, or to a page.")
]
Bytes = Annotated[int, typer.Option("--bytes", help="Bytes that an access of the program moves on average, for --unit line.")]
SamePrimary = Annotated[
    str | None,
    typer.Option("--same-primary", help="Preset, part or file whose clock, CPUs, memory and kernel every machine gets; the first's."),
]
SameDevice = Annotated[
    str | None, typer.Option("--same-device", help="Preset, part or file whose device every machine gets; coprocessor.")
]
AsBuilt = Annotated[bool, typer.Option("--as-built", help="Keep each machine's own, where no name is given.")]
Seeds = Annotated[int | None, typer.Option("--seeds", help="Runs with as many seeds; of a trace 1, of a suite 5.", min=1)]
VaryLatency = Annotated[
    bool | None, typer.Option(help="Also at the ends of the range of device.latency_ns: a suite does.", show_default=False)
]
Draws = Annotated[
    int | None, typer.Option("--draws", help="Draws of all uncertain costs, 20 or more, or 0; 20.", min=0)
]
Changes = Annotated[list[str] | None, typer.Option("--set", help="SETTING=VALUE, for every machine that has the setting; may be repeated.")]
Warmup = Annotated[str, typer.Option("--warmup", help="Records, or a share of them (0.5), that are in no figure.")]
Region = Annotated[
    list[str] | None, typer.Option("--region", help="NAME=RECORD: a part with figures of its own, from this record on; may be repeated.")
]


@dataclass(frozen=True)
class Opening:
    """How a trace is opened: what the options that every command with a trace has say of its file."""

    partial: Annotated[bool, typer.Option("--partial", help="Use a file that is cut short as far as it goes.")] = False
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns", help="What a list's fields mean, by commas: address, kind, size ...; - for nothing; address:hex without 0x."
        ),
    ] = None
    ignore: Annotated[str | None, typer.Option("--ignore", help="Columns of a file that mean nothing here, by commas.")] = None
    guest_base: Annotated[
        str | None, typer.Option("--guest-base", help="Of the kernel's events: host address of guest address 0, if the file has none.")
    ] = None
    arch: Annotated[
        str | None,
        typer.Option("--arch", help="Of the kernel's events: x86-64, i386, arm, arm64 or riscv64, if the system calls do not tell."),
    ] = None
    process: Annotated[
        list[str] | None,
        typer.Option("--process", help="Of the kernel's events: a process's threads, by commas, if lines don't say; may be repeated."),
    ] = None

    def given(self) -> dict[str, Any]:
        """Return what is given, by the options' names."""
        values = {f"--{field.name.replace('_', '-')}": getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value}

    def named(self, name: str) -> "AnyTrace":
        """Open a shipped recording or a file.

        Raises
        ------
        ConfigError
            If an option can't be meant.
        TraceError, OSError
            As of `workloads.named`.
        """
        from workloads.formats.kernel import facts
        from workloads.named import named

        told = given(
            guest_base=None if self.guest_base is None else integer("--guest-base", self.guest_base, 0),
            arch=self.arch,
            processes=[[integer("--process", number, 10) for number in listed("--process", one)] for one in self.process or ()],
        )
        facts.check(told, facts.SPELLED.__getitem__)
        lists = [listed(option, text) if text else () for option, text in (("--ignore", self.ignore), ("--columns", self.columns))]
        return named(name, self.partial, *lists, **told)

    def trace(self, name: str) -> "AnyTrace":
        """Open a trace and check it completely: nothing runs or is compiled if a record is bad, or the file is cut short."""
        from hwmodel.trace import validate

        trace = self.named(name)
        validate(trace)
        return trace


def opens(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command that opens a trace: in place of its parameter `opening` it gets the options of `Opening`."""
    own = inspect.signature(command).parameters.values()
    added = [inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
             for field in fields(Opening)]  # fmt: skip
    parameters = [*(parameter for parameter in own if parameter.name != "opening"), *added]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(opening=Opening(**{field.name: given.pop(field.name) for field in fields(Opening)}), **given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # that is how a signature is told
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def terms(
    same_primary: str | None,
    same_device: str | None,
    as_built: bool,
    changes: list[str] | None,
    seeds: int | None,
    vary_latency: bool | None,
    draws: int | None,
) -> dict[str, Any]:
    """Return the terms of a comparison as `analysis.compare` takes them; what is not given is left to it."""
    found: dict[str, Any] = {"same_primary": same_primary, "same_device": same_device, "as_built": as_built}
    found["settings"] = dict(assignments(changes or []))
    if seeds is not None:
        found["seeds"] = range(seeds)
    return found | given(vary_latency=vary_latency, draws=draws)


def given(**named: Any) -> dict[str, Any]:
    """Return the options that have been given."""
    return {name: value for name, value in named.items() if value is not None}


def parts(warmup: str, regions: list[str] | None) -> dict[str, Any]:
    """Return the warm-up and the regions as `hwmodel.simulate` takes them."""
    return {"warmup": _warmup(warmup), "regions": [_region(text) for text in regions or []]}


def _warmup(text: str) -> int | float:
    """Return a number of records, or a share of them."""
    try:
        return int(text) if text.strip().lstrip("-").isdecimal() else float(text)
    except ValueError:
        raise ConfigError(f"--warmup: {text!r} is neither a number of records nor a share of them") from None


def _region(text: str) -> tuple[str, int]:
    """Return the name of a region and its first record."""
    name, _, record = text.rpartition("=")
    if not name.strip() or not record.strip().isdecimal():
        raise ConfigError(f"--region: {text!r} is not of the form NAME=RECORD")
    return name.strip(), int(record)


def integer(option: str, text: str, base: int) -> int:
    """Return a number given to an option; base 0 takes 0x and hexadecimal digits, too."""
    try:
        return int(text, base)
    except ValueError:
        raise ConfigError(f"{option}: {text!r} is no number") from None


def listed(option: str, text: str) -> list[str]:
    """Return names that are separated by commas."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ConfigError(f"{option}: {text!r} has an empty name")
    return names


def assignments(texts: Sequence[str], several: bool = False) -> list[tuple[str, Any]]:
    """Return (setting, value) of each text, or (setting, list of values) if there may be several; no setting comes twice."""
    found = [_assignment(text, several) for text in texts]
    names = [name for name, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--set: {name} is set twice")
    return found


def _assignment(text: str, several: bool) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise ConfigError(f"--set: {text!r} is not of the form SETTING=VALUE{',VALUE' if several else ''}")
    return name.strip(), [_value(part) for part in value.split(",")] if several else _value(value)


def _value(text: str) -> Any:
    """Return a number, true, false, or else the text itself."""
    try:
        return tomllib.loads(f"value = {' '.join(text.split())}")["value"]
    except (ValueError, RecursionError):  # not TOML, or its reader gives up
        return text.strip()
