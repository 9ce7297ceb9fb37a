"""An experiment whose figures follow from a formula: what is found in it can be calculated by hand."""

import importlib
from collections.abc import Callable

import pandas as pd

from analysis.axes import Axes
from analysis.experiments import Experiment
from analysis.metrics import METRICS


def use(monkeypatch, module: str, formula: Callable[[str, dict, int], float], asked: list | None = None) -> None:
    """Let a module of `analysis` run experiments of a formula; `asked` gets the points of each."""
    monkeypatch.setattr(importlib.import_module(f"analysis.{module}"), "experiment", experiment(formula, asked))


def experiment(formula: Callable[[str, dict, int], float], asked: list | None):
    """Return what takes the place of `analysis.experiment`: the figure is `formula` of the machine's name, the point and the seed."""

    def run(machines, workloads, points, *, seeds=(0,), metrics, **options):
        if asked is not None:
            asked.append(list(points))
        rows = [
            {"machine": name, METRICS[0].name: formula(name, point, seed)} for name in machines for point in points for seed in seeds
        ]
        return Experiment(pd.DataFrame(rows), Axes(tuple(points[0]), tuple(points), False), (METRICS[0],), ("a note",))

    return run


def value(point: dict, machine: str, setting: str) -> float:
    """A cost of a machine at a point, free as 0."""
    found = point[f"{machine}:{setting}"]
    return 0.0 if found == "free" else float(found)
