"""Events of a run: the oracle's, to the cycle; what they add up to; and that to keep them changes nothing."""

import warnings

import numpy as np
import pytest

import hwmodel
from hwmodel import Agent, ConfigError, Events, Trace, op
from hwmodel.core.ledger import KILL, RETRY
from hwmodel.core.log import KINDS
from hwmodel.primary.syscalls import NAMES
from tests import reference
from tests.races.scenes import numbers
from tests.support.designs import design as design_of
from tests.support.designs import names, that_subscribe, those_with_a_twin
from tests.support.equality import compare_events, tight_case
from tests.support.random_traces import random_case

DESIGNS = those_with_a_twin()
WAYS = ({}, {"runahead": False}, {"chunk": 3}, {"capacity": 1})


def simulated(machine, trace, **options):
    """A run, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hwmodel.simulate(machine, trace, progress=False, **options)


def cases(design, seeds, size=80):
    """Random cases that have the memory they need."""
    for seed in seeds:
        machine, trace = random_case(seed, design, size)
        yield seed, machine, trace


def event_differences(machine, trace, **options):
    return list(compare_events(simulated(machine, trace, events=Events(), **options), reference.simulate(machine, trace)))


@pytest.mark.parametrize("design", DESIGNS)
def test_events_are_the_oracles(design):
    for seed, machine, trace in cases(design, range(24)):
        assert event_differences(machine, trace, **WAYS[seed % 4]) == [], f"seed {seed}"


@pytest.mark.as_shipped
@pytest.mark.parametrize("design", DESIGNS)
def test_events_are_the_oracles_as_shipped(design):
    for seed, machine, trace in cases(design, range(100, 106)):
        assert event_differences(machine, trace) == [], f"seed {seed}"


@pytest.mark.jit_off
@pytest.mark.parametrize("design", DESIGNS)
def test_events_are_the_oracles_without_the_jit(design):
    for seed, machine, trace in cases(design, range(200, 203), 40):
        assert event_differences(machine, trace) == [], f"seed {seed}"


@pytest.mark.long
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("block", range(2))
def test_events_are_the_oracles_at_length(design, block):
    for seed in range(5000 + 100 * block, 5100 + 100 * block):
        machine, trace = tight_case(seed, design, 150)
        try:
            assert event_differences(machine, trace, **WAYS[seed % 4]) == [], f"seed {seed}"
        except (ConfigError, reference.memory.OutOfMemoryError):
            continue  # tests/test_equality.py compares who lacks memory


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(numbers(a), numbers(b), strict=True))


@pytest.mark.parametrize("design", names())
def test_to_record_changes_nothing(design):
    """Every number of the result, and of its parts, whatever is recorded besides."""
    for seed, machine, trace in cases(design, range(300, 308)):
        plain = simulated(machine, trace, warmup=0.3)
        part = max(plain.ns / 70, 2 * plain.ns_per_cycle)
        for options in (
            {"events": Events()}, {"events": Events(limit=3)}, {"sample_ns": part},
            {"events": Events("lock", (100, 5000)), "sample_ns": 3 * part}, {"events": Events(around="cpu.accesses", moments=3)},
        ):  # fmt: skip
            recorded = simulated(machine, trace, warmup=0.3, **options)
            assert same(plain, recorded), (seed, options)
            assert all(same(plain.region(name), recorded.region(name)) for name in plain.regions), (seed, options)
        assert plain.events is None and plain.samples is None


def spans_of(result, kind, says=None):
    """How long the events of a kind took, in cycles."""
    frame, events = result.events.frame(), result.events.cycles
    chosen = (frame["kind"] == kind).to_numpy() & (True if says is None else frame["detail"].map(says).to_numpy(bool))
    return (events["end"] - events["begin"])[chosen]


@pytest.mark.parametrize("design", names())
def test_events_add_up(design):
    """Each kind's number is its counter's, each kind's time its histogram's."""
    for seed, machine, trace in cases(design, range(400, 412)):
        result = simulated(machine, trace, events=Events())
        counts, events, book = result.counters, result.events, result.book
        assert not events.omitted and len(events) == sum(events.count(kind) for kind in KINDS)
        expected = {
            "fault": result.latency("fault").count, "cpu_fault": result.latency("cpu_fault").count, "window": counts["notices.start"],
            "notice": sum(counts[f"notices.{kind}"] for kind in ("start", "end", "release", "young")),
            "flush": counts["flushes.full"] + counts["flushes.ranged"], "ipi": counts["ipis.acked"],
            "operation": sum(counts[f"ops.{name}"] for name in NAMES),
            "retry": sum(counts[name] for name in book.counters_of(RETRY)), "kill": sum(counts[name] for name in book.counters_of(KILL)),
        }  # fmt: skip
        assert {kind: events.count(kind) for kind in expected} == expected, seed
        details = events.frame().query("kind in ('miss', 'join')")["detail"]
        least = counts.get("device.stlb.misses", counts["device.tlb.misses"])  # a second level serves some, unless they lack a right there
        assert least <= (~details.str.contains("lacks")).sum() <= counts["device.tlb.misses"], seed
        sums = {"fault": spans_of(result, "fault"), "cpu_fault": spans_of(result, "cpu_fault"),
                "notice": spans_of(result, "notice", "start".__eq__), "shootdown": spans_of(result, "flush", lambda text: "remote" in text)}
        sums |= {f"op.{name}": spans_of(result, "operation", lambda text, name=name: text.split(" ")[0] == name) for name in NAMES}
        sums |= {path: spans_of(result, "fault", path.__eq__) for path in book.paths if path != "fault"}
        for kind, spans in sums.items():
            assert (spans.size, spans.sum()) == tuple(result.latency(kind).row[:2]), (seed, kind)


@pytest.mark.parametrize("design", names())
def test_phases_of_a_fault_follow_one_another(design):
    """They are all of its time: each begins where the one before has ended, and their sums are those of the result."""
    for seed, machine, trace in cases(design, range(500, 508)):
        result = simulated(machine, trace, events=Events(("fault", "phase")))
        frame = result.events.frame()
        cycles, sums = result.events.cycles, {}
        for fault in np.flatnonzero(frame["kind"] == "fault"):
            phases = frame.index[(frame["kind"] == "phase") & (frame["fault"] == fault)].to_numpy()
            edges = [cycles["begin"][fault], *cycles["end"][phases]]
            assert cycles["begin"][phases].tolist() == edges[:-1] and edges[-1] == cycles["end"][fault], seed
            for phase in phases:
                key = frame["detail"][fault], frame["detail"][phase]
                sums[key] = sums.get(key, 0) + int(cycles["end"][phase] - cycles["begin"][phase])
        book, totals = result.book, result.phase_histograms[:, :, 1]
        assert sums == {(book.paths[p], list(book.phases)[k]): totals[p, k] for p, k in np.argwhere(totals)}, seed


@pytest.mark.parametrize("design", names())
def test_locks_exclude_one_another(design):
    """A writer has a lock alone, and who has waited has it at once."""
    for seed, machine, trace in cases(design, range(600, 608)):
        result = simulated(machine, trace, events=Events(("lock", "wait")))
        frame = result.events.frame().assign(row=result.events.cycles["row"])
        frame[["name", "mode"]] = frame["detail"].str.rsplit(", ", n=1).to_list() if len(frame) else [[]]
        held = frame[frame["kind"] == "lock"]
        for _, of_lock in held.groupby("name"):
            for writer in of_lock[of_lock["mode"] == "write"].itertuples():
                others = of_lock.drop(writer.Index)
                assert not ((others["begin_ns"] < writer.end_ns) & (others["end_ns"] > writer.begin_ns)).any(), seed
        begins = set(held[["row", "detail", "begin_ns"]].itertuples(index=False, name=None))
        waits = frame[frame["kind"] == "wait"]
        assert set(waits[["row", "detail", "end_ns"]].itertuples(index=False, name=None)) <= begins, seed


def as_set(cycles):
    return {tuple(event) for event in cycles.tolist()}


def meeting(whole, stretches):
    """The events of a whole run that share a cycle with one of some stretches of time."""
    met = [(whole.cycles["begin"] <= last) & (whole.cycles["end"] >= first) for first, last in stretches]
    return as_set(whole.cycles[np.any(met, axis=0)]) if met else set()


@pytest.mark.parametrize("design", names())
def test_a_window_has_what_meets_it(design):
    """Of the whole run's events those that share a moment with it, whole; of chosen kinds only these."""
    for seed, machine, trace in cases(design, range(700, 706)):
        whole = simulated(machine, trace, events=Events()).events
        end, ns = int(whole.cycles["end"].max(initial=2)), whole.ns_per_cycle
        for first, last in np.sort(np.random.default_rng(seed).integers(0, end, (3, 2))).tolist():
            part = simulated(machine, trace, events=Events(window_ns=(first * ns, last * ns))).events
            assert as_set(part.cycles) == meeting(whole, [(first, last)]), seed
        some = simulated(machine, trace, events=Events(["flush", "operation"])).events
        chosen = np.isin(whole.cycles["kind"], [KINDS.index(kind) for kind in ("flush", "operation")])
        assert as_set(some.cycles) == as_set(whole.cycles[chosen]), seed


