"""The command `hwmodel sweep`: a sweep that options describe, or an experiment that a file does."""

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis import files, options, studyfile, sweeps, views
from analysis.experiments import experiment
from analysis.terminal import Terminal
from hwmodel import output
from hwmodel.machine import ConfigError

if TYPE_CHECKING:
    import pandas as pd

NEEDED = ("--trace", "--machine", "--set")
"""The options without which there is no sweep."""


def check_out(out: str | None) -> None:
    """Refuse a table that can't be written."""
    if out is None:
        return
    if not out.endswith((".csv", ".parquet")):
        raise ConfigError(f"--out: {out} ends neither in .csv nor in .parquet")
    output.check(out)


def of_file(
    file: str,
    others: Mapping[str, Any],
    opening: options.Opening,
    store: Sequence[str] | None,
    shard: str | None,
    threads: int | None,
) -> "pd.DataFrame":
    """Return the frame of the experiment that a file describes.

    Parameters
    ----------
    file : str
        The file.
    others : mapping
        Options that describe a sweep, by name: none may be given, for the file does that.
    opening : Opening
        Likewise: the file says it of the workload that it is of.
    store, shard, threads
        Options that say how it runs; they come before what the file says.
    """
    given = [name for name, value in others.items() if value]
    if given:
        raise ConfigError(f"{given[0]}: is told by {file} already")
    for name in opening.given():
        raise ConfigError(f"{name}: {file} says that of each workload, {studyfile.setting_of(name)}")
    asked = studyfile.read(file)
    own = {"store": list(store) if store else None, "shard": None if shard is None else _shard(shard), "threads": threads}
    found = experiment(**asked | {name: value for name, value in own.items() if value is not None})
    frame = found.frame
    frame.attrs["swept"] = [name for name in ("machine", "workload", *found.axes.names) if frame[name].nunique() > 1]
    return frame


def of_options(
    one: Mapping[str, Any], others: Mapping[str, Any], threads: int, opening: options.Opening
) -> "pd.DataFrame":
    """Return the frame of a sweep that options describe.

    Parameters
    ----------
    one : mapping
        The options that describe it, by name.
    others : mapping
        Those that a file alone has a use for.
    threads : int
        Points that run at the same time.
    opening : Opening
        How the trace is opened.
    """
    for name in NEEDED:
        if not one[name]:
            raise ConfigError(f"{name}: is missing; or give the file of an experiment")
    for name, value in others.items():
        if value is not None:
            raise ConfigError(f"{name}: needs the file of an experiment")
    points = dict(options.assignments(one["--set"], several=True))
    stream = {name: one[f"--{name}"] for name in ("share", "unit", "bytes") if one[f"--{name}"] is not None}
    parts = options.parts(one["--warmup"] or "0", one["--region"])
    seeds = range(one["--seeds"]) if (one["--seeds"] or 1) > 1 else None
    trace = opening.trace(one["--trace"])
    return sweeps.sweep(one["--machine"], points, trace, threads=threads, seeds=seeds, overhead=one["--overhead"], **stream, **parts)


def show(console: Terminal, frame: "pd.DataFrame", out: str | None) -> None:
    """Print a frame's settings and main metrics, and write it whole if there is a place for it."""
    views.show_sweep(console, frame)
    if out is not None:
        write = functools.partial(files.csv, index=False) if out.endswith(".csv") else files.parquet
        files.write_all({out: lambda file: write(file, frame)})
        console.line(f"Written: {out}", "dim")


def _shard(text: str) -> tuple[int, int]:
    """Return part k of n, from 0, of "k/n", from 1."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise ConfigError(f"--shard: {text!r} is not of the form k/n, 1/4 to 4/4")
    return int(part) - 1, int(parts)
