"""Comparing machines on one trace: `compare`, and the `Comparison` it returns."""

import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import cautions, files, runs, tables
from analysis.metrics import accesses, accounts_frame, headline
from hwmodel.arguments import machines_of
from hwmodel.machine import ConfigError, Machine

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.measure.result import Result
    from hwmodel.trace import Trace

PRIMARY = ("clock.", "engine.", "cpu.", "memory.", "kernel.")
"""Prefixes of the settings that are equal in a fair comparison."""


def compare(
    machines: Mapping[str, Machine | str] | Iterable[Machine | str] | Machine | str,
    trace: "Trace | str",
    same_primary: str | Machine | None = None,
    share: float = 0.5,
    unit: str = "line",
    bytes: int = 8,
    progress: bool | None = None,
) -> "Comparison":
    """Run several machines on one trace.

    Parameters
    ----------
    machines : mapping of str to Machine, or iterable of Machine, or Machine
        The machines to compare, by the name to show, each a machine or the name of a preset; machines of an iterable are
        shown under their own names.
    trace : Trace or str
        The trace that they run; or the name of a shipped recording or of a file. If it has no device agent, machines that
        can have engines get an offloaded copy (`workloads.offload`), and the comparison says so.
    same_primary : str or Machine, optional
        Give every machine the clock, CPUs, memory and kernel of this one; a string names one of `machines`.
    share : float
        Part of the data accesses that an engine gets if the trace has to be offloaded.
    unit, bytes
        What an access of that engine stands for, as `workloads.offload` says.
    progress : bool, optional
        Show progress bars; by default as `hwmodel.simulate` decides.

    Returns
    -------
    Comparison

    Raises
    ------
    ConfigError
        If names repeat, `same_primary` is unknown, or a machine can't run the trace. No machine has run then.
    TraceError
        If the trace is invalid.
    """
    trace = runs.trace_of(trace)
    named, base = equal_terms(machines_of(machines), same_primary)
    plain, shared, note = runs.offloaded(trace, named.values(), share, unit, bytes)
    notes = [f"Clock, CPUs, memory and kernel of {base} on every machine."] if base else []
    notes += [note] if note else []
    results = {
        name: runs.simulate(machine, shared if machine.has_engines else plain, progress)
        for name, machine in named.items()
    }
    return Comparison(results, tuple(notes))


def equal_terms(machines: dict[str, Machine], base: str | Machine | None) -> tuple[dict[str, Machine], str]:
    """Return the machines with the primary MMU of `base`, and the name of `base`; unchanged without `base`."""
    if base is None:
        return machines, ""
    if isinstance(base, str):
        if base not in machines:
            raise ConfigError(f"same_primary: {base!r} is none of {', '.join(machines)}")
        base = machines[base]
    return {name: machine.same_primary(base) for name, machine in machines.items()}, base.name


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Runs of several machines on one trace, side by side.

    Parameters
    ----------
    results : dict of str to Result
        By the name each is shown under, in order.
    notes : tuple of str
        Changes made to machines or trace, a line each.
    """

    results: dict[str, "Result"]
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def table(self) -> "pd.DataFrame":
        """Return one row for each machine.

        Returns
        -------
        DataFrame
            Columns: design, kernel (its policy), clock_mhz, every metric of ``analysis.METRICS``, then where the cycles went:
            ``engine.ACCOUNT_ns_per_access`` (of the device accesses), ``cpu.ACCOUNT_ns_per_access`` (of the CPUs').
            ``attrs["configuration"]`` has the settings of each machine, ``attrs["trace"]`` the trace's info.
        """
        import pandas as pd

        rows = []
        for result in self.results.values():
            machine = result.machine
            about = {"design": machine.design, "kernel": machine.get("kernel.policy"), "clock_mhz": machine.get("clock.mhz")}
            rows.append(about | headline(result))
        frame = pd.DataFrame(rows, pd.Index(list(self.results), name="machine"))
        wide = self.accounts.assign(column=lambda a: a["side"] + "." + a["account"] + "_ns_per_access")
        wide = wide.pivot(index="machine", columns="column", values="ns_per_access")
        columns = list(dict.fromkeys(_in_order(self.accounts)))
        frame = frame.join(wide.reindex(index=frame.index, columns=columns).fillna(0.0))
        frame.attrs = {
            "configuration": {name: result.machine.flat() for name, result in self.results.items()},
            "trace": self._any.trace_info,
        }
        return frame

    @functools.cached_property
    def accounts(self) -> "pd.DataFrame":
        """Return where the cycles went, tidy: machine, side, account, waiting, cycles, ns, ns_per_access of that side."""
        return accounts_frame(self.results)

    @functools.cached_property
    def differences(self) -> "pd.DataFrame":
        """Return every setting of clock, engine, CPUs, memory and kernel in which the machines differ; a column for each machine."""
        import pandas as pd

        settings = {name: result.machine.flat() for name, result in self.results.items()}
        names = dict.fromkeys(name for values in settings.values() for name in values if name.startswith(PRIMARY))
        rows = {name: [values.get(name) for values in settings.values()] for name in names}
        rows = {name: values for name, values in rows.items() if any(value != values[0] for value in values)}
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
        return f"{runs.title(self._any)}{part}: {size / 1e6:,.1f} M references{given}"

    def warnings(self) -> list[str]:
        """Return what readers of the figures must know (`analysis.cautions`)."""
        return [line for name, result in self.results.items() for line in cautions.of(name, result)]

    @property
    def sheet(self) -> tables.Sheet:
        """Return the contents of the tables for people."""
        return tables.Sheet(
            list(self.results), self.subtitle, self.notes, self.warnings(), self.table, self.accounts, self.differences
        )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `table`, complete or not at all."""
        files.write_all({path: self._csv})

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

        return plots.draw_both(self.accounts, self.results, self.subtitle)

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

        costs = plots.draw_costs(self.accounts, list(self.results), self.subtitle)
        latencies = plots.draw_latencies(self.results, self.subtitle)
        writers = {
            "compare.csv": self._csv,
            "compare.md": lambda target: files.text(target, tables.markdown(self.sheet, pictures=True)),
            "settings.csv": lambda target: files.csv(target, self.settings, index=False),
            "costs.png": lambda target: plots.save(costs, target),
            "latency.png": lambda target: plots.save(latencies, target),
        }
        return files.write_all({os.path.join(out, name): writer for name, writer in writers.items()})

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.results)} on {runs.title(self._any)}>"

    @property
    def _any(self) -> "Result":
        return next(iter(self.results.values()))

    def _csv(self, target: Any) -> None:
        files.csv(target, self.table, float_format="%.10g")


def _in_order(accounts: "pd.DataFrame") -> list[str]:
    """Return the columns of the accounts: the engine's, then the CPUs', each in the order in which they first come."""
    present = dict.fromkeys(zip(accounts["side"], accounts["account"], strict=True))
    return [f"{side}.{account}_ns_per_access" for wanted in ("engine", "cpu") for side, account in present if side == wanted]

