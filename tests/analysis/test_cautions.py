"""What a table says of its figures before anybody believes them."""

import pytest

import analysis
import hwmodel
import workloads
from analysis import cautions
from tests.analysis import fabricated
from tests.analysis.fabricated import CPU, ENGINE, Machine


def told(counters=(), ledger=(), latencies=(), serving=()):
    """The cautions about a result that no run made."""
    return list(cautions.of("GRU", fabricated.result(Machine(), dict(counters), dict(ledger), dict(latencies), dict(serving))))


def test_what_was_not_carried_out():
    assert told({"segv": {CPU: 1200}, "unsupported_ops": {CPU: 3}}) == [
        "GRU: 1,200 accesses without a right (segv) were not carried out.", "GRU: 3 operations failed or are not supported."]  # fmt: skip


@pytest.mark.parametrize(
    "misses, said",
    [
        (0, ""), (1, "the longest of 1 misses"), (63, "the longest of 63 misses"), (101, "the 2 longest of 101 misses"),
        (900, "the 9 longest of 900 misses"), (901, ""), (5000, ""),
    ],
)  # fmt: skip
def test_a_percentile_of_few(misses, said):
    assert told(latencies={"fault": range(1, misses + 1)}) == ([f"GRU: resolution p99 rests on {said}."] if said else [])


@pytest.mark.parametrize("serving, said", [(799, []), (800, ["GRU: main spends 80 % of the run serving engines: misses queue for it."])])
def test_a_cpu_that_does_little_else(serving, said):
    ledger = {"irq": {CPU: serving - 100}, "driver": {CPU: 100}, "instruction": {CPU: 1000 - serving}, "access": {ENGINE: 1000}}
    work = {"irq": {CPU: serving - 200}, "driver": {CPU: 100}, "access": {CPU: 100, ENGINE: 1000}}
    assert told(ledger=ledger | {"access": {CPU: 100, ENGINE: 1000}, "irq": {CPU: serving - 200}}, serving=work) == said
    assert told(ledger=ledger) == [], "the kernel's own work in the same accounts is none for engines"


def test_a_table_says_that_it_saw_the_head_only():
    found = analysis.compare("gru-2008", analysis.head(workloads.recorded("sqlite"), 20_000), progress=False)
    assert ", its first 20,000 records: " in found.subtitle and found.subtitle in found.to_markdown()
    whole = hwmodel.simulate("cpu-only", workloads.zipf(accesses=10, pages=4), progress=False)
    assert "head" not in whole.trace_info
