"""Tools for runs: compare machines, sweep settings, draw pictures; and the command line."""

from analysis.comparison import Comparison, compare
from analysis.inspection import Inspection, inspect
from analysis.metrics import METRICS, Metric, headline
from analysis.replay import Replay, replay
from analysis.runs import head
from analysis.sweeps import sweep

__all__ = [
    "METRICS", "Comparison", "Inspection", "Metric", "Replay", "compare", "head", "headline", "inspect", "replay", "sweep",
]  # fmt: skip
