"""What a user does with runs: compare machines, sweep settings, draw pictures; and the command line."""

from analysis.comparison import Comparison, compare
from analysis.metrics import METRICS, Metric, headline
from analysis.replay import Replay, replay
from analysis.runs import head
from analysis.sweeps import sweep

__all__ = ["METRICS", "Comparison", "Metric", "Replay", "compare", "head", "headline", "replay", "sweep"]
