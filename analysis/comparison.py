"""Comparing machines on one trace: `compare`, and the `Comparison` it returns."""

import functools
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import cautions, files, replicates, runs, tables, terms, verdicts
from analysis.explanation import Explanation, explain
from analysis.metrics import accesses, account_rows, accounts_frame, headline, overheads_frame
from analysis.overhead import FIGURES
from analysis.points import DEPENDENT, Point, Runner, bounds
from analysis.uncertainty import FEWEST, OVERHEAD, Uncertainty, check_draws, drawn_on_terms
from analysis.verdicts import Verdict
from hwmodel import html
from hwmodel.arguments import is_shown, machines_of
from hwmodel.config import Scalar
from hwmodel.machine import DEVICE, PRIMARY, Machine

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.measure.result import Result
    from hwmodel.trace import Trace


def compare(
    machines: Mapping[str, Machine | str] | Iterable[Machine | str] | Machine | str,
    trace: "Trace | str",
    same_primary: str | Machine | None = None,
    same_device: str | Machine | None = None,
    as_built: bool = False,
    settings: Mapping[str, Scalar] | None = None,
    share: float = 0.5,
    unit: str = "line",
    bytes: int = 8,
    seeds: Iterable[int] | None = None,
    warmup: int | float = 0,
    vary_latency: bool = False,
    draws: int = FEWEST,
    threads: int = 2,
    progress: bool | None = None,
) -> "Comparison":
    """Run several machines on one trace, on equal terms: one primary MMU and one device.

    Each machine runs with the device's window, then with dependent accesses, one in flight. Beside it runs its bound, whose translation is
    free (`analysis.overhead`): what the machine takes longer is what is compared.

    Parameters
    ----------
    machines : mapping of str to Machine, or iterable of Machine, or Machine
        The machines to compare, by the name to show, each a machine or the name of a preset; machines of an iterable are
        shown under their own names.
    trace : Trace or str
        The trace that they run; or the name of a shipped recording or of a file. If it has no device agent, machines that
        can have engines get an offloaded copy (`workloads.offload`), and the comparison says so.
    same_primary, same_device : str or Machine, optional
        Whose clock, CPUs, memory and kernel, and whose device, every machine gets: one of `machines` by its name, a preset, a
        part of presets or a file. By default those of the first machine, and the device "coprocessor". What the user has set on
        a machine stays.
    as_built : bool
        Keep each machine's own, where no name is given.
    settings : mapping of str to value, optional
        What every machine gets that has such a setting, whatever the rest says: ``{"device.latency_ns": 88}``.
    share : float
        Part of the data accesses that an engine gets if the trace has to be offloaded.
    unit, bytes
        What an access of that engine stands for, as `workloads.offload` says.
    seeds : iterable of int, optional
        Whole numbers: everything once for each, and figures of the overhead get intervals. Random is what an engine gets of a trace
        that has to be offloaded.
    warmup : int or float
        Records, or (a float) the share of them, that run before anything is counted, as `hwmodel.simulate` takes it.
    vary_latency : bool
        Run machines with dependent accesses also at the ends of the range of `device.latency_ns`: a verdict that flips there says so.
        That takes twice as long.
    draws : int
        Run with so many draws of all that is uncertain too, as `analysis.uncertainty` does, first seed and own window: verdicts have the
        share of the draws and the band of the ratio, and are undecided if the band includes 1. 0, or the fewest or more; 20 draws make a
        comparison three times as long.
    threads : int
        Runs at the same time.
    progress : bool, optional
        Show a progress bar; by default on a terminal or in a notebook.

    Returns
    -------
    Comparison

    Raises
    ------
    ConfigError
        If names repeat or are unknown, or a machine can't run the trace. No machine has run then.
    TraceError
        If the trace is invalid.
    """
    trace = runs.trace_of(trace)
    named, notes = terms.on_equal_terms(machines_of(machines), terms.Terms(same_primary, same_device, as_built, settings or {}))
    made = replicates.replicas(trace, named.values(), seeds, share=share, unit=unit, bytes=bytes)
    notes += [*filter(None, [made[0].note]), *warmup_notes(warmup)]
    if draws:
        check_draws(draws)
    with Runner(threads, is_shown(progress)) as runner:
        points = [pending.point() for pending in runner.begin(named, made, vary_latency, warmup=warmup)]
    return Comparison.of(points, notes, drawn(named, points, made[0], draws, warmup=warmup, threads=threads, progress=progress))


