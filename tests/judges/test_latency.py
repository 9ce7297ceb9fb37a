"""What data take says nothing about translations: an engine of dependent accesses misses the same pages, however long its data take.

Where it does not, the order of an operation and of another agent's accesses differs, which the trace leaves open (deviation 36).
"""

import warnings

import numpy as np
import pytest

import hwmodel
import workloads
from analysis.runs import offloaded

LATENCIES = (2, 20, 88, 350, 700)
"""In ns, over most of the range of device.latency_ns."""
PARTS = 64


@pytest.mark.long
def test_latency_of_data_moves_no_miss():
    """As many misses of sqlite's device part in each of 64 parts of the recording, whatever the latency."""
    machine = hwmodel.preset("gru-2008").with_(**{"device.window": 1})
    _, trace, _ = offloaded(workloads.recorded("sqlite"), [machine], 0.5, unit="record")
    regions = {f"part {k}": int(at) for k, at in enumerate(np.linspace(0, len(trace), PARTS, endpoint=False))}
    misses = []
    for latency in LATENCIES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = hwmodel.simulate(machine.with_(**{"device.latency_ns": latency}), trace, progress=False, regions=regions)
        misses.append([part.counters["device.tlb.misses"] for part in result.regions.values()])
    assert 400 < sum(misses[0]) < 600
    assert all(found == misses[0] for found in misses)
