"""A suite of workloads on line-ups of machines: `compare_suite`, and the `Study` it returns. It is what `make compare` runs."""

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from analysis import files, replicates, studytables
from analysis.comparison import Comparison, drawn, warmup_notes
from analysis.points import Pending, Runner
from analysis.replicates import Replica
from analysis.terms import Terms, on_equal_terms
from analysis.uncertainty import FEWEST, check_draws
from analysis.verdicts import DRAWN, NUMBERS, WINDOWS
from hwmodel import html
from hwmodel.arguments import is_shown, machines_of
from hwmodel.config import Scalar
from hwmodel.machine import ConfigError, Machine

if TYPE_CHECKING:
    import pandas as pd

    from analysis.points import Point
    from hwmodel.trace import Trace
    from workloads.suite import Workload

LINE_UPS: dict[str, tuple[str, ...]] = {
    "2008": ("gru-2008", "kvm-ept-2008"),
    "today": ("gru-2024", "kvm-ept-2024", "kvm-npt-2024"),
}
"""The presets of each line-up; the bound runs beside each of them."""
SEEDS = range(5)
"""The seeds of a study: as many as `make compare` has time for."""


def compare_suite(
    suite: Literal["quick", "full"] = "quick",
    line_ups: Mapping[str, Any] | None = None,
    same_primary: str | Machine | None = None,
    same_device: str | Machine | None = None,
    as_built: bool = False,
    settings: Mapping[str, Scalar] | None = None,
    seeds: Iterable[int] = SEEDS,
    warmup: int | float = 0,
    vary_latency: bool = True,
    draws: int = FEWEST,
    threads: int = 2,
    progress: bool | None = None,
) -> "Study":
    """Run line-ups of machines on every workload of a suite, each line-up on equal terms.

    Parameters
    ----------
    suite : "quick" or "full"
        As `workloads.suite` has them.
    line_ups : mapping of str to machines, optional
        By the name to show: machines as `analysis.compare` takes them. By default those of `LINE_UPS`.
    same_primary, same_device, as_built, settings
        As `analysis.compare` takes them, for each line-up.
    seeds : iterable of int
        Whole numbers: everything random once for each.
    warmup : int or float
        As `analysis.compare` takes it, of every workload.
    vary_latency, draws
        As `analysis.compare` takes them.
    threads : int
        Runs at the same time.
    progress : bool, optional
        Show a progress bar; by default on a terminal or in a notebook.

    Returns
    -------
    Study

    Raises
    ------
    ConfigError, TraceError
        As `analysis.compare`; nothing has run then.
    """
    from workloads.suite import suite as workloads_of

    listed, terms = workloads_of(suite), Terms(same_primary, same_device, as_built, settings or {})
    chosen = {name: on_equal_terms(machines_of(given), terms) for name, given in (LINE_UPS if line_ups is None else line_ups).items()}
    if not chosen:
        raise ConfigError("line_ups: there is none")
    seeds = list(seeds)
    if draws:
        check_draws(draws)
    with Runner(threads, is_shown(progress)) as runner:
        begun: list[tuple[str, str, list[Pending], list[str], Replica]] = []
        for workload in listed:
            for line_up, (machines, notes) in chosen.items():
                made = replicates.replicas(_by_seed(workload), machines.values(), seeds)
                told = [*notes, *filter(None, [made[0].note]), *warmup_notes(warmup)]
                begun.append((line_up, workload.name, runner.begin(machines, made, vary_latency, warmup=warmup), told, made[0]))
        found: dict[str, dict[str, Comparison]] = {name: {} for name in chosen}
        while begun:  # what has ended is given up at once: the results of all seeds together are large
            line_up, name, pending, notes, replica = begun.pop(0)
            points = [one.point() for one in pending]
            uncertain = drawn(chosen[line_up][0], points, replica, draws, warmup=warmup, threads=threads, progress=False)
            found[line_up][name] = Comparison.of(points, notes, uncertain)
    return Study(suite, {workload.name: workload.exercises for workload in listed}, found)


