"""Write traces: one function for every format, chosen by the file's name."""

import functools
import os
import pathlib
from collections.abc import Callable
from dataclasses import dataclass

from hwmodel.op import TraceError
from hwmodel.trace import Trace
from workloads.compose.numbering import checked
from workloads.formats.champsim.write import save_champsim
from workloads.formats.columns.csvfile import save_csv

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Format:
    """A format that traces can be written in.

    Parameters
    ----------
    save : callable
        Writes a trace to a path, whole or not at all. Arguments: the chosen agent, if any, and whether records that the
        format can't hold are left out or refused. Returns how many records were left out, by kind.
    packed : bool
        Whether the file may be compressed, as told by its name.
    """

    save: Callable[[Trace, Path, int | None, bool], dict[str, int]]
    packed: bool = True


def write(trace: Trace, path: Path, format: str | None = None, agent: int | None = None, lossy: bool = False) -> dict[str, int]:
    """Write a trace, checked on the way, in the format that the file's name tells.

    Parameters
    ----------
    path : path
        Ends in ``.hwtrace`` (Parquet), ``.csv`` or ``.champsim``; the latter two may be compressed (``.csv.gz``, ``.xz``,
        ``.bz2``, ``.zst``). Written whole or not at all.
    format : str, optional
        One of FORMATS, whatever the file's name.
    agent : int, optional
        For formats of one agent (ChampSim): the agent whose records to write.
    lossy : bool
        Leave out records that the format can't hold, instead of refusing the trace.

    Returns
    -------
    dict
        Number of records left out, by kind; empty for formats that hold everything.

    Raises
    ------
    TraceError
        If no format is known by that name, a record is invalid, or the format can't hold it.
    OSError
        If the file can't be written.
    """
    return FORMATS[format_of(path, format)].save(trace, path, agent, lossy)


def format_of(path: Path, format: str | None = None) -> str:
    """Return the format of a file to be written; raise TraceError if its name tells none."""
    name = pathlib.Path(path)
    packed = name.suffix in PACKED
    suffix = name.with_suffix("").suffix if packed else name.suffix
    found = format or SUFFIXES.get(suffix)
    if found not in FORMATS:
        why = f"no format {format!r} ({', '.join(FORMATS)})" if format else f"the name tells no format ({', '.join(SUFFIXES)})"
        raise TraceError(f"{os.fspath(path)}: {why}")
    if packed and not FORMATS[found].packed:
        raise TraceError(f"{os.fspath(path)}: {found} is compressed in itself: leave out {name.suffix}")
    return found


def _whole(save: Callable[[Trace, Path], None], trace: Trace, path: Path, agent: int | None, lossy: bool) -> dict[str, int]:
    """Write a trace in a format that holds everything."""
    if agent is not None:
        raise TraceError(f"{os.fspath(path)}: holds all agents: choose one with select()")
    save(trace, path)
    return {}


def _champsim(trace: Trace, path: Path, agent: int | None, lossy: bool) -> dict[str, int]:
    source = functools.partial(checked, trace)
    sizes = trace.known_size or (None, None)
    return save_champsim(Trace(trace.agents, source, trace.prelude, trace.info, trace.name, *sizes), path, agent, lossy)


FORMATS = {
    "hwtrace": Format(functools.partial(_whole, Trace.save), packed=False),
    "csv": Format(functools.partial(_whole, save_csv)),
    "champsim": Format(_champsim),
}
SUFFIXES = {".hwtrace": "hwtrace", ".csv": "csv", ".champsim": "champsim", ".champsimtrace": "champsim"}
PACKED = (".gz", ".xz", ".bz2", ".zst")
