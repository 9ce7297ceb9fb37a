"""Which uncertain costs decide a comparison: each at both ends of its range, or Sobol indices; `sensitivity`, `Sensitivity`."""

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from analysis.experiments import Experiment, experiment
from analysis.metrics import Metric
from analysis.overhead import Figure
from analysis.ranges import Quantity, quantities, setting_of
from analysis.tables import cell
from analysis.terms import EQUAL, Terms, on_equal_terms
from analysis.uncertainty import OVERHEAD, have_the_figure, single
from hwmodel import html
from hwmodel.arguments import machines_of
from hwmodel.config.errors import suggestion
from hwmodel.machine import ConfigError, Machine

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.trace import Trace

METHODS = ("oat", "sobol")
LOW, VALUE, HIGH = ENDS = ("at_low", "at_value", "at_high")
"""The columns of what is measured at an end of a range, at the machine's own values, at the other end."""
RATIO, DIFFERENCE = " / ", " less "
"""Between two machines: the ratio of their figures, and the difference."""


@dataclass(frozen=True, eq=False, repr=False)
class Sensitivity:
    """What a figure of some machines, and the ratio and the difference of each two, owe to each uncertain cost.

    Attributes
    ----------
    frame : DataFrame
        A row for each quantity and measure, the largest swing of a measure first. Columns: quantity (a setting, or a sum), machines that
        share it, unit, letter, value, low, high; measure (a machine: its figure; "A / B", "A less B"); at_low, at_value, at_high, what
        it is there; swing, from the least of the three to the most; flips, whether A and B change places at an end. With Sobol indices
        also first_order and total, and first_order_band and total_band, half their 95 % intervals.
    method : str
        "oat" or "sobol".
    figure : Metric or Figure
        The figure; less of it is better.
    measure : str
        What is asked for if nothing else is said: the ratio of the first two machines, their difference if one is not above 0, or the
        only machine.
    notes : tuple of str
        The terms, what engines do of the workload, how many runs there were.
    """

    frame: "pd.DataFrame"
    method: str
    figure: Metric | Figure
    measure: str
    notes: tuple[str, ...]

    def of(self, measure: str | None = None) -> "pd.DataFrame":
        """Return the rows of a measure, the largest total index or else the largest swing first.

        Raises
        ------
        ConfigError
            If there is no such measure.
        """
        known = list(dict.fromkeys(self.frame["measure"]))
        wanted = self.measure if measure is None else measure
        if wanted not in known:
            raise ConfigError(f"measure: there is no {wanted}{suggestion(wanted, known)} (measures: {', '.join(known)})")
        rows = self.frame[self.frame["measure"] == wanted]
        return rows.sort_values("total" if self.method == "sobol" else "swing", ascending=False, kind="stable").reset_index(drop=True)

    def first(self, number: int = 5, measure: str | None = None) -> "pd.DataFrame":
        """Return the rows of the quantities that decide: those with the largest swings, or total indices."""
        return self.of(measure).head(number)

    def plot(self, number: int = 12, measure: str | None = None, axes: Any = None) -> Any:
        """Draw a tornado: a bar from end to end for each of the quantities that decide; or their Sobol indices.

        Parameters
        ----------
        number : int
            Most bars.
        measure : str, optional
            A machine, or two of them, "A / B".
        axes : matplotlib Axes, optional
            Where to draw; by default in a picture of its own.

        Returns
        -------
        Axes
            Of the picture ``.figure``.
        """
        from analysis.plots.tornado import draw_indices, draw_tornado

        rows = self.first(number, measure)
        if self.method == "sobol":
            return draw_indices(rows, axes)
        name = rows["measure"].iloc[0] if len(rows) else self.measure
        title = self.figure.title.rpartition(", ")[0] if RATIO in name else self.figure.title
        equal = {RATIO: 1.0, DIFFERENCE: 0.0}.get(next((sign for sign in (RATIO, DIFFERENCE) if sign in name), ""))
        return draw_tornado(rows, equal, f"{name}: {title}", axes)

    def __str__(self) -> str:
        rows = self.first(5)
        lines = [_line(row, self.method) for row in rows.to_dict("records")]
        return "\n".join([f"{self.measure}, {self.figure.title}: what decides it", *lines])

    def __repr__(self) -> str:
        return f"<Sensitivity ({self.method}) of {self.frame['quantity'].nunique()} quantities>\n{self}"

    def _repr_html_(self) -> str:
        first = self.first(5)
        shown = [name for name in first.columns if name not in ("measure", "machines")]
        return html.block(str(self).splitlines()[0], html.of_frame(first[shown], "quantities"))