def test_moments_are_those_of_the_counter():
    """Each is found by other means too, where an event of that counter begins or ends; what is kept is what meets the windows."""
    found = 0
    for design in that_subscribe():
        book = design_of(design).module.BOOK
        overtaken = [(name, kind) for kind, role in (("kill", KILL), ("retry", RETRY)) for name in book.counters_of(role)]
        for seed, machine, trace in cases(design, range(800, 812)):
            whole = simulated(machine, trace, events=Events()).events
            frame, cycles, ns = whole.frame(), whole.cycles, whole.ns_per_cycle
            times = {"notices.start": cycles["begin"][(frame["kind"] == "notice") & (frame["detail"] == "start")],
                     "ops.munmap": cycles["end"][frame["detail"].str.startswith("munmap")]}  # fmt: skip
            times |= {name: cycles["end"][frame["kind"] == kind] for name, kind in overtaken}
            for counter, when in times.items():
                near = simulated(machine, trace, events=Events(around=counter, moments=2, window_ns=(-40 * ns, 25 * ns))).events
                moments = sorted(set(when.tolist()))[:2]
                assert near.moments_ns == tuple(moment * ns for moment in moments), (design, seed, counter)
                assert as_set(near.cycles) == meeting(whole, [(at - 40, at + 25) for at in moments]), (design, seed, counter)
                found += len(moments)
    assert found > 40, "hardly anything was looked for"


