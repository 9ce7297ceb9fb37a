"""Readers of traces recorded elsewhere: one module per format, found by the file's content.

A reader module has `recognises(head)`, which tells from the first bytes of the uncompressed file, and
`read(path, events)`, which returns a lazy Trace.
"""

import os

from hwmodel.trace import Trace, TraceError
from workloads.readers import lackey
from workloads.streams import read_head

READERS = (lackey,)
PARQUET = b"PAR1"


def read(path: str | os.PathLike[str], events: bool = True) -> Trace:
    """Open a trace of any known format: a trace file, or a valgrind lackey log.

    Parameters
    ----------
    path : path
        The file, plain or compressed with gzip or xz. Its content decides, not its name.
    events : bool
        False leaves out the recorded operations on memory and system calls; what a program uses is then in memory
        and mapped from the start, so that nothing faults. Of no effect on a trace file.

    Returns
    -------
    Trace
        Its records are read at every iteration, in constant memory.

    Raises
    ------
    TraceError
        If the format is unknown or the file is damaged, in one line that names it.
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        raise IsADirectoryError(f"{name}: a folder, not a trace")
    if not os.path.isfile(name):
        raise FileNotFoundError(f"{name}: no such file")
    head = read_head(path)
    if not head:
        raise TraceError(f"{name}: not a trace of a known format: it is empty")
    if head.startswith(PARQUET):
        return Trace.load(path)
    for reader in READERS:
        if reader.recognises(head):
            return reader.read(path, events)
    raise TraceError(f"{name}: not a trace of a known format (a trace file, or valgrind lackey's text)")
