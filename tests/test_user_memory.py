"""The end of user memory is a trace's: what is valid, what files and compositions keep, what machines reach."""

import pytest

import hwmodel
import workloads
from hwmodel import op
from hwmodel.config import ConfigError
from hwmodel.op import TraceError
from hwmodel.trace import Trace, validate

LOW, HIGH = 0x7F0000000000, 0xFF0000000000
FOUR_LEVELS, ARM64, FIVE_LEVELS = op.USER_ENDS
RW = op.PROT_READ | op.PROT_WRITE


def make(records, end=ARM64, devices=0):
    agents = [op.Agent("cpu", 0, "app"), *(op.Agent("device", 0, f"engine{i}") for i in range(devices))]
    return Trace.from_records(agents, records, info={"user_end": end} if end else {})


def program(base):
    """A little of everything that does not fork, on pages from `base` on."""
    records = [*op.mmap_unit(base, 1100, RW), *((base + page * op.PAGE, 1, 0, op.WRITE, 0) for page in range(0, 1100, 3))]
    records += op.paged_unit(op.MPROTECT, base + 64 * op.PAGE, 600, [(0, op.PROT_READ)])
    records += [(base + page * op.PAGE, 2, 0, op.READ, page % 2) for page in range(0, 1100, 5)]
    records += op.paged_unit(op.MADVISE, base, 40, [(0, op.DONTNEED)]) + op.paged_unit(op.MREMAP, base, 50, [(base + (1 << 30), 70)])
    return [*records, *op.paged_unit(op.MUNMAP, base + 100 * op.PAGE, 700), (0, 0, 0, op.EXIT, 0)]


LAST = {
    "read": lambda end: [(end - 1, 1, 0, op.READ, 0)],
    "brk": lambda end: [(end - 1, 0, 0, op.BRK, 0)],
    "mmap": lambda end: op.mmap_unit(end - 3 * op.PAGE, 3, RW),
    "mremap": lambda end: op.paged_unit(op.MREMAP, LOW, 1, [(end - 2 * op.PAGE, 2)]),
    "xpmem": lambda end: op.mmap_unit(LOW, 2, RW, op.XPMEM, 1, (end >> op.PAGE_SHIFT) - 2),
    "ksm_merge": lambda end: op.paged_unit(op.KSM_MERGE, LOW, 2, [(end - 2 * op.PAGE, 0)]),
    "a guest's mremap": lambda end: op.paged_unit(op.GUEST, LOW, 2, [(end - 2 * op.PAGE, op.MREMAP << op.GUEST_SHIFT)]),
}


@pytest.mark.parametrize("kind", LAST)
@pytest.mark.parametrize("end", op.USER_ENDS)
def test_records_reach_to_the_end_and_no_further(kind, end):
    validate(make(LAST[kind](end), end))
    validate(make(LAST[kind](end), None) if end == FOUR_LEVELS else make(LAST[kind](FOUR_LEVELS), end))
    beyond = LAST[kind](end + op.PAGE)
    with pytest.raises(TraceError):
        validate(make(beyond, end))


@pytest.mark.parametrize("end", [0, 1 << 46, (1 << 47) + 4096, 1 << 57, 2.0**48, "2^48", True, None])
def test_user_memory_ends_at_known_places_only(end):
    trace = Trace.from_records([op.Agent("cpu", 0, "app")], [], info={"user_end": end}, name="strange")
    with pytest.raises(TraceError, match=r"^strange: user_end: user memory ends at one of 0x800000000000, 0x1000000000000, 0x1"):
        validate(trace)


@pytest.mark.parametrize("suffix", ["hwtrace", "csv"])
def test_files_keep_it(tmp_path, suffix):
    trace = make(program(HIGH), devices=1)
    path = workloads.write(trace, tmp_path / f"high.{suffix}") or tmp_path / f"high.{suffix}"
    again = workloads.read(path)
    validate(again)
    assert again.user_end == ARM64
    assert [record for chunk in again.chunks() for record in chunk.tolist()] == [tuple(record) for record in program(HIGH)]


