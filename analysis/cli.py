"""The command line: `hwmodel compare | sweep | record | replay | convert | inspect | presets | show | workloads`."""

import functools
import os
import sys
import tomllib
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from analysis.terminal import Terminal, take_any_text, tell
from hwmodel import output
from hwmodel.arguments import machine_of, machines_of
from hwmodel.machine import ConfigError, Machine, preset, presets

app = typer.Typer(
    name="hwmodel",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

TraceOption = Annotated[str, typer.Option("--trace", help="A shipped recording's name, or a file.", show_default=False)]
PartialOption = Annotated[bool, typer.Option("--partial", help="Use a file that is cut short as far as it goes.")]
ShareOption = Annotated[
    float, typer.Option("--share", help="Data accesses that an engine gets if the trace has no device agent.")
]
UnitOption = Annotated[
    str, typer.Option("--unit", help="What an access of that engine is: one of the program's (record), to a line, or to a page.")
]
BytesOption = Annotated[int, typer.Option("--bytes", help="Bytes that an access of the program moves on average, for --unit line.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.

    Returns
    -------
    int
        Exit status: 0, or 2 for bad input, which is told in one line on standard error.
    """
    from hwmodel.op import TraceError

    usage_error: Any = typer.BadParameter.__mro__[2]  # ClickException, of whichever click this typer brings
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    take_any_text()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            status = app(arguments or ["--help"], prog_name="hwmodel", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except (BrokenPipeError, SystemExit) as error:
        return _end(error)
    except (ConfigError, TraceError) as error:
        return _refuse(str(error))
    except MemoryError as error:
        return _refuse(f"this computer has too little memory for that ({error})")
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except (usage_error, typer.Abort) as error:
        return _refuse(error.format_message() if hasattr(error, "format_message") else "aborted")


def _say_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        _console().line(f"hwmodel {importlib.metadata.version('hwmodel')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")] = False,
) -> None:
    """Say what keeping a secondary MMU coherent costs: GRU, KVM and others behind Linux mmu notifiers."""


@app.command()
def compare(
    trace: TraceOption,
    machines: Annotated[
        str, typer.Option("--machines", help="Presets or TOML files, separated by commas.", show_default=False)
    ],
    out: Annotated[str, typer.Option("--out", help="Folder for tables and pictures.", show_default=False)],
    share: ShareOption = 0.5,
    unit: UnitOption = "line",
    bytes: BytesOption = 8,
    partial: PartialOption = False,
    same_primary: Annotated[
        str | None,
        typer.Option("--same-primary", help="Preset or file whose clock, CPUs, memory and kernel every machine gets."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="SETTING=VALUE, for every machine that has the setting; may be repeated."),
    ] = None,
) -> None:
    """Run machines on a trace; print a table, leave it and two pictures in a folder."""
    from analysis import comparison, views

    chosen = machines_of(_listed("--machines", machines))
    base = None if same_primary is None else chosen.get(same_primary) or machine_of(same_primary)
    chosen = _changed(chosen, changes or [])
    base = base if base is None else chosen.get(base.name, base)
    output.check_folder(out)
    found = comparison.compare(chosen, _trace(trace, partial), same_primary=base, share=share, unit=unit, bytes=bytes)
    written = found.save(out)
    console = _console()
    views.show_comparison(console, found)
    console.line(f"Written: {', '.join(written)}", "dim")


@app.command()
def sweep(
    trace: TraceOption,
    machine: Annotated[str, typer.Option("--machine", help="A preset or a TOML file.", show_default=False)],
    settings: Annotated[
        list[str], typer.Option("--set", help="SETTING=VALUE,VALUE,...; may be repeated.", show_default=False)
    ],
    out: Annotated[str | None, typer.Option("--out", help="CSV or Parquet file for every metric.")] = None,
    share: ShareOption = 0.5,
    unit: UnitOption = "line",
    bytes: BytesOption = 8,
    partial: PartialOption = False,
    threads: Annotated[int, typer.Option("--threads", help="Points that run at the same time.")] = 2,
) -> None:
    """Run a machine with every combination of some settings' values."""
    from analysis import files, sweeps, views

    if out is not None:
        if not out.endswith((".csv", ".parquet")):
            raise ConfigError(f"--out: {out} ends neither in .csv nor in .parquet")
        output.check(out)
    points = dict(_assignments(settings, several=True))
    chosen = _trace(trace, partial)
    frame = sweeps.sweep(machine, points, chosen, threads=threads, share=share, unit=unit, bytes=bytes)
    console = _console(out)
    views.show_sweep(console, frame)
    if out is not None:
        write = functools.partial(files.csv, index=False) if out.endswith(".csv") else files.parquet
        files.write_all({out: lambda file: write(file, frame)})
        console.line(f"Written: {out}", "dim")


@app.command()
def record(
    command: Annotated[list[str], typer.Argument(help="Program and arguments, after --.", show_default=False)],
    out: Annotated[str, typer.Option("--out", help="Trace file to write.", show_default=False)],
    tool: Annotated[
        str, typer.Option("--tool", help="qemu (threads are agents), lackey (valgrind) or auto: the first of these that can be used.")
    ] = "auto",
    kernel: Annotated[bool, typer.Option("--kernel", help="Record Linux's events of its memory instead, as text; needs root.")] = False,
    kvm: Annotated[bool, typer.Option("--kvm/--no-kvm", help="With --kernel: what mmu notifiers are told, too.")] = True,
) -> None:
    """Record a program's accesses and memory operations, or the kernel's events of its memory."""
    import workloads
    from analysis import views

    output.check(out)
    if not kernel:
        views.show_trace(_console(out), workloads.record(command, out, tool=tool))
        return
    workloads.record_kernel(command, out, kvm=kvm)
    if output.is_replaced(out):  # output sent to a pipe can't be read back
        views.show_trace(_console(), _trace(out))


@app.command()
def replay(
    file: Annotated[
        str, typer.Argument(help="kernel, or a file of record --kernel, trace-cmd report or perf script.", show_default=False)
    ],
    machine: Annotated[str, typer.Option("--machine", help="A preset or a TOML file.")] = "kvm-ept-2024",
    out: Annotated[str | None, typer.Option("--out", help="Folder for the table.")] = None,
    partial: PartialOption = False,
) -> None:
    """Replay a recording of the kernel's events: the model's notices, flushes and faults beside Linux's."""
    import workloads
    from analysis import views
    from analysis.replay import replay as replayed

    if out is not None:
        output.check_folder(out)
    trace = workloads.recorded(file) if file == "kernel" else workloads.read_kernel(file, strict=not partial)
    found = replayed(trace, machine_of(machine))
    console = _console()
    views.show_replay(console, found)
    if out is not None:
        console.line(f"Written: {', '.join(found.save(out))}", "dim")


@app.command()
def convert(
    file: Annotated[str, typer.Argument(metavar="IN", help="A shipped recording's name, or a file.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="File to write; its name tells the format.", show_default=False)],
    format: Annotated[str | None, typer.Option("--format", help="Format to write, whatever the name of OUT.")] = None,
    drop: Annotated[
        str | None, typer.Option("--drop", help="Kinds of records to leave out, separated by commas; events: all but accesses.")
    ] = None,
    agent: Annotated[int | None, typer.Option("--agent", help="Whose records, where the format holds one agent.")] = None,
    lossy: Annotated[bool, typer.Option("--lossy", help="Leave out what the format can't hold instead of refusing.")] = False,
    ignore: Annotated[str | None, typer.Option("--ignore", help="Columns of IN that mean nothing here.")] = None,
    partial: PartialOption = False,
) -> None:
    """Write a trace in another format: .hwtrace, .csv, .champsim, the latter two also .gz, .xz, .bz2, .zst."""
    from analysis import conversion
    from workloads.named import named

    output.check(out)
    trace = named(file, partial, _listed("--ignore", ignore) if ignore else ())
    done = conversion.convert(trace, out, format, _listed("--drop", drop) if drop else (), agent, lossy)
    console = _console(out)
    for name, count in done.items():
        console.line(f"Left out or changed: {count:,} {name}")
    console.line(f"Written: {out}", "dim")


@app.command()
def inspect(
    file: Annotated[str, typer.Argument(help="A shipped recording's name, or a file.")],
    picture: Annotated[str | None, typer.Option("--picture", help="PNG file to write.")] = None,
    partial: PartialOption = False,
) -> None:
    """Show what a trace is: agents, memory, operations, reuse of pages; and draw it."""
    from analysis import files, inspection, views

    if picture is not None:
        if not picture.endswith(".png"):
            raise ConfigError(f"--picture: {picture} does not end in .png")
        output.check(picture)
    found = inspection.inspect(_trace(file, partial), picture is not None)
    console = _console(picture)
    views.show_inspection(console, found)
    if picture is not None:
        from analysis.plots import save

        files.write_all({picture: lambda file: save(found.plot(), file)})
        console.line(f"Written: {picture}", "dim")


@app.command("presets")
def list_presets() -> None:
    """List the machines that come with the project."""
    from analysis import views

    views.show_presets(_console(), [preset(name) for name in presets()])


@app.command("workloads")
def list_workloads() -> None:
    """List the suites' workloads, the recordings that come with the project, and the generators."""
    from analysis import views

    views.show_workloads(_console())


@app.command()
def show(
    machine: Annotated[str, typer.Argument(help="A preset or a TOML file.")],
) -> None:
    """Show every setting of a machine: value, unit, source and confidence."""
    from analysis import views

    views.show_machine(_console(), machine_of(machine))


def _trace(name: str, partial: bool = False) -> Any:
    """Return a trace, completely checked: nothing runs or is compiled if a record is bad, or a file is cut short and not `partial`."""
    from hwmodel.trace import validate
    from workloads.named import named

    trace = named(name, partial)
    validate(trace)
    return trace


def _listed(option: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ConfigError(f"{option}: {text!r} has an empty name")
    return names


def _changed(machines: dict[str, Machine], changes: Sequence[str]) -> dict[str, Machine]:
    for name, value in _assignments(changes):
        having = [key for key, machine in machines.items() if name in machine.flat()]
        if not having:
            next(iter(machines.values())).with_(**{name: value})  # raises, and suggests the closest setting
        machines = {key: m.with_(**{name: value}) if key in having else m for key, m in machines.items()}
    return machines


def _assignments(texts: Sequence[str], several: bool = False) -> list[tuple[str, Any]]:
    found = [_assignment(text, several) for text in texts]
    names = [name for name, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--set: {name} is set twice")
    return found


def _assignment(text: str, several: bool = False) -> tuple[str, Any]:
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


def _console(out: str | None = None) -> Terminal:
    """Return standard output for results, or standard error if the file being written may be standard output (/dev/stdout, a pipe)."""
    return Terminal(stderr=out is not None and not output.is_replaced(out))


def _end(error: BaseException) -> int:
    """Return the exit status after an error that ends the process; 0 if the reader of our output has closed it (`| head`)."""
    if not isinstance(error.__context__ if isinstance(error, SystemExit) else error, BrokenPipeError):  # typer turns it into SystemExit
        raise error
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _refuse(message: str) -> int:
    tell(message)
    return 2


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    tell(f"warning: {message}")


if __name__ == "__main__":
    sys.exit(main())