def drawn(
    machines: Mapping[str, Machine], points: Iterable[Point], replica: replicates.Replica, draws: int, **options: Any
) -> Uncertainty | None:
    """Return so many draws of the uncertain costs of those machines that have an overhead; None if no two have, or there are none.

    Options are those of `analysis.experiment`.
    """
    able = {point.machine: machines[point.machine] for point in points if point.per_access and not math.isnan(point.per_access.median)}
    if not draws or len(able) < 2:
        return None
    trace = replica.of(next(iter(able.values())))
    return drawn_on_terms(able, {"trace": trace}, draws, 0, (), (), metrics=[OVERHEAD], title="draws", **options)


def warmup_notes(warmup: int | float) -> list[str]:
    """Return a sentence that says what is not counted; none if everything is, or if this is no number, which `simulate` refuses."""
    if not warmup or not isinstance(warmup, int | float):
        return []
    first = f"{100 * warmup:g} %" if isinstance(warmup, float) else f"{warmup:,}"
    return [f"The first {first} of the records are a warm-up, which is not counted."]


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Runs of several machines on one trace, side by side.

    Parameters
    ----------
    results : dict of str to Result
        By the name each is shown under, in order: of the machine's own window and the first seed.
    notes : tuple of str
        Changes made to machines or trace, a line each.
    points : tuple of Point
        Every machine in every window, with its bound and its overhead for each seed; without them there are no overheads.
    draws : Uncertainty, optional
        Draws of what is uncertain in the machines that have an overhead, in their own window.
    """

    results: dict[str, "Result"]
    notes: tuple[str, ...] = ()
    points: tuple[Point, ...] = ()
    draws: Uncertainty | None = None

    @classmethod
    def of(cls, points: Iterable[Point], notes: Iterable[str] = (), draws: Uncertainty | None = None) -> "Comparison":
        """Return the comparison that some points are."""
        points = tuple(points)
        return cls({point.machine: point.result for point in points if point.configured}, tuple(notes), points, draws)

    @functools.cached_property
    def frame(self) -> "pd.DataFrame":
        """Return one row for each machine and window, and for the bounds beside them.

        Returns
        -------
        DataFrame
            Columns: machine, window (accesses in flight; missing where a design has no such setting), configured (whether that is the
            machine's own), design, kernel (its policy), clock_mhz; seeds, overhead_low, overhead_high (over the seeds) and every figure of
            ``analysis.overhead.FIGURES`` (of the seed in the middle); every metric of ``analysis.METRICS``, then where the cycles went:
            ``engine.ACCOUNT_ns_per_access`` (of the device accesses), ``cpu.ACCOUNT_ns_per_access`` (of the CPUs'); of the first seed.
        """
        import pandas as pd

        points = self.points or tuple(Point(name, None, True, result, None, {}) for name, result in self.results.items())
        points += tuple(bounds(points))
        frame = pd.DataFrame([{**_about(point), **_costs(point), **headline(point.result)} for point in points])
        sides = pd.DataFrame([_by_column(point.result) for point in points]).fillna(0.0)
        return frame.join(sides[sorted(sides.columns, key=lambda name: not name.startswith("engine."))])

    @functools.cached_property
    def table(self) -> "pd.DataFrame":
        """Return one row for each machine, in its own window: the columns of `frame`, and the overhead with dependent accesses.

        ``attrs["configuration"]`` has the settings of each machine, ``attrs["trace"]`` the trace's info.
        """
        own = self.frame[self.frame["configured"]].set_index("machine").loc[list(self.results)]
        dependent = self.frame[self.frame["window"] == DEPENDENT].set_index("machine")["overhead_ns_per_access"]
        frame = own.assign(dependent_overhead_ns_per_access=dependent.reindex(own.index))
        frame.attrs = {
            "configuration": {name: result.machine.flat() for name, result in self.results.items()},
            "trace": self._any.trace_info,
        }
        return frame

    @functools.cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Return what is to be said of each pair of machines that have an overhead."""
        return tuple(verdicts.verdicts(self.points, self.draws))

    @functools.cached_property
    def overheads(self) -> "pd.DataFrame":
        """Return what the overheads consist of, tidy, of the first seed.

        Returns
        -------
        DataFrame
            Columns machine, window, configured, side, account, family, cycles (of the run, less those of the bound) and ns_per_access:
            of the engines on both sides, so that all rows of a machine and a window add up to its overhead.
        """
        return overheads_frame(self.points)

    def explain(self, a: str, b: str, dependent: bool = False) -> Explanation:
        """Return why the overhead of `a` is another one than that of `b`: counts and costs by cause, the largest first.

        Parameters
        ----------
        a, b : str
            Two machines, by their names in the comparison.
        dependent : bool
            With dependent accesses, one in flight, not in the machines' own window.

        Returns
        -------
        Explanation
            Of the first seed. Its rows add up to the difference; ``print`` tells it in sentences, ``plot()`` draws a waterfall.

        Raises
        ------
        ConfigError
            If there is no such machine, or it has no overhead in that window.
        """
        return explain(self.points, a, b, dependent)

    @functools.cached_property
    def accounts(self) -> "pd.DataFrame":
        """Return where the cycles went, tidy: machine, side, account, waiting, cycles, ns, ns_per_access of that side."""
        return accounts_frame(self.results)

    @functools.cached_property
    def phases(self) -> "pd.DataFrame":
        """Return the phases of misses, where the design has some: ``Result.phases`` of each machine, below one another, by machine."""
        import pandas as pd

        frames = {name: result.phases() for name, result in self.results.items() if result.book.phases}
        return pd.concat(frames, names=["machine"]) if frames else pd.DataFrame()

    @functools.cached_property
    def differences(self) -> "pd.DataFrame":
        """Return every setting of the primary MMU and of the device in which those machines differ that have it."""
        import pandas as pd

        settings = {name: result.machine.flat() for name, result in self.results.items()}
        names = dict.fromkeys(name for values in settings.values() for name in values if name.startswith(PRIMARY + DEVICE))
        rows = {name: [values.get(name) for values in settings.values()] for name in names}
        rows = {name: values for name, values in rows.items() if len({value for value in values if value is not None}) > 1}
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(settings), dtype=object)
        return frame.rename_axis(index="setting")

    @functools.cached_property
    def settings(self) -> "pd.DataFrame":
        """Return every setting of every machine, tidy: machine, setting, value, unit, confidence, source."""
        import pandas as pd

        rows = [(name, *row[:5]) for name, result in self.results.items() for row in result.machine.rows()]
        return pd.DataFrame(rows, columns=["machine", "setting", "value", "unit", "confidence", "source"])

    @property
    def subtitle(self) -> str:
        """Return one line about the run: trace, whether it is only the first part of one, number of references, offloaded share."""
        size = self._any.references or accesses(self._any)
        offloads = [result.trace_info["offload"] for result in self.results.values() if "offload" in result.trace_info]
        given = f", {100 * offloads[0]['share']:g} % of the data accesses given to an engine" if offloads else ""
        head = self._any.trace_info.get("head")
        part = f", its first {head['records']:,} records" if head else ""
        many = f"{size / 1e6:,.1f} M" if size >= 1e5 else f"{size:,}"
        return f"{runs.title(self._any)}{part}: {many} references{given}"

    def warnings(self) -> list[str]:
        """Return what readers of the figures must know (`analysis.cautions`, `analysis.verdicts.basis`)."""
        draws = len(self.draws.drawn) if self.draws else 0
        return ([verdicts.basis(self.points, draws)] if self.verdicts else []) + self.cautions()

    def cautions(self) -> list[str]:
        """Return what must be said of the machines' figures (`analysis.cautions`)."""
        return [line for name, result in self.results.items() for line in cautions.of(name, result)]

    @property
    def sheet(self) -> tables.Sheet:
        """Return the contents of the tables for people."""
        return tables.Sheet(
            list(self.results), self.subtitle, self.notes, self.warnings(), self.table, self.accounts, self.differences, self.verdicts
        )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `frame`, complete or not at all."""
        files.write_all({path: lambda target: files.table(target, self.frame)})

    def to_markdown(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the comparison as a Markdown page; write the page too if a path is given."""
        text = tables.markdown(self.sheet)
        if path is not None:
            files.write_all({path: lambda target: files.text(target, text)})
        return text

    def plot(self) -> Any:
        """Draw where the time goes, and how long misses take.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it; ``savefig`` writes it.
        """
        from analysis import plots

        return plots.draw_both({"": self.points}, self.results, self.subtitle)

    def plot_phases(self) -> Any:
        """Draw what misses wait for that need software: bars by percentile, for each machine whose design has phases.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it; ``savefig`` writes it.
        """
        from analysis import plots

        return plots.draw_phases(self.results, self.subtitle)

    def save(self, out: str | os.PathLike[str]) -> list[str]:
        """Write the tables and the pictures into a folder.

        Parameters
        ----------
        out : path
            The folder; created if it does not exist. Files of the same names are replaced once all are complete.

        Returns
        -------
        list of str
            Paths of compare.csv, compare.md, settings.csv, costs.png, latency.png.
        """
        from analysis import plots

        costs = plots.draw_overheads({"": self.points}, self.subtitle)
        latencies = plots.draw_latencies(self.results, self.subtitle)
        page = tables.markdown(self.sheet, pictures=True)
        written = {"compare.csv": self.frame, "compare.md": page, "settings.csv": self.settings}
        return files.save(out, {**written, "costs.png": costs, "latency.png": latencies})

    def report(self, path: str | os.PathLike[str], title: str | None = None, command: str = "") -> None:
        """Write one self-contained HTML file, complete or not at all: verdicts, pictures, every setting with its source, versions.

        Parameters
        ----------
        path : path
            The file; one that is there is replaced.
        title : str, optional
            Its heading; by default the machines.
        command : str
            The command that makes it again, if there is one.
        """
        from analysis.report import Report

        heading = title or f"{' against '.join(self.results)}: what translation costs"
        Report(self.sheet, self.points, self.results, self.draws, heading, command).write(path)

    def _repr_html_(self) -> str:
        """Return the verdicts above a table: what translation costs each machine in each window; the warnings below it."""
        columns = ("machine", "in flight", "time, end to end, ms", *(figure.title for figure in FIGURES))
        here = self.frame[self.frame["machine"].isin(self.results)]
        rows = here[["machine", "window", "time_ms", *(figure.name for figure in FIGURES)]].itertuples(index=False)
        told = [f"{one.first} and {one.second}: {one}" for one in self.verdicts]
        table = html.table(columns, [tuple(None if value != value else value for value in row) for row in rows])
        return html.block(f"Comparison: {self.subtitle}", html.lines(*told), table, html.lines(*self.notes, *self.warnings()))

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.results)} on {runs.title(self._any)}>"

    @property
    def _any(self) -> "Result":
        return next(iter(self.results.values()))


def _about(point: Point) -> dict[str, Any]:
    machine = point.result.machine
    kind = {"design": machine.design, "kernel": machine.get("kernel.policy"), "clock_mhz": machine.get("clock.mhz")}
    return {"machine": point.machine, "window": point.window, "configured": point.configured, **kind}


def _costs(point: Point) -> dict[str, float]:
    """Return what translation costs, NaN where that is not known."""
    found, typical = point.per_access, point.typical
    low, high = (found.low, found.high) if found else (math.nan, math.nan)
    figures = {figure.name: figure.value(typical) if typical else math.nan for figure in FIGURES}
    return {"seeds": len(point.overheads), "overhead_low": low, "overhead_high": high, **figures}


def _by_column(result: "Result") -> dict[str, float]:
    return {f"{row['side']}.{row['account']}_ns_per_access": row["ns_per_access"] for row in account_rows("", result)}
