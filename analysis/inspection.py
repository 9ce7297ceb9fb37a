"""Description of a trace: its agents, the memory they use and reuse, their operations on memory; and one picture of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.runs import trace_of
from hwmodel.machine import ConfigError
from hwmodel.op import COMPUTE, NAMES

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.trace import Trace
    from workloads.footprint import Footprint

SIZES = np.unique(np.round(2 ** (np.arange(0, 16 * 4 + 1) / 4)).astype(np.int64))
"""TLB sizes whose miss ratio is given, in entries: four for each power of two, up to 65,536."""


@dataclass(frozen=True)
class Inspection:
    """A trace's description.

    Attributes
    ----------
    agents : DataFrame
        A row for each agent: role, space, name, records, reads, writes, fetches, instructions, pages and huge_pages (4 KiB and
        2 MiB pages used), pages_written, pages_fetched.
    operations : DataFrame
        A row for each kind of operation: the number of operations, and of 4 KiB pages that they are on (0 if they have no range).
    reuse : DataFrame
        For TLBs of `entries`, the misses per reference of every agent (a column for each agent number) and of `all` together.
        Each agent has two fully associative LRU TLBs of its own, of 4 KiB pages: one for its data, one for its fetches.
    footprint : Footprint
        The figures that the tables are made from, and those of the picture.
    """

    agents: "pd.DataFrame"
    operations: "pd.DataFrame"
    reuse: "pd.DataFrame"
    footprint: "Footprint"

    def plot(self) -> Any:
        """Draw memory over time, operations over time, and the miss ratio over the size of a TLB.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it; ``savefig`` writes it.
        """
        from analysis.plots.traces import draw_trace

        return draw_trace(self.footprint, self.agents, self.reuse)

    def working_set(self, window: int | None = None) -> "pd.DataFrame":
        """Count the pages that are touched in each window of so many references; this reads the trace once more.

        Parameters
        ----------
        window : int, optional
            References of a window, at least 1; by default a hundredth of the trace's, rounded up.

        Returns
        -------
        DataFrame
            A row for each window: ``first_reference``, its number; ``references``, of all agents, the same for all windows but the last;
            ``pages``, the pages of 4 KiB touched, each counted in its address space; ``new_pages``, those that no window before
            touched; ``pages_so_far``, their sum.

        Raises
        ------
        ConfigError
            If the window is no whole number from 1 on.
        """
        import pandas as pd

        from workloads.footprint import working_set

        if window is not None and (isinstance(window, bool) or not isinstance(window, int | np.integer) or window < 1):
            raise ConfigError(f"window: must be a whole number of references, at least 1, not {window!r}")
        frame = pd.DataFrame(working_set(self.footprint, window))
        return frame.assign(pages_so_far=frame["new_pages"].cumsum())

    def plot_working_set(self, window: int | None = None, axes: Any = None) -> Any:
        """Draw the pages touched in each window of references, those of them that are new, and all so far.

        Parameters
        ----------
        window : int, optional
            As `working_set` takes it.
        axes : matplotlib Axes, optional
            Where to draw; by default in a picture of its own.

        Returns
        -------
        Axes
        """
        from analysis.plots import draw_working_set

        return draw_working_set(self.working_set(window), axes)


def inspect(trace: "Trace | str", picture: bool = True) -> Inspection:
    """Describe a trace.

    Parameters
    ----------
    trace : Trace or str
        Valid; or the name of a shipped recording or of a file. It is read once, and once more for the picture.
    picture : bool
        False saves the second pass; then there is no `plot`.

    Returns
    -------
    Inspection
    """
    import pandas as pd

    from workloads.footprint import Footprint, summary

    footprint = Footprint(trace_of(trace), heat=picture)
    agents = pd.DataFrame(summary(footprint))
    totals = footprint.counts.sum(axis=0)
    kinds = [kind for kind in range(COMPUTE + 1, 31) if totals[kind]]
    rows = [{"operation": NAMES[kind], "count": int(totals[kind]), "pages": int(footprint.pages_of[kind])} for kind in kinds]
    operations = pd.DataFrame(rows, columns=["operation", "count", "pages"])
    return Inspection(agents, operations, _reuse(footprint), footprint)


def _reuse(footprint: "Footprint") -> "pd.DataFrame":
    import pandas as pd

    misses = np.array([sum(stream.misses(SIZES) for stream in streams) for streams in footprint.reuse])
    references = np.array([sum(stream.references for stream in streams) for streams in footprint.reuse])
    frame = pd.DataFrame({"entries": SIZES})
    for number, (missed, count) in enumerate(zip(misses, references, strict=True)):
        frame[number] = missed / count if count else np.nan
    total = int(references.sum())
    frame["all"] = misses.sum(axis=0) / total if total else np.nan
    return frame
