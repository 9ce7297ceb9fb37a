"""Traces as CSV: a round trip is the identity, and what is damaged or cut is said."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_traces import records, same, small_trace

from hwmodel import op
from hwmodel.op import Agent, TraceError, TraceWarning, mmap_unit
from hwmodel.trace import Trace, validate
from workloads import read, recorded, save_csv, select, uniform
from workloads.formats.columns.csvfile import PRELUDE

CPU = Agent("cpu", 0, 'a "name", with é')
BASE = 1 << 32


@settings(deadline=None, max_examples=60)
@given(st.randoms(use_true_random=False), st.sampled_from(("", ".gz", ".xz", ".zst")))
def test_a_round_trip_is_the_identity(tmp_path_factory, rng, packed):
    trace = small_trace(rng)
    path = tmp_path_factory.mktemp("csv") / f"x.csv{packed}"
    save_csv(trace, path)
    again = read(path)
    assert same(again, trace) and again.info == trace.info
    assert again.known_size == (len(trace), trace.references)
    first = path.read_bytes()
    save_csv(again, path)
    assert path.read_bytes() == first


def test_a_recording_comes_back(tmp_path):
    trace = select(recorded("sqlite"), kinds=["syscall", "mmap", "brk", "munmap", "mprotect", "madvise"])
    save_csv(trace, tmp_path / "x.csv.zst")
    again = read(tmp_path / "x.csv.zst")
    assert same(again, trace) and again.info == trace.info
    validate(again)


def test_many_blocks_and_a_long_prelude(tmp_path):
    prelude = [record for i in range(2 * PRELUDE) for record in mmap_unit(2 * BASE + (i << 13), 1, 3)]
    units = [record for i in range(40_000) for record in op.paged_unit(op.MUNMAP, BASE, 1 << 33)]
    trace = Trace.from_records([CPU], units, prelude)
    save_csv(trace, tmp_path / "x.csv")
    assert same(read(tmp_path / "x.csv"), trace)


@pytest.fixture
def text(tmp_path):
    ops = [(BASE, 2, 3, op.WRITE, 0), *op.paged_unit(op.MREMAP, BASE, 1 << 33, [(2 * BASE, 1)])]
    save_csv(Trace.from_records([CPU], ops, mmap_unit(BASE, 4, 3), {"program": "toy"}), tmp_path / "x.csv")
    return (tmp_path / "x.csv").read_text()


@pytest.fixture
def open_text(tmp_path):
    def opened(text, strict=False):
        (tmp_path / "x").write_text(text)
        return read(tmp_path / "x", strict=strict)

    return opened


def test_what_is_written(text):
    assert text.splitlines()[1:] == [
        "# {\"prelude\": [[4294967296, 4, 0, 8, 0], [0, 3, 0, 31, 0]]}",
        "kind,address,count,gap,agent", "write,4294967296,2,3,0",
        "mremap,4294967296,-1,0,0", "arg,8589934592,1,0,0", "arg,8589934592,0,0,0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "kept", "where"),
    [
        (6, 1, r"ends behind line 6 \(3 of 4 records\)"),  # its long MREMAP lacks an operand
        (5, 1, r"ends behind line 5 \(2 of 4 records\)"),
        (4, 1, r"ends behind line 4 \(1 of 4 records\)"),
        (3, 0, r"ends behind line 3 \(0 of 4 records\)"),
    ],
)
def test_a_cut_file_gives_its_whole_units(text, open_text, lines, kept, where):
    head = "".join(text.splitlines(keepends=True)[:lines])
    for rest in ("", "ar"):
        with pytest.warns(TraceWarning, match=where if not rest else rf"line {lines + 1} has no end: 'ar' \("):
            trace = open_text(head + rest)
        assert len(records(trace)) == len(trace) == kept
        assert re.search(where if not rest else "has no end", *trace.info["cut_short"])
        validate(trace)
        with pytest.raises(TraceError, match="cut short"):
            open_text(head + rest, strict=True)


DAMAGE = {
    "a kind": (("write,", "wrote,"), "line 4, column 'kind': 'wrote' makes no sense"),
    "a number for a kind": (("write,", "7,"), "line 4, column 'kind': 7 is no kind"),
    "a large gap": ((",2,3,0", ",2,40000,0"), "line 4, column 'gap': 40000 is not in [-32768, 32767]"),
    "a large count": ((",2,3,0", f",{1 << 31},3,0"), "column 'count': 2147483648 is not in [-2147483648, 2147483647]"),
    "an agent": ((",2,3,0", ",2,3,128"), "column 'agent': 128 is not in [0, 127]"),
    "more records": (('"records": 4', '"records": 3'), "damaged: 4 records, but it should have 3"),
    "no JSON": (('"agents": [', '"agents": ['[:-1]), "line 1: damaged: it makes no sense"),
    "no agents": (('"agents"', '"agent"'), "line 1: damaged: it lacks 'agents'"),
    "a newer version": (('"hwmodel.csv": 1', '"hwmodel.csv": 2'), "format version 2 is newer than 1"),
    "another header": (("kind,address", "address,kind"), "line 3: it is not kind,address,count,gap,agent"),
    "a role": (('"cpu"', '"gpu"'), "role must be 'cpu' or 'device'"),
    "no prelude": (("# {\"prelude", "{\"prelude"), "line 2: damaged"),
    "no end": (("kind,address,count,gap,agent\n", ""), "it is not kind,address"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), DAMAGE.values(), ids=list(DAMAGE))
def test_what_is_damaged_is_refused(text, open_text, change, message):
    assert change[0] in text
    with pytest.raises(TraceError) as told:
        open_text(text.replace(*change, 1))
    assert message in str(told.value)
    with pytest.raises(TraceError, match=r"line 2: cut short behind it, before its first record"):
        open_text(text[: text.index("kind,")])


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(TraceError, match="info is not JSON"):
        save_csv(Trace.from_records([CPU], [], info={"x": object()}), tmp_path / "x.csv")
    with pytest.raises(TraceError, match="non-canonical address"):
        save_csv(Trace.from_records([CPU], [(-1, 1, 0, 0, 0)]), tmp_path / "x.csv")
    with pytest.raises(TraceError, match="more than a line of CSV may have"):
        save_csv(Trace.from_records([CPU], [], info={"x": "y" * (1 << 23)}), tmp_path / "x.csv")
    assert not list(tmp_path.iterdir())
    save_csv(uniform(3), tmp_path / "x.csv")
