"""One operation with threads around it: who is interrupted, who is told, what was touched; in the model, not only in the trace."""

import warnings

import pytest
from small_traces import check, records

import hwmodel
import workloads
from hwmodel import op
from hwmodel.op import Agent, TraceError
from hwmodel.trace import Trace
from tests.support import designs
from workloads.operation import BASE, MOST_PAGES, MOVED, OWN_BASE, OWN_PAGES

NAMES = {"dontneed": "madvise", "free": "madvise", "cold": "madvise"}
"""What the books call these operations; the others as they are."""
KINDS = ("mmap", "munmap", "mprotect", "mremap", "fork", *NAMES)
"""Those that are one operation; a "cow" is a fork and faults."""
MUNMAP = (BASE, 8, 0, op.MUNMAP, 0)


def run(machine, kind, pages=8, **arguments):
    """The result, with the operation carried out, and neither warning nor failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = hwmodel.simulate(machine, workloads.operation(kind, pages, **arguments), progress=False)
    name = NAMES.get(kind, kind)
    assert result.counters[f"ops.{name}"] == result.latency(f"op.{name}").count == 1
    assert result.counters["segv"] == result.counters["unsupported_ops"] == 0
    return result


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_every_other_thread_is_interrupted(kind, threads):
    """Once for each flush; all are loaded in their CPUs, so all answer. A mremap flushes what moves, then what is unmapped if tables go."""
    result = run(hwmodel.preset("cpu-only"), kind, threads=threads, devices=0)
    counts = result.counters
    flushes = counts["flushes.full"] + counts["flushes.ranged"]
    assert flushes == 1 or (kind == "mremap" and flushes == 2)
    assert counts["ipis.sent"] == counts["ipis.acked"] == flushes * (threads - 1)
    assert [name for name, cycles in result.ledger.by_agent("ipi_respond").items() if cycles] == [f"cpu{i}" for i in range(1, threads)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pages", [8, 700])
def test_the_others_are_at_work_until_it_has_ended(kind, pages):
    """Each reads its own pages for longer than the operation takes, and has not a miss but those that flushes make."""
    machine, trace = hwmodel.preset("cpu-only"), workloads.operation(kind, pages, threads=3, devices=0)
    result = run(machine, kind, pages, threads=3, devices=0)
    meanwhile = [record for record in records(trace)[trace.info["record"] :] if record[3] == op.READ]
    assert {record[4] for record in meanwhile} == {1, 2} and len(meanwhile) == 2 * OWN_PAGES
    work = sum(record[1] for record in meanwhile) // 2 * machine.costs()["access"]
    assert work > result.latency(f"op.{NAMES.get(kind, kind)}").max
    assert result.latency("cpu_fault").count == pages


@pytest.mark.parametrize("name", designs.with_engines())
@pytest.mark.parametrize("kind", KINDS)
def test_devices_have_used_the_pages_and_get_their_notices(name, kind):
    design = designs.design(name)
    result = run(design.machine, kind, threads=2, devices=2)
    counts = result.counters
    assert counts.total("device.accesses", "device") >= 8 + 2 * OWN_PAGES
    noticed = kind != "cold" and design.subscribes
    assert (counts["notices.start"] > 0) == noticed and counts["notices.start"] == counts["notices.end"]
    assert counts["ipis.sent"] >= 1


@pytest.mark.parametrize(("touched", "pages"), [(0, 0), (0.25, 2), (0.3, 2), (0.5, 4), (1, 8)])
@pytest.mark.parametrize("devices", [0, 1, 3])
def test_so_many_pages_are_touched(touched, pages, devices):
    """Evenly spread, by thread 0 and then by the devices in turn."""
    trace = workloads.operation("munmap", 8, 2, devices, touched)
    writes = [(record[0] - BASE >> 12, record[4]) for record in records(trace) if record[3] == op.WRITE]
    places = [i * 8 // pages for i in range(pages)]
    assert writes == [(page, 0) for page in places] + [(page, 2 + i % devices) for i, page in enumerate(places) if devices]
    counts = run(hwmodel.preset("cpu-only"), "munmap", threads=2, devices=0, touched=touched).counters
    assert counts["ipis.sent"] == (1 if touched else 0), "nothing to flush"


EXPECTED = {
    "mmap": op.mmap_unit(BASE, 8, 3),
    "munmap": [MUNMAP],
    "mprotect": op.paged_unit(op.MPROTECT, BASE, 8, [(0, op.PROT_READ)]),
    "mremap": op.paged_unit(op.MREMAP, BASE, 8, [(MOVED, 8)]),
    "fork": [(0, 1, 0, op.FORK, 0)],
    "dontneed": op.paged_unit(op.MADVISE, BASE, 8, [(0, op.DONTNEED)]),
    "free": op.paged_unit(op.MADVISE, BASE, 8, [(0, op.FREE)]),
    "cold": op.paged_unit(op.MADVISE, BASE, 8, [(0, op.COLD)]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("devices", [0, 2])
def test_its_records(kind, devices):
    """The operation begins at the record that is told, between two SYNCs, and everybody has a record behind the second."""
    trace = workloads.operation(kind, 8, 3, devices)
    found, at = check(trace), trace.info["record"]
    assert found[at : at + len(EXPECTED[kind])] == EXPECTED[kind] and found[at - 1][3] == op.SYNC
    syncs = [i for i, record in enumerate(found) if record[3] == op.SYNC]
    assert len(syncs) == 3 and syncs[1] == at - 1
    assert found[syncs[2] + 1 :] == [(0, 1, 0, op.COMPUTE, agent) for agent in range(3 + devices)]
    own = {record[0] - OWN_BASE >> 12: record[4] for record in found if record[3] == op.READ}
    assert own == {agent * OWN_PAGES + page: agent for agent in range(3 + devices) for page in range(OWN_PAGES)}
    assert [agent.space for agent in trace.agents] == [0] * (3 + devices) + [1] * (kind == "fork")


@pytest.mark.parametrize("pages", [1, 8, 700])
@pytest.mark.parametrize("devices", [0, 1])
def test_a_cow_is_a_fork_and_then_a_copy_of_each_page(pages, devices):
    """Each write of thread 0 faults, and interrupts every other thread once; the fork has interrupted each once before."""
    machine = hwmodel.preset("kvm-ept-2024" if devices else "cpu-only")
    trace = workloads.operation("cow", pages, 3, devices)
    result = hwmodel.simulate(machine, trace, progress=False, warmup=trace.info["record"])
    counts = result.counters
    assert counts["ops.fork"] == 1 and counts["segv"] == counts["unsupported_ops"] == 0
    assert result.latency("cpu_fault").count == counts["flushes.ranged"] == pages
    answered = {name: n for name, n in result.ledger.by_agent("ipi_respond").items() if n}
    assert {"cpu1", "cpu2"} <= answered.keys() and answered["cpu1"] == answered["cpu2"]
    assert counts.by_agent("ipis.sent")["cpu0"] >= (pages + 1) * 2
    if not devices:
        assert counts["ipis.sent"] == counts["ipis.acked"] == (pages + 1) * 2


def test_the_records_of_a_cow():
    """The others' work comes before the writes, so that they are at it while thread 0 copies."""
    trace = workloads.operation("cow", 8, 2, 0, touched=0.5)
    found, at = check(trace), trace.info["record"]
    assert found[at] == (0, 1, 0, op.FORK, 0) and [agent.space for agent in trace.agents] == [0, 0, 1]
    behind = found[at + 1 :]
    assert [record[3] for record in behind] == [op.READ] * OWN_PAGES + [op.WRITE] * 4 + [op.SYNC, op.COMPUTE, op.COMPUTE]
    assert [(record[0] - BASE >> 12, record[4]) for record in behind if record[3] == op.WRITE] == [(0, 0), (2, 0), (4, 0), (6, 0)]


