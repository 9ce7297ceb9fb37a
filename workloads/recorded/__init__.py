"""Small recordings of real programs that come with the package, made by `make.py`.

Files that end in .hwtrace have a program's accesses; files that end in .ftrace.xz the kernel's events of its memory.
"""

import pathlib

from hwmodel.op import TraceError
from hwmodel.trace import Trace
from hwmodel.trace.file import SUFFIX
from workloads.formats.kernel import read_kernel

KERNEL_SUFFIX = ".ftrace.xz"
ABOUT = {
    "sqlite": "A database is filled, indexed, joined, thinned out and vacuumed (sqlite3, public domain).",
    "gcc": "The C compiler's front end reads a file and builds functions (GCC's cc1, GPL 3).",
    "git": "Four threads look for a word in files, which are loaded and unloaded (git grep, GPL 2).",
    "kernel": "Linux's events of a Python program with threads and a forked child (PSF; Linux: GPL 2).",
    "sort": "A table larger than any TLB's reach is put in order in memory (GNU coreutils, GPL 3).",
}
"""By the name of a recording, a line on its program, and the program's licence. A recording has addresses, and no code or data."""
FOLDER = pathlib.Path(__file__).resolve().parent


def names() -> list[str]:
    """Return the names of the recordings."""
    return sorted(path.name.partition(".")[0] for suffix in (SUFFIX, KERNEL_SUFFIX) for path in FOLDER.glob(f"*{suffix}"))


def load(name: str) -> Trace:
    """Open a recording that comes with the package.

    Parameters
    ----------
    name : str
        One of `names`; `ABOUT` says what each is of.

    Returns
    -------
    Trace
        An agent for each thread; `info` says how it was recorded. "kernel" is opened with `workloads.read_kernel`.

    Raises
    ------
    TraceError
        If there is no such recording; lists the existing ones.
    """
    if name not in names():
        raise TraceError(f"no recording {name!r}; there are {', '.join(names()) or 'none'}")
    kernel = FOLDER / f"{name}{KERNEL_SUFFIX}"
    return read_kernel(kernel) if kernel.exists() else Trace.load(FOLDER / f"{name}{SUFFIX}")
