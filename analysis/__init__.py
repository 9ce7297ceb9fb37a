"""Tools for runs: compare machines, sweep settings, draw pictures; and the command line."""

from analysis.axes import latin_hypercube, sobol
from analysis.breakeven import BreakEven, breakeven
from analysis.comparison import Comparison, compare
from analysis.curves import miss_curve
from analysis.experiments import Experiment, experiment
from analysis.explanation import Explanation
from analysis.inspection import Inspection, inspect
from analysis.metrics import METRICS, Metric, headline
from analysis.operations import OperationCost, operation_cost
from analysis.overhead import Overhead, bound_of, overhead
from analysis.replay import Replay, replay
from analysis.replicates import Interval, interval, ratio, replicate
from analysis.runs import head
from analysis.sensitivity import Sensitivity, sensitivity
from analysis.study import Study, compare_suite
from analysis.sweeps import sweep
from analysis.terms import Terms
from analysis.uncertainty import Uncertainty, uncertainty

__all__ = [
    "METRICS", "BreakEven", "Comparison", "Experiment", "Explanation", "Inspection", "Interval", "Metric", "OperationCost", "Overhead",
    "Replay", "Sensitivity", "Study", "Terms", "Uncertainty", "bound_of", "breakeven", "compare", "compare_suite", "experiment", "head",
    "headline", "inspect", "interval", "latin_hypercube", "miss_curve", "operation_cost", "overhead", "ratio", "replay", "replicate",
    "sensitivity", "sobol", "sweep", "uncertainty",
]  # fmt: skip