def test_idle_threads_are_not_interrupted_and_that_is_told():
    trace, machine = workloads.operation("mprotect", 8, threads=4, devices=0, busy=False), hwmodel.preset("cpu-only")
    with pytest.warns(UserWarning, match=rf"^record {trace.info['record']}: the first operation that found every other thread"):
        result = hwmodel.simulate(machine, trace, progress=False)
    assert result.counters["ipis.sent"] == 0 and result.counters["flushes.ranged"] == 1


def hand_made(behind, kind=op.MUNMAP, threads=2):
    """What one may write by hand: the other thread computes, and at the same time, so one thinks, this one unmaps."""
    unit = op.paged_unit(kind, BASE, 8, [(0, op.DONTNEED)] if kind == op.MADVISE else [])
    records = [(BASE, 1, 0, op.WRITE, 0), (0, 100_000, 0, op.COMPUTE, threads - 1), *unit, *behind]
    return Trace.from_records([Agent("cpu", 0, f"cpu{i}") for i in range(threads)], records, op.mmap_unit(BASE, 16, 3))


@pytest.mark.parametrize(
    ("trace", "warned"),
    [
        (hand_made([]), True),
        (hand_made([(0, 100_000, 0, op.COMPUTE, 1)]), False),
        (hand_made([(0, 1, 0, op.COMPUTE, 1)]), True),
        (hand_made([(0, 1, 0, op.COMPUTE, 0)]), True),
        (hand_made([], threads=1), False),
        (hand_made([], op.MADVISE), False),
        (hand_made([(0, 0, 0, op.EXIT, 0)], op.MADVISE), False),
    ],
    ids=[
        "done before it", "enough left to do", "too little, done before the flush", "left for itself", "alone",
        "not ordered: still computing", "an exit after it",
    ],
)  # fmt: skip
def test_who_is_warned(trace, warned):
    """An operation in program order waits for what the others did before it: then they are done, and their CPUs lazy."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = hwmodel.simulate(hwmodel.preset("cpu-only"), trace, progress=False)
    assert [str(warning.message)[:9] for warning in told] == ["record 2:"] * warned
    assert (result.counters["ipis.sent"] == 0) == (warned or len(trace.agents) == 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "swap"}, "kind must be one of mmap, munmap, mprotect, mremap, fork, cow, dontneed, free, cold, not 'swap'"),
        ({"kind": "unmap"}, r"kind must be .*, not 'unmap'; did you mean munmap\?"),
        ({"kind": None}, "kind must be .*, not None"),
        ({"pages": 0}, rf"pages must be in \[1, {MOST_PAGES}\], not 0"),
        ({"pages": MOST_PAGES + 1}, rf"pages must be in \[1, {MOST_PAGES}\], not {MOST_PAGES + 1}"),
        ({"threads": 0}, "threads must be at least 1, not 0"),
        ({"devices": -1}, "devices must be at least 0, not -1"),
        ({"threads": 100, "devices": 29}, r"threads \+ devices must be in \[1, 128\], not 129"),
        ({"kind": "fork", "threads": 128, "devices": 0}, r"threads \+ devices must be in \[1, 127\], not 128"),
        ({"kind": "cow", "threads": 128, "devices": 0}, r"threads \+ devices must be in \[1, 127\], not 128"),
        ({"touched": 1.1}, r"touched must be in \[0, 1\], not 1.1"),
        ({"touched": float("nan")}, r"touched must be in \[0, 1\], not nan"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(TraceError, match=f"^{message}$"):
        workloads.operation(**{"kind": "munmap", "pages": 8} | arguments)


def test_the_largest_is_made_piece_by_piece():
    trace = workloads.operation("munmap", MOST_PAGES, 3, 1, touched=1.0)
    chunk = next(trace.chunks())
    assert chunk.size == 1 << 16 and chunk["address"][-1] == BASE + ((1 << 16) - 1 << 12)
    untouched = records(workloads.operation("munmap", MOST_PAGES, 3, 1, touched=0))
    assert max(record[1] for record in untouched if record[3] == op.READ) == (200_000 + 500 * MOST_PAGES) // OWN_PAGES <= op.MOST_COUNT
