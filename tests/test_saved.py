"""Results in files: what is read is what was written; other versions, damage and other files are told."""

import json

import numpy as np
import pytest

import hwmodel
import workloads
from hwmodel.config import ConfigError
from hwmodel.measure import saved
from hwmodel.simulate import simulate, simulate_all
from tests.support import designs

pytestmark = pytest.mark.jit_off


def small(devices=1):
    return workloads.zipf(accesses=600, pages=30, devices=devices)


def same(one, other):
    """Whether two results are the same to the last bit, regions too; the time on the host aside."""
    assert one.machine == other.machine and one.machine.provenance() == other.machine.provenance()
    assert one.machine.description == other.machine.description and list(one.regions) == list(other.regions)
    for mine, its in zip([one, *one.regions.values()], [other, *other.regions.values()], strict=True):
        assert (mine.agents, mine.trace_info, mine.records, mine.references, mine.part) == (
            its.agents, its.trace_info, its.records, its.references, its.part
        )  # fmt: skip
        for name in ("clocks", "histograms", "phase_histograms", "phase_shares"):
            assert np.array_equal(getattr(mine, name), getattr(its, name)), name
        for name in ("counters", "ledger", "serving"):
            assert np.array_equal(getattr(mine, name).array, getattr(its, name).array), name


@pytest.mark.parametrize("name", designs.names())
def test_a_result_is_read_as_it_was_written(name, tmp_path):
    machine = designs.design(name).machine
    result = simulate(machine, small(int(machine.has_engines)), warmup=5, regions={"end": 300}, progress=False)
    result.save(tmp_path / "run.npz")
    read = hwmodel.Result.load(tmp_path / "run.npz")
    same(read, result)
    read.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "run.npz").read_bytes()


def test_machines_that_read_a_trace_together_have_the_results_of_single_runs():
    """Chunks are what all wait for, so machines of any speed, and twice the same one, go over them together."""
    machines = ["gru-2008", "kvm-ept-2024", hwmodel.preset("gru-2008").with_(**{"tlb.entries": 64}), "gru-2008"]
    found = simulate_all(machines, small(), warmup=5, regions={"end": 300}, progress=False)
    for machine, result in zip(machines, found, strict=True):
        same(result, simulate(machine, small(), warmup=5, regions={"end": 300}, progress=False))
    assert simulate_all([], small(), progress=False) == []


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"no zip", lambda data: data[: len(data) // 2],
                                    lambda data: data[:400] + bytes(40) + data[440:]])  # fmt: skip
def test_what_is_no_result_is_told(damage, tmp_path):
    simulate("gru-2008", small(), progress=False).save(tmp_path / "run.npz")
    (tmp_path / "run.npz").write_bytes(damage((tmp_path / "run.npz").read_bytes()))
    with pytest.raises(ConfigError, match=r"run\.npz: is no saved result") as caught:
        hwmodel.Result.load(tmp_path / "run.npz")
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        hwmodel.Result.load(tmp_path / "none.npz")


def test_an_array_is_never_unpickled(tmp_path):
    """Text of others: an array of objects would run what it says."""
    np.savez(tmp_path / "evil.npz", head=np.array([{}], object))
    with pytest.raises(ConfigError, match="is no saved result"):
        hwmodel.Result.load(tmp_path / "evil.npz")


def rewritten(path, change):
    """Write a result whose head somebody has changed."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    head = json.loads(arrays["head"].tobytes())
    change(head)
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez(path, **arrays)


def test_another_version_is_told(tmp_path):
    path = tmp_path / "run.npz"
    result = simulate("gru-2008", small(), progress=False)
    result.save(path)
    rewritten(path, lambda head: head.update(version="0.0.1+older"))
    with pytest.warns(UserWarning, match=r"run\.npz: version 0\.0\.1\+older of the model wrote it"):
        same(hwmodel.Result.load(path), result)
    rewritten(path, lambda head: head["counts"]["counters"].pop())
    with pytest.raises(ConfigError, match="which counted other things"):
        hwmodel.Result.load(path)
    rewritten(path, lambda head: head.update(format=saved.FORMAT + 1))
    with pytest.raises(ConfigError, match="is a saved result of format 2"):
        hwmodel.Result.load(path)