def _by_seed(workload: "Workload") -> "Callable[[int], Trace]":
    return lambda seed: workload.make(seed=seed)


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """Line-ups of machines on the workloads of a suite.

    Parameters
    ----------
    suite : str
        The name of the suite.
    exercises : dict of str to str
        What each workload puts to the test, by its name.
    line_ups : dict of str to dict of str to Comparison
        By the name of the line-up, then of the workload.
    """

    suite: str
    exercises: dict[str, str]
    line_ups: dict[str, dict[str, Comparison]]

    @functools.cached_property
    def frame(self) -> "pd.DataFrame":
        """Return one row for each line-up, workload, machine and window, the bounds among the machines: see `Comparison.frame`."""
        import pandas as pd

        frames = [
            comparison.frame.assign(line_up=line_up, workload=name)
            for line_up, comparisons in self.line_ups.items()
            for name, comparison in comparisons.items()
        ]
        frame = pd.concat(frames, ignore_index=True)
        first = ["line_up", "workload"]
        return frame[[*first, *(column for column in frame if column not in first)]]

    @functools.cached_property
    def verdicts(self) -> "pd.DataFrame":
        """Return what is to be said of each pair of machines.

        Returns
        -------
        DataFrame
            Columns line_up, workload, first, second, winner (empty: undecided), verdict; then numbers, in the device's own window and,
            with ``dependent_`` before the name, with dependent accesses: difference_ns, overhead of the first less that of the second,
            the median of the seeds; factor_low, factor_median, factor_high, the larger overhead as many times the smaller one. Missing is
            the factor if one overhead is not above 0, and what there is no such window for. Of draws of uncertain costs: draws, their
            number, first_cheaper, the share in which the first costs less, and ratio_low, ratio_median, ratio_high, its overhead as many
            times the second's at the 5th, 50th and 95th percentile; missing without draws.
        """
        import pandas as pd

        told = ["line_up", "workload", "first", "second", "winner", "verdict"]
        rows = [
            {**dict(zip(told, (name, workload, one.first, one.second, one.winner, str(one)), strict=True)), **one.numbers}
            for name, line_up in self.line_ups.items()
            for workload, one in studytables.verdicts(line_up)
        ]
        return pd.DataFrame(rows, columns=[*told, *(window + number for window in WINDOWS for number in NUMBERS), *DRAWN])

    def to_markdown(self, pictures: bool = False) -> str:
        """Return the study as a Markdown page; `pictures` adds links to costs.png and latency.png in the same folder."""
        return studytables.markdown(self.suite, self.exercises, self.line_ups, pictures)

    def plot(self, overheads: bool = True) -> Any:
        """Draw what translation costs, or (`overheads=False`) how long misses take that need software.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it; ``savefig`` writes it.
        """
        from analysis import plots

        return plots.draw_line_ups({self.subtitle(name): self._points(name) for name in self.line_ups}, overheads)

    def subtitle(self, line_up: str) -> str:
        """Return one line about a line-up: its name, its device and its primary."""
        first = next(iter(self.line_ups[line_up].values()))
        return f"{line_up}: {' '.join(first.notes[:2])}"

    def save(self, out: str | os.PathLike[str]) -> list[str]:
        """Write the tables and the pictures into a folder.

        Parameters
        ----------
        out : path
            The folder; created if it does not exist. Files of the same names are replaced once all are complete.

        Returns
        -------
        list of str
            Paths of compare.csv, compare.md, verdicts.csv, costs.png, latency.png.
        """
        tables = {"compare.csv": self.frame, "compare.md": self.to_markdown(pictures=True), "verdicts.csv": self.verdicts}
        return files.save(out, {**tables, "costs.png": self.plot(), "latency.png": self.plot(overheads=False)})

    def _repr_html_(self) -> str:
        """Return a table of the verdicts: a row for each line-up, workload and pair of machines."""
        rows = self.verdicts[["line_up", "workload", "first", "second", "verdict"]].itertuples(index=False)
        table = html.table(("line-up", "workload", "machine", "and machine", "which translates at less cost"), rows, "verdicts")
        return html.block(f"Study on suite {self.suite}", table, html.lines(*map(self.subtitle, self.line_ups)))

    def __repr__(self) -> str:
        return f"<Study of {', '.join(self.line_ups)} on suite {self.suite}>"

    def _points(self, line_up: str) -> "dict[str, Sequence[Point]]":
        return {name: comparison.points for name, comparison in self.line_ups[line_up].items()}
