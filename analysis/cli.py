"""The command line: `hwmodel compare | report | sweep | record | replay | conform | convert | inspect | presets | show | workloads`."""

import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from analysis import options
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
            warnings.showwarning = _once()
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
@options.opens
def compare(
    opening: options.Opening,
    out: Annotated[str, typer.Option("--out", help="Folder for tables and pictures.", show_default=False)],
    trace: Annotated[str | None, typer.Option("--trace", help="A shipped recording's name, or a file.", show_default=False)] = None,
    suite: Annotated[str | None, typer.Option("--suite", help="In place of a trace: quick or full, the workloads of a suite.")] = None,
    machines: Annotated[
        str | None, typer.Option("--machines", help="Presets or TOML files, separated by commas; a suite has line-ups of its own.")
    ] = None,
    share: Annotated[float | None, options.Share.__metadata__[0]] = None,
    unit: Annotated[str | None, options.Unit.__metadata__[0]] = None,
    bytes: Annotated[int | None, options.Bytes.__metadata__[0]] = None,
    same_primary: options.SamePrimary = None,
    same_device: options.SameDevice = None,
    as_built: options.AsBuilt = False,
    seeds: options.Seeds = None,
    vary_latency: options.VaryLatency = None,
    draws: options.Draws = None,
    changes: options.Changes = None,
) -> None:
    """Run machines on a trace, or on a suite of workloads; print a table, leave it and two pictures in a folder."""
    if (trace is None) is (suite is None):
        raise ConfigError("compare: give either --trace or --suite")
    chosen = None if machines is None else machines_of(options.listed("--machines", machines))
    stream = options.given(share=share, unit=unit, bytes=bytes)
    terms = options.terms(same_primary, same_device, as_built, changes, seeds, vary_latency, draws)
    output.check_folder(out)
    if suite is not None:
        _compare_suite(suite, chosen, [*(f"--{name}" for name in stream), *opening.given()], out, terms)
    elif chosen is None:
        raise ConfigError("compare: --machines is missing")
    else:
        from analysis import comparison, views

        found = comparison.compare(chosen, opening.trace(str(trace)), **terms, **stream)
        written = found.save(out)
        console = _console()
        views.show_comparison(console, found)
        console.line(f"Written: {', '.join(written)}", "dim")


def _compare_suite(suite: str, machines: dict[str, Machine] | None, idle: Sequence[str], out: str, terms: dict[str, Any]) -> None:
    """Run a suite; refuse options that it has no use for."""
    from analysis import study, views

    if idle:
        raise ConfigError(f"{idle[0]}: means nothing to a suite, which has traces with devices")
    found = study.compare_suite(suite, None if machines is None else {"own": machines}, **terms)  # type: ignore[arg-type]  # it checks the name
    written = found.save(out)
    console = _console()
    views.show_study(console, found)
    console.line(f"Written: {', '.join(written)}", "dim")


@app.command()
@options.opens
def report(
    opening: options.Opening,
    trace: options.Trace,
    machines: Annotated[str, typer.Option("--machines", help="Presets or TOML files, separated by commas.", show_default=False)],
    out: Annotated[str, typer.Option("--out", help="HTML file to write: one file, with everything in it.", show_default=False)],
    title: Annotated[str | None, typer.Option("--title", help="Its heading; the machines.", show_default=False)] = None,
    share: options.Share = 0.5,
    unit: options.Unit = "line",
    bytes: options.Bytes = 8,
    warmup: options.Warmup = "0",
    same_primary: options.SamePrimary = None,
    same_device: options.SameDevice = None,
    as_built: options.AsBuilt = False,
    seeds: options.Seeds = None,
    vary_latency: options.VaryLatency = None,
    draws: options.Draws = None,
    changes: options.Changes = None,
) -> None:
    """Compare machines on a trace as `compare` does, and write one HTML file for others to read."""
    from analysis import comparison

    if not out.endswith(".html"):
        raise ConfigError(f"--out: {out} does not end in .html")
    output.check(out)
    chosen = machines_of(options.listed("--machines", machines))
    terms = options.terms(same_primary, same_device, as_built, changes, seeds, vary_latency, draws)
    stream: dict[str, Any] = {"share": share, "unit": unit, "bytes": bytes, "warmup": options.parts(warmup, None)["warmup"]}
    found = comparison.compare(chosen, opening.trace(trace), **terms, **stream)
    found.report(out, title, shlex.join(["hwmodel", *sys.argv[1:]]))
    _console(out).line(f"Written: {out}", "dim")