def sensitivity(
    machines: Any,
    workload: "Trace | str | Callable[..., Trace]",
    method: Literal["oat", "sobol"] = "oat",
    *,
    among: int = 8,
    samples: int = 128,
    seed: int = 0,
    figure: str | Metric = OVERHEAD,
    keep: Iterable[str] = (),
    terms: Terms = EQUAL,
    warmup: int | float = 0,
    share: float = 0.5,
    unit: str = "line",
    bytes: int = 8,
    store: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    threads: int = 2,
    progress: bool | None = None,
) -> Sensitivity:
    """Say which of the uncertain costs decide a figure of some machines, and which of two costs less.

    What is uncertain, from where to where, is as in `analysis.uncertainty`. A sum that is better known than its parts is one quantity,
    whose parts keep their proportions.

    Parameters
    ----------
    machines : mapping of str to Machine, iterable, or one
        Machines or names of presets.
    workload : Trace, str or callable
        One workload, as `analysis.experiment` takes it.
    method : "oat" or "sobol"
        "oat": each quantity alone at both ends of its range, all others at the machine's values, two runs of each machine that has it.
        "sobol": of those with the largest swings, also the Sobol indices (SALib) of the default measure, a ratio by its logarithm: the
        share of its variance that a quantity explains alone (first order), and with all that it acts together with (total).
    among : int
        Quantities of which Sobol indices are found; the others stay as they are.
    samples : int
        A power of two; Sobol indices take ``samples * (among + 2)`` points.
    seed : int
        Of the Sobol sequence.
    figure : str or Metric
        What is measured, less being better: a name as for `analysis.experiment`.
    keep : iterable of str
        Settings that stay as they are.
    terms : Terms
        On which machines are compared; those of `analysis.compare` by default.
    warmup, share, unit, bytes, store, executor, threads, progress
        As `analysis.experiment` takes them.

    Raises
    ------
    ConfigError
        If a name or number is invalid, nothing is uncertain, or a machine does not have the figure.
    TraceError
        If the trace is invalid.
    """
    if method not in METHODS:
        raise ConfigError(f"method: must be one of {', '.join(METHODS)}, not {method!r}{suggestion(str(method), METHODS)}")
    if among < 1 or samples < 2 or samples & (samples - 1):
        raise ConfigError(f"among, samples: must be at least 1, and a power of two from 2 on, not {among} and {samples}")
    chosen, notes = on_equal_terms(machines_of(machines), terms)
    uncertain = quantities(chosen, keep)

    def run(points: list[dict[str, Any]]) -> Experiment:
        return experiment(
            chosen, single(workload), points, warmup=warmup, metrics=[figure], terms=None, store=store, executor=executor, threads=threads,
            progress=progress, share=share, unit=unit, bytes=bytes, title="sensitivity",
        )  # fmt: skip

    asked = run([_point(chosen, uncertain, {}), *(_point(chosen, uncertain, {one: end}) for one in uncertain for end in (0.0, 1.0))])
    found = asked.metrics[0]
    frame, measure = _ends(asked.frame, found.name, chosen, uncertain)
    told = [*notes, *asked.notes, f"{len(asked.frame)} rows of runs, one quantity at a time."]
    result = Sensitivity(frame, "oat", found, measure, tuple(told))
    if method == "oat":
        return result
    first = [next(one for one in uncertain if one.name == name) for name in result.first(among)["quantity"]]

    def measured(points: list[dict[str, Any]]) -> np.ndarray:
        return _measured(run(points).frame, found.name, measure)

    indices = _indices(measured, chosen, uncertain, first, samples, seed)
    joined = frame[frame["measure"] == measure].merge(indices, on="quantity", how="inner")
    said = f"Sobol indices of {len(first)} quantities from {samples * (len(first) + 2)} points; the others stay as they are."
    return Sensitivity(joined, "sobol", found, measure, (*told, said))


def _point(machines: Mapping[str, Machine], uncertain: Sequence[Quantity], places: Mapping[Quantity, float]) -> dict[str, Any]:
    """Return the point at which some quantities are at places of their ranges, all other settings as they are."""
    point = {
        setting_of(owner, one.setting): machines[owner].get(one.setting)
        for quantity in uncertain for owner in quantity.owners for one in quantity.ranges
    }  # fmt: skip
    for quantity, place in places.items():
        point |= {setting_of(owner, name): value for owner in quantity.owners for name, value in quantity.at(place).items()}
    return point


