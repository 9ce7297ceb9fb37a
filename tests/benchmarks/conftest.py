"""Timing, and the rates that follow from it."""

import pytest

ROUNDS = 3
RATES = []


@pytest.fixture
def measured(benchmark, request):
    """Times a function, warm unless told otherwise; the amounts per second of its fastest run are shown, and go into `extra_info`."""

    def measure(function, rounds=ROUNDS, warmup=1, **amounts):
        benchmark.group = request.node.originalname.removeprefix("test_")
        result = benchmark.pedantic(function, rounds=rounds, warmup_rounds=warmup)
        seconds = benchmark.stats.stats.min
        benchmark.extra_info |= {f"{name}_per_second": round(n / seconds) for name, n in amounts.items()}
        RATES.append((request.node.name, seconds, benchmark.extra_info))
        return result

    return measure


def pytest_terminal_summary(terminalreporter):
    """Show what the table of times does not."""
    for name, seconds, rates in RATES:
        shown = ", ".join(f"{rate / 1e6:.3g} M {amount.replace('_per_second', '/s')}" for amount, rate in rates.items())
        terminalreporter.write_line(f"{name}: {seconds:.3g} s{', ' if shown else ''}{shown}")
