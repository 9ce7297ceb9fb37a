"""Small recordings of real programs that come with the package; `make.py` made them."""

import pathlib

from hwmodel.trace import Trace, TraceError
from hwmodel.tracefile import SUFFIX

FOLDER = pathlib.Path(__file__).resolve().parent


def names() -> list[str]:
    """The recordings there are."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def load(name: str) -> Trace:
    """Open a recording that comes with the package.

    Parameters
    ----------
    name : str
        ``"sqlite"`` (a database is filled, indexed, joined, thinned out and vacuumed), ``"gcc"`` (the C compiler's
        front end) or ``"git"`` (four threads look for a word in files, which are loaded and unloaded); see `names`.

    Returns
    -------
    Trace
        CPU agents, one for each thread; `info` says how it was recorded.

    Raises
    ------
    TraceError
        If there is no such recording; lists those there are.
    """
    if name not in names():
        raise TraceError(f"no recording {name!r}; there are {', '.join(names()) or 'none'}")
    return Trace.load(FOLDER / f"{name}{SUFFIX}")
