"""The phases of a miss that needs software: where its latency went, by path; in a table, and in bars that add up.

Each request is in one phase at a time, so the phases of a miss add up to its latency. Medians of phases don't add up to a median, so bars
take the phases' mean over those misses whose latency is in the bucket of a percentile.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hwmodel.core.ledger import HEAD
from hwmodel.measure.latency import Latency

if TYPE_CHECKING:
    import pandas as pd


def table(result: Any, kind: str) -> "pd.DataFrame":
    """Return what `Result.phases` says of itself."""
    import pandas as pd

    rows, index = [], []
    for path in paths_of(result, kind):
        p = result.book.paths.index(path)
        total = int(result.phase_shares[p].sum())
        for k, phase in enumerate(result.book.phases):
            one = Latency(phase, result.phase_histograms[p, k], result.ns_per_cycle, "ns")
            if one.count:
                index.append((path, phase))
                rows.append((one.count, one.mean, one.percentile(50), one.percentile(99), one.max, 100 * int(one.row[1]) / total))
    columns = ["count", "mean_ns", "p50_ns", "p99_ns", "max_ns", "share_percent"]
    return pd.DataFrame(rows, pd.MultiIndex.from_tuples(index, names=["path", "phase"]) if index else None, columns)


def bars(result: Any, kind: str, percentiles: Sequence[float]) -> "pd.DataFrame":
    """Return what `Result.phase_bars` says of itself."""
    import pandas as pd

    paths = [result.book.paths.index(path) for path in paths_of(result, kind)]
    shares = result.phase_shares[paths].sum(axis=0)
    counts = result.latency(kind).row[HEAD:]
    rows = {}
    for percent in percentiles:
        bucket = bucket_at(counts, percent)
        rows[percent] = shares[bucket] / counts[bucket] * result.ns_per_cycle if bucket >= 0 else [math.nan] * shares.shape[1]
    frame = pd.DataFrame.from_dict(rows, "index", columns=list(result.book.phases)).rename_axis("percentile")
    return frame.loc[:, (frame != 0).any()]


def paths_of(result: Any, kind: str) -> tuple[str, ...]:
    """Return the paths that a kind of latency has, by their latencies; raise KeyError if it is none of them."""
    paths = result.book.paths
    if not result.book.phases or kind not in ("fault", *paths):
        what = f"{kind!r} is none of {', '.join(dict.fromkeys(('fault', *paths)))}" if result.book.phases else "this design declares none"
        raise KeyError(f"phases: {what}")
    return paths if kind == "fault" else (kind,)


def bucket_at(counts: np.ndarray, percent: float) -> int:
    """Return the bucket that holds the smallest latency which `percent` of all do not exceed; -1 if there is none at all."""
    total = int(counts.sum())
    return int(np.searchsorted(np.cumsum(counts), max(1, math.ceil(percent * total / 100)))) if total else -1
