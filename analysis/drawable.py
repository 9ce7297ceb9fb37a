"""Parts of an experiment's frame that a picture can draw: nothing that differs between rows may be mixed without being told."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hwmodel.config.errors import suggestion
from hwmodel.machine import ConfigError

if TYPE_CHECKING:
    import pandas as pd

OF = ("machine", "design", "workload", "seed", "version")
"""The columns that say what a row is of, before the axes."""
FREE = ("seed", "design", "version")
"""Those that need not be alike: a picture has the median of the seeds, and a machine has one design."""


def check_columns(frame: "pd.DataFrame", *names: str) -> None:
    """Refuse columns that the frame does not have."""
    for name in names:
        if name not in frame:
            raise ConfigError(f"{name}: the frame has no such column{suggestion(name, list(frame))}")


def check_alike(frame: "pd.DataFrame", axes: Iterable[str], drawn: set[str | None], hue: str | None, what: str) -> None:
    """Refuse a column that has several values among the rows of a colour, unless it is drawn.

    Parameters
    ----------
    axes : iterable of str
        The names of the experiment's axes.
    drawn : set of str
        The columns that the picture shows.
    hue : str, optional
        The column whose values have colours.
    what : str
        What would mix the rows: "a line".
    """
    for name in [*OF, *axes, "region"]:
        if name not in {*drawn, *FREE} and name in frame and frame.groupby(hue or "version")[name].nunique().max() > 1:
            raise ConfigError(f"{name}: has several values, which {what} would mix; choose one by `where`, or draw over it")


def grid(frame: "pd.DataFrame", axes: Iterable[str], x: str, y: str, z: str) -> "pd.DataFrame":
    """Return a figure by two columns, the median of the seeds: a row for each value of y, a column for each of x; NaN: not run."""
    check_columns(frame, x, y, z)
    if len({x, y, z}) < 3:
        raise ConfigError(f"x, y and z: must be three columns, not {x}, {y}, {z}")
    if frame[z].dtype.kind not in "iuf":
        raise ConfigError(f"{z}: is no number, so it can't be drawn")
    check_alike(frame, axes, {x, y}, None, "a cell")
    found = frame.groupby([y, x], sort=False)[z].median().unstack()
    order = {name: sorted(frame[name].unique()) if frame[name].dtype.kind in "iuf" else list(frame[name].unique()) for name in (x, y)}
    return found.reindex(index=order[y], columns=order[x]).rename_axis(index=y, columns=x)
