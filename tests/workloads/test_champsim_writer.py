"""The ChampSim writer: what it writes, and that reading it again gives the trace."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodel import op
from hwmodel.op import Agent, TraceError
from hwmodel.trace import Trace
from tests.workloads.naive_champsim import parse
from workloads import read
from workloads.coalesce import coalesce
from workloads.formats.champsim import write as champsim_writer
from workloads.formats.champsim.write import save_champsim

CPU = Agent("cpu", 0, "cpu")
F, R, W = op.FETCH, op.READ, op.WRITE


def trace_of(records, agents=(CPU,)):
    return Trace.from_records(agents, [(address, count, 0, kind, 0) for kind, address, count in records], name="x")


def written(tmp_path, trace, **how):
    lost = save_champsim(trace, tmp_path / "x.champsim", **how)
    data = (tmp_path / "x.champsim").read_bytes()
    return [data[at : at + 64] for at in range(0, len(data), 64)], lost


def accesses(rows):
    return [[(kind, address) for kind, address, _ in parse(row, 64)[0]] for row in rows]


@pytest.mark.as_shipped
@pytest.mark.jit_off
def test_accesses_go_to_the_first_instruction_with_room(tmp_path):
    rows, lost = written(tmp_path, trace_of([(F, 0x1000, 3), (R, 0x5000, 5), (W, 0x6000, 1), (R, 0x7000, 1), (F, 0x2000, 1)]))
    assert accesses(rows) == [
        [(F, 0x1000), (R, 0x5000), (R, 0x5000), (R, 0x5000), (R, 0x5000)],
        [(F, 0x1000), (R, 0x5000), (W, 0x6000)],
        [(F, 0x1000), (R, 0x7000)],
        [(F, 0x2000)],
    ]
    assert lost == {}


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([(F, 0x1000, 1), (R, 0x5000, 5)], "record 1: ChampSim's format has no place for it: more accesses than"),
        ([(F, 0x1000, 1), (W, 0x5000, 3)], "record 1: ChampSim's format has no place for it: more accesses than"),
        ([(F, 0x1000, 1), (W, 0x5000, 1), (R, 0x5000, 1)], "record 2: ChampSim's format has no place for it: more accesses"),
        ([(R, 0x5000, 1)], "record 0: ChampSim's format has no place for it: no instruction before it"),
        ([(F, 0x1000, 1), (R, 0, 1)], "record 1: ChampSim's format has no access at address 0"),
        ([(F, 0x1000, 1), (op.COMPUTE, 0, 9)], "record 1: ChampSim's format has no compute"),
        ([(F, 0x1FFF, 1), (F | op.CONTINUES, 0x2000, 1)], "record 1: ChampSim's format has no second half"),
    ],
)
def test_what_the_format_does_not_have_is_refused(tmp_path, records, reason):
    with pytest.raises(TraceError, match=f"^x: {reason}"):
        written(tmp_path, trace_of(records))
    assert not list(tmp_path.iterdir())
    written(tmp_path, trace_of(records), lossy=True)


def test_what_is_lost_is_told(tmp_path):
    records = [(R, 0x5000, 7), (op.COMPUTE, 0, 9), (F, 0x1000, 1), (W, 0x6000, 2), (W, 0x6FFF, 1), (W | op.CONTINUES, 0x7000, 1)]
    rows, lost = written(tmp_path, trace_of(records), lossy=True)
    assert lost == {"compute": 1, "second half": 1, "instructions made up": 2}
    made_up = (F, champsim_writer.INVENTED)
    assert accesses(rows) == [
        [made_up, *[(R, 0x5000)] * 4],
        [(F, 0x1000), *[(R, 0x5000)] * 3, (W, 0x6000), (W, 0x6000)],
        [made_up, (W, 0x6FFF)],
    ]


def test_an_invalid_record_is_refused(tmp_path):
    with pytest.raises(TraceError, match=r"^x: record 1: second half of a write without its first half on the page before"):
        written(tmp_path, trace_of([(F, 0x1000, 1), (W | op.CONTINUES, 0x2000, 1)]), lossy=True)


def test_one_agent_is_written(tmp_path):
    trace = Trace.from_records([CPU, CPU], [(0x1000, 1, 0, F, 0), (0x2000, 1, 0, F, 1)])
    with pytest.raises(TraceError, match="choose one of the trace's 2"):
        written(tmp_path, trace)
    assert accesses(written(tmp_path, trace, agent=1)[0]) == [[(F, 0x2000)]]
    with pytest.raises(TraceError, match="agent 2 is not in the trace"):
        written(tmp_path, trace, agent=2)


@pytest.mark.parametrize("suffix", ["", ".xz", ".gz", ".zst"])
def test_buffers_do_not_matter(tmp_path, monkeypatch, suffix):
    records = [(F, 0x1000 * (1 + i % 3), 1 + 50 * (i % 5)) for i in range(40)]
    records = [entry for i, record in enumerate(records) for entry in (record, (R, 0x10000 * (i + 1), 2), (W, 0x20000 * (i + 1), 1))]
    trace = trace_of(records)
    save_champsim(trace, tmp_path / f"whole{suffix}")
    monkeypatch.setattr(champsim_writer, "ROWS", 3)
    save_champsim(trace, tmp_path / f"parts{suffix}")
    assert (tmp_path / f"whole{suffix}").read_bytes() == (tmp_path / f"parts{suffix}").read_bytes()
    assert [tuple(x) for chunk in read(tmp_path / f"parts{suffix}").chunks() for x in chunk.tolist()] == [
        (address, count, 0, kind, 0) for kind, address, count in records
    ]


PAGES = st.integers(1, 5).map(lambda page: page << 12)
LOADS, STORES = st.lists(PAGES, max_size=4), st.lists(PAGES, max_size=2)
INSTRUCTIONS = st.lists(st.tuples(PAGES, LOADS, STORES), min_size=1, max_size=30)


@settings(max_examples=200, deadline=None)
@given(INSTRUCTIONS)
def test_a_trace_that_the_format_has_is_read_again_as_it_was(tmp_path_factory, instructions):
    records = []
    for ip, loads, stores in instructions:
        records += [(ip, 1, 0, F, 0), *((x, 1, 0, R, 0) for x in loads), *((x, 1, 0, W, 0) for x in stores)]
    ops = list(coalesce([op.as_records(records)], [0]))
    path = tmp_path_factory.mktemp("round") / "x"
    save_champsim(Trace([CPU], lambda: iter(ops)), path)
    again = read(path, format="champsim")
    assert [tuple(x) for chunk in again.chunks() for x in chunk.tolist()] == [tuple(x) for chunk in ops for x in chunk.tolist()]
    first = path.read_bytes()
    save_champsim(again, path)
    assert path.read_bytes() == first
