"""Compare a Result of `hwmodel.simulate` with an Outcome of the oracle: exactly."""

from hwmodel.ledger import ACCOUNTS, COUNTERS, HEAD, LATENCIES


def differences(outcome, result):
    """Every number that differs, as text: where, the oracle's, the kernels'."""
    found = []

    def check(where, expected, got):
        if expected != got:
            found.append(f"{where}: oracle {expected}, kernels {got}")

    check("agents", len(outcome.clocks), len(result.agents))
    for row, clock in enumerate(outcome.clocks):
        label = f"row {row} ({outcome.names[row]})"
        check(f"{label} clock", clock, int(result.clocks[row]))
        for column, name in enumerate(COUNTERS):
            check(f"{label} {name}", outcome.counters[row][name], int(result.counters.array[row, column]))
        for column, name in enumerate(ACCOUNTS):
            check(f"{label} ledger.{name}", outcome.ledger[row][name], int(result.ledger.array[row, column]))
    for place, kind in enumerate(LATENCIES):
        row = result.histograms[place]
        expected = outcome.histograms.get(kind, {"count": 0, "sum": 0, "min": 0, "max": 0, "buckets": {}})
        check(f"{kind} count", expected["count"], int(row[0]))
        check(f"{kind} sum", expected["sum"], int(row[1]))
        if expected["count"]:
            check(f"{kind} min", expected["min"], int(row[2]))
            check(f"{kind} max", expected["max"], int(row[3]))
        buckets = {bucket: int(n) for bucket, n in enumerate(row[HEAD:]) if n}
        check(f"{kind} buckets", expected["buckets"], buckets)
    return found