def test_compositions_keep_the_highest():
    low, high = make([(LOW, 1, 0, op.READ, 0)], None), make([(HIGH, 1, 0, op.READ, 0)])
    for trace in (workloads.interleave([low, high]), workloads.concatenate([high, low]), workloads.repeat(high, 2), workloads.head(high, 1),
                  workloads.shift(high, 4096), workloads.select(high, agents=[0]), workloads.offload(high, 0.5)):  # fmt: skip
        validate(trace)
        assert trace.user_end == ARM64
    assert workloads.interleave([low, low]).user_end == FOUR_LEVELS
    assert workloads.as_guest(high).prelude["address"][-1] == ARM64 >> op.PAGE_SHIFT
    with pytest.raises(TraceError, match="leave user memory"):
        list(workloads.shift(high, ARM64 - HIGH).chunks())
    with pytest.raises(TraceError, match="within user memory"):
        workloads.shift(low, FOUR_LEVELS)


@pytest.mark.parametrize("preset", ["cpu-only", "gru-2008", "ideal-2008"])
def test_high_memory_costs_what_low_memory_does(preset):
    """Tables of four levels reach to 2^48: the same run 2^47 bytes higher has the same counters and clocks."""
    devices = int(preset != "cpu-only")
    low, high = ([(*rest, agent * devices) for *rest, agent in program(base)] for base in (LOW, LOW + (1 << 47)))
    one, other = (hwmodel.simulate(preset, make(each, end, devices), progress=False) for each, end in ((low, None), (high, ARM64)))
    assert one.cycles > 0 and one.clocks.tolist() == other.clocks.tolist()
    assert one.counters.array.tolist() == other.counters.array.tolist() and one.ledger.array.tolist() == other.ledger.array.tolist()


@pytest.mark.parametrize("preset, end, most", [
    ("cpu-only", FIVE_LEVELS, ARM64), ("gru-2008", FIVE_LEVELS, ARM64), ("kvm-ept-2024", ARM64, FOUR_LEVELS),
])  # fmt: skip
def test_machines_refuse_what_their_tables_do_not_reach(preset, end, most):
    trace = make([(LOW, 1, 0, op.READ, 0)], end, int(preset != "cpu-only"))
    reason = rf"^user memory ends at {end:#x}, but {preset}'s page tables reach user memory up to {most:#x}$"
    with pytest.raises(ConfigError, match=reason):
        hwmodel.simulate(preset, trace, progress=False)


@pytest.mark.parametrize("preset", ["cpu-only", "gru-2008", "ideal-2008"])
def test_a_fork_of_high_memory_costs_what_one_of_low_memory_does(preset):
    """Parent and child write what they share, 2^47 bytes higher: the same copies, in both of them."""
    devices = int(preset != "cpu-only")
    agents = [op.Agent("cpu", 0, "app"), op.Agent("cpu", 1, "child"), *(op.Agent("device", 1, "engine") for _ in range(devices))]

    def forked(base, end):
        records = [*op.mmap_unit(base, 600, RW), *((base + page * op.PAGE, 1, 0, op.WRITE, 0) for page in range(0, 600, 3))]
        records += [(0, 1, 0, op.FORK, 0), *((base + page * op.PAGE, 1, 0, op.WRITE, 0) for page in range(0, 600, 6))]
        records += [(base + page * op.PAGE, 1, 0, op.WRITE, 1 + page % (1 + devices)) for page in range(0, 600, 9)]
        return Trace.from_records(agents, records, info={"user_end": end} if end else {})

    one, other = (hwmodel.simulate(preset, forked(base, end), progress=False) for base, end in ((LOW, None), (LOW + (1 << 47), ARM64)))
    assert one.counters["faults.cow"] >= 30 and one.clocks.tolist() == other.clocks.tolist()
    assert one.counters.array.tolist() == other.counters.array.tolist() and one.ledger.array.tolist() == other.ledger.array.tolist()