def test_a_counter_of_private_steps_and_of_the_last_step():
    """Hits are dated to the stretch of steps that had them; what only the run's last step counts is found too."""
    records = [(0x10000 << 12, 5, 0, op.READ, 0), (0, 1, 0, op.SYSCALL, 0)]
    trace = Trace.from_records([Agent("cpu", 0, "a")], records, op.mmap_unit(0x10000 << 12, 1, 3, agent=0, populate=True))
    for counter in ("cpu.dtlb.hits", "ops.syscall"):
        result = simulated("cpu-only", trace, events=Events(around=counter))
        assert len(result.events.moments_ns) == 1 and 0 <= result.events.moments_ns[0] <= result.ns


def test_a_counter_that_never_increases_is_told():
    trace = Trace.from_records([Agent("cpu", 0, "a")], [(0, 1, 0, op.SYSCALL, 0)])
    with pytest.warns(UserWarning, match="ops.munmap never increased"):
        result = hwmodel.simulate("cpu-only", trace, progress=False, events=Events(around="ops.munmap"))
    assert len(result.events) == 0 and result.events.frame().empty
    assert "no" in repr(result.events)


@pytest.mark.parametrize("limit", [1, 7, 50])
def test_a_limit_leaves_out_what_ends_last_and_says_so(limit):
    for design in names():
        for seed, machine, trace in cases(design, range(900, 903)):
            whole = simulated(machine, trace, events=Events())
            part = simulated(machine, trace, events=Events(limit=limit))
            left = {kind: whole.events.count(kind) - part.events.count(kind) for kind in KINDS}
            assert len(part.events) == min(limit, len(whole.events))
            assert part.events.omitted == {kind: n for kind, n in left.items() if n}
            assert as_set(part.events.cycles) <= as_set(whole.events.cycles), seed
            assert not part.events.omitted or f"left out {sum(left.values())}" in repr(part.events)
            assert part.events.frame().attrs["omitted"] == part.events.omitted


@pytest.mark.parametrize(("given", "said"), [
    ({"kinds": ["fualt"]}, "'fualt' is no kind of event; did you mean fault?"), ({"kinds": ()}, "no kind is asked for"),
    ({"kinds": 3}, "3 is no kind"), ({"window_ns": (5, 1)}, "ends at 1 ns, before it begins"), ({"window_ns": 5}, "two times in ns"),
    ({"window_ns": (-1, 5)}, "begins at -1 ns"), ({"window_ns": (0, float("nan"))}, "two times"), ({"window_ns": "ab"}, "two times"),
    ({"limit": 0}, "limit must be a number from 1"), ({"limit": 2.5}, "limit must"), ({"limit": True}, "limit must"),
    ({"moments": 3}, "moments are those of a counter"), ({"around": "segv", "moments": 0}, "moments must"),
    ({"around": 3}, "name of a counter"),
])  # fmt: skip
def test_bad_events_are_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        Events(**given)


def test_a_misspelt_counter_is_refused_before_anything_runs():
    trace = Trace.from_records([Agent("cpu", 0, "a")], [(0, 1, 0, op.SYSCALL, 0)])
    with pytest.raises(ConfigError, match=r"'ops\.unmap' is no counter of this machine; did you mean ops\.munmap\?"):
        hwmodel.simulate("cpu-only", trace, progress=False, events=Events(around="ops.unmap"))
    with pytest.raises(ConfigError, match=r"must be hwmodel\.Events"):
        hwmodel.simulate("cpu-only", trace, progress=False, events=("fault",))
    with pytest.raises(KeyError, match="'fualt' is none of"):
        simulated("cpu-only", trace, events=Events()).events.count("fualt")