def _ends(frame: "pd.DataFrame", name: str, machines: Mapping[str, Machine], uncertain: Sequence[Quantity]) -> "tuple[pd.DataFrame, str]":
    """Return the rows of `Sensitivity.frame`, and the measure that decides."""
    import pandas as pd

    frame = frame.reindex(columns=["machine", name])
    have_the_figure(frame, name)
    values = _measures({label: frame.loc[frame["machine"] == label, name].to_numpy() for label in machines})
    measure = _deciding(values, list(machines))
    rows = []
    for number, one in enumerate(uncertain):
        about: dict[str, Any] = {"quantity": one.name, "machines": ", ".join(one.owners), "unit": one.range.unit}
        about |= {"letter": one.range.letter, "value": one.range.value, "low": one.range.low, "high": one.range.high}
        for key, found in values.items():
            at = dict(zip(ENDS, (float(found[place]) for place in (1 + 2 * number, 0, 2 + 2 * number)), strict=True))
            rows.append({**about, "measure": key, **at, "swing": max(at.values()) - min(at.values()), "flips": _flips(key, at)})
    order = {key: place for place, key in enumerate([measure, *(key for key in values if key != measure)])}
    told = pd.DataFrame(rows)
    told = told.assign(order=told["measure"].map(order)).sort_values(["order", "swing"], ascending=[True, False], kind="stable")
    return told.drop(columns="order").reset_index(drop=True), measure


def _measures(by_machine: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return every measure at every point: the machines' figures; of two the ratio, if all are above 0, and the difference."""
    found = dict(by_machine)
    for (a, mine), (b, theirs) in itertools.combinations(by_machine.items(), 2):
        if (mine > 0).all() and (theirs > 0).all():
            found[f"{a}{RATIO}{b}"] = mine / theirs
        found[f"{a}{DIFFERENCE}{b}"] = mine - theirs
    return found


def _deciding(values: Mapping[str, np.ndarray], machines: Sequence[str]) -> str:
    if len(machines) == 1:
        return machines[0]
    ratio = f"{machines[0]}{RATIO}{machines[1]}"
    return ratio if ratio in values else f"{machines[0]}{DIFFERENCE}{machines[1]}"


def _flips(measure: str, at: Mapping[str, float]) -> bool:
    """Return whether two machines change places at an end; a machine alone has nobody to change places with."""
    equal = 1.0 if RATIO in measure else 0.0
    signs = {np.sign(value - equal) for value in at.values()} - {0.0}
    return len(signs) > 1 and (RATIO in measure or DIFFERENCE in measure)


def _indices(
    run: Callable[[list[dict[str, Any]]], np.ndarray], machines: Mapping[str, Machine], uncertain: Sequence[Quantity],
    first: Sequence[Quantity], samples: int, seed: int,
) -> "pd.DataFrame":  # fmt: skip
    """Return the Sobol indices of some quantities."""
    import pandas as pd

    try:
        from SALib.analyze import sobol as analyze
        from SALib.sample import sobol as sample
    except ImportError:
        raise ConfigError("Sobol indices need SALib: pip install 'hwmodel[study]'") from None
    problem = {"num_vars": len(first), "names": [one.name for one in first], "bounds": [[0.0, 1.0]] * len(first)}
    places = sample.sample(problem, samples, calc_second_order=False, seed=seed)
    values = run([_point(machines, uncertain, dict(zip(first, map(float, row), strict=True))) for row in places])
    if np.ptp(values) == 0:
        raise ConfigError("sensitivity: no quantity changes the figure, so there is no variance to share out")
    found = analyze.analyze(problem, values, calc_second_order=False, seed=seed + 1)  # a seed of 0 would be none for its bootstrap
    names = {"S1": "first_order", "S1_conf": "first_order_band", "ST": "total", "ST_conf": "total_band"}
    return pd.DataFrame({"quantity": problem["names"], **{name: np.asarray(found[key]) for key, name in names.items()}})


def _measured(frame: "pd.DataFrame", name: str, measure: str) -> np.ndarray:
    """Return a measure at every point; a ratio as its logarithm."""
    by_machine = {str(label): rows[name].to_numpy() for label, rows in frame.groupby("machine", sort=False)}
    values = _measures(by_machine)
    if measure not in values:
        raise ConfigError(f"sensitivity: {measure} has no meaning at some of the points, where a figure is not above 0; use method oat")
    return np.log(values[measure]) if RATIO in measure else values[measure]


def _line(row: Mapping[str, Any], method: str) -> str:
    """Return a sentence about a quantity."""
    reach = f"{cell(float(row['low']))} to {cell(float(row['high']))} {row['unit']}"
    ends = f"{row['quantity']} (letter {row['letter']}), {reach}: {row[LOW]:.3g} to {row[HIGH]:.3g}"
    index = f"; explains {100 * row['total']:.0f} % in all" if method == "sobol" else ""
    return f"- {ends}{index}{'; the two change places' if row['flips'] else ''}"
