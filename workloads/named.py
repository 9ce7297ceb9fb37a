"""Traces by name: the shipped recordings, and files in any format that `read` knows."""

import os
from collections.abc import Sequence

from hwmodel.arguments import names_traces
from hwmodel.trace import Trace
from workloads.formats import read
from workloads.formats.kernel import Facts
from workloads.recorded import load, names


@names_traces
def named(
    name: str,
    partial: bool = False,
    ignore: Sequence[str] = (),
    columns: Sequence[str] = (),
    *,
    guest_base: int | None = None,
    arch: str | None = None,
    processes: Sequence[Sequence[int]] = (),
) -> Trace:
    """Open a shipped recording, or a file.

    Parameters
    ----------
    name : str
        The recording's name, or the file's.
    partial : bool
        Use a file that is cut short as far as it goes.
    ignore : sequence of str
        Names of a file's columns to ignore; see `read`.
    columns : sequence of str
        What the fields of a file without a line of names mean; see `read`.
    guest_base, arch, processes
        What a recording of the kernel's events has no evidence of; see `read`.

    Raises
    ------
    FileNotFoundError
        If it is neither; lists the recordings.
    TraceError
        If the file can't be read, or is told what is not its format's; a shipped recording is told nothing.
    """
    if name in names():
        Facts(guest_base, arch, processes).refuse(name, "a shipped recording")
        return load(name)
    if not os.path.exists(name):
        raise FileNotFoundError(f"{name}: no such file, nor a shipped recording ({', '.join(names())})")
    return read(
        name, strict=not partial, ignore=ignore, columns=columns, guest_base=guest_base, arch=arch, processes=processes
    )
