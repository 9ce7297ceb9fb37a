"""The faults of tests/mutations can be planted in the tree as it is; whether the suite catches them, tests/mutation.py says."""

from tests.mutation import faults, problems


def test_every_fault_can_be_planted():
    assert list(problems(faults())) == []


def test_the_list_covers_what_it_should():
    """A third of the faults of kernels are the oracle's too; each part of the project has its share."""
    kinds = [fault.kind for fault in faults()]
    assert len(kinds) >= 120 and 2 * kinds.count("both") >= kinds.count("kernel")
    files = " ".join(fault.changes[0].file for fault in faults())
    parts = "primary secondary parts config engine feed build run modelled trace".split()
    parts += "core/order core/clock core/locks core/ledger measure/result measure/latency".split()
    others = ("workloads/coalesce", "workloads/offload", "workloads/formats", "analysis/metrics")
    for part in (*(f"hwmodel/{part}" for part in parts), *others):
        assert part in files, part
