"""What a format needs to be written: see `workloads.formats`."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass

from hwmodel.op import TraceError
from hwmodel.trace import Trace

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Writer:
    """The writer of a format.

    Parameters
    ----------
    name : str
        The format's name.
    endings : tuple of str
        Endings of the names of its files.
    save : callable
        Writes a trace to a path, whole or not at all. Arguments: the chosen agent, if any, and whether records that the
        format can't hold are left out or refused. Returns how many records were left out, by kind.
    packed : bool
        Whether the file may be compressed, as told by its name.
    """

    name: str
    endings: tuple[str, ...]
    save: Callable[[Trace, Path, int | None, bool], dict[str, int]]
    packed: bool = True


def whole(save: Callable[[Trace, Path], None]) -> Callable[[Trace, Path, int | None, bool], dict[str, int]]:
    """Return what writes a trace in a format that holds everything, for `Writer`."""
    return functools.partial(_whole, save)


def _whole(save: Callable[[Trace, Path], None], trace: Trace, path: Path, agent: int | None, lossy: bool) -> dict[str, int]:
    if agent is not None:
        raise TraceError(f"{os.fspath(path)}: holds all agents: choose one with select()")
    save(trace, path)
    return {}