@app.command()
@options.opens
def sweep(
    opening: options.Opening,
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE.toml]", help="An experiment, in place of --trace, --machine and --set.")
    ] = None,
    trace: Annotated[str | None, options.Trace.__metadata__[0]] = None,
    machine: Annotated[str | None, typer.Option("--machine", help="A preset or a TOML file.", show_default=False)] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="SETTING=VALUE,VALUE,...; may be repeated.", show_default=False)
    ] = None,
    out: Annotated[str | None, typer.Option("--out", help="CSV or Parquet file for every metric.")] = None,
    store: Annotated[
        list[str] | None, typer.Option("--store", help="With a FILE: keep each finished point here, and resume; of more, copy points.")
    ] = None,
    shard: Annotated[str | None, typer.Option("--shard", help="With a FILE: run only the k-th of n parts, as 1/4.")] = None,
    share: Annotated[float | None, options.Share.__metadata__[0]] = None,
    unit: Annotated[str | None, options.Unit.__metadata__[0]] = None,
    bytes: Annotated[int | None, options.Bytes.__metadata__[0]] = None,
    threads: Annotated[int | None, typer.Option("--threads", help="Points that run at the same time; 2.")] = None,
    warmup: Annotated[str | None, options.Warmup.__metadata__[0]] = None,
    region: options.Region = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Seeds of what is random, each a run of every point; 1.")] = None,
    overhead: Annotated[bool, typer.Option("--overhead", help="Run the same engines with free translation too.")] = False,
) -> None:
    """Run a machine with every combination of some settings' values; or the experiment that a file describes."""
    from analysis import sweepcommand

    one = {"--trace": trace, "--machine": machine, "--set": settings, "--share": share, "--unit": unit, "--bytes": bytes,
           "--warmup": warmup, "--region": region, "--seeds": seeds, "--overhead": overhead}  # fmt: skip
    sweepcommand.check_out(out)
    if file is not None:
        found = sweepcommand.of_file(file, one, opening, store, shard, threads)
    else:
        found = sweepcommand.of_options(one, {"--store": store, "--shard": shard}, 2 if threads is None else threads, opening)
    sweepcommand.show(_console(out), found, out)


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
    """Record a program's accesses and memory operations, or the kernel's events of its memory; end with its exit status."""
    import workloads
    from analysis import views

    output.check(out)
    if kernel:
        status = workloads.record_kernel(command, out, kvm=kvm)["exit_status"]
        if output.is_replaced(out):  # output sent to a pipe can't be read back
            views.show_trace(_console(), options.Opening().trace(out))
    else:
        trace = workloads.record(command, out, tool=tool)
        views.show_trace(_console(out), trace)
        status = trace.info["exit_status"]
    if status:
        raise typer.Exit(status if status > 0 else 128 - status)  # as a shell reports a signal


@app.command()
@options.opens
def replay(
    opening: options.Opening,
    file: Annotated[
        str, typer.Argument(help="kernel, or a file of record --kernel, trace-cmd report or perf script.", show_default=False)
    ],
    machine: Annotated[str, typer.Option("--machine", help="A preset or a TOML file.")] = "kvm-ept-2024",
    out: Annotated[str | None, typer.Option("--out", help="Folder for the table.")] = None,
) -> None:
    """Replay a recording of the kernel's events: the model's notices, flushes and faults beside Linux's."""
    from analysis import views
    from analysis.replay import replay as replayed

    if out is not None:
        output.check_folder(out)
    found = replayed(opening.trace(file), machine_of(machine))
    console = _console()
    views.show_replay(console, found)
    if out is not None:
        console.line(f"Written: {', '.join(found.save(out))}", "dim")


@app.command()
def conform(
    file: Annotated[str, typer.Argument(help="named, random or more: shipped recordings of Linux 6.18; or a file", show_default=False)],
    strict: Annotated[bool, typer.Option("--strict", help="Fail for known differences too.")] = False,
) -> None:
    """Judge the kernel of the model by a recording of Linux; exit with 1 if they differ in what is no known difference."""
    from analysis import views
    from analysis.conform import conform as conformed
    from analysis.conform import read

    found = conformed(read(file))
    views.show_conformance(_console(), found)
    if not found.is_passed(strict):
        raise typer.Exit(1)


@app.command()
@options.opens
def convert(
    opening: options.Opening,
    file: Annotated[str, typer.Argument(metavar="IN", help="A shipped recording's name, or a file.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="File to write; its name tells the format.", show_default=False)],
    format: Annotated[str | None, typer.Option("--format", help="Format to write, whatever the name of OUT.")] = None,
    drop: Annotated[
        str | None, typer.Option("--drop", help="Kinds of records to leave out, separated by commas; events: all but accesses.")
    ] = None,
    agent: Annotated[int | None, typer.Option("--agent", help="Whose records, where the format holds one agent.")] = None,
    lossy: Annotated[bool, typer.Option("--lossy", help="Leave out what the format can't hold instead of refusing.")] = False,
) -> None:
    """Write a trace in another format: .hwtrace, .csv, .champsim, the latter two also .gz, .xz, .bz2, .zst."""
    from analysis import conversion

    output.check(out)
    done = conversion.convert(opening.named(file), out, format, options.listed("--drop", drop) if drop else (), agent, lossy)
    console = _console(out)
    for name, count in done.items():
        console.line(f"Left out or changed: {count:,} {name}")
    console.line(f"Written: {out}", "dim")


@app.command()
@options.opens
def inspect(
    opening: options.Opening,
    file: Annotated[str, typer.Argument(help="A shipped recording's name, or a file.")],
    picture: Annotated[str | None, typer.Option("--picture", help="PNG file to write.")] = None,
) -> None:
    """Show what a trace is: agents, memory, operations, reuse of pages; and draw it."""
    from analysis import files, inspection, views

    if picture is not None:
        if not picture.endswith(".png"):
            raise ConfigError(f"--picture: {picture} does not end in .png")
        output.check(picture)
    found = inspection.inspect(opening.trace(file), picture is not None)
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


def _once() -> Callable[..., None]:
    """Return a function that shows a warning, unless it has shown the same before: each machine's run may give it again."""
    told = set[str]()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in told:
            told.add(str(message))
            tell(f"warning: {message}")

    return show


if __name__ == "__main__":
    sys.exit(main())
