"""The op record, Trace, the check of records and the trace file."""

import hashlib
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodel import op
from hwmodel.op import OP, Agent, TraceError
from hwmodel.trace import Trace, validate
from hwmodel.trace.check import Validator

CPU, OTHER, DEVICE, CHILD = range(4)
AGENTS = [
    Agent("cpu", 0, "cpu0"),
    Agent("cpu", 0, "cpu1"),
    Agent("device", 0, "gru"),
    Agent("cpu", 1, "child"),
]
A = 0x10_0000_0000
STACK_UNIT = op.mmap_unit(0x7FFF_0000_0000, 2, 3, grows_down=True)


def read(address=A, count=1, gap=0, agent=CPU):
    return (address, count, gap, op.READ, agent)


def make(records, agents=AGENTS, **rest):
    return Trace.from_records(agents, records, **rest)


def all_records(trace, records=1 << 18):
    return [tuple(record) for chunk in trace.chunks(records) for record in chunk.tolist()]


SAMPLE = [
    *op.mmap_unit(A, 16, 3, agent=CPU),
    (0x400000, 7, 0, op.FETCH, CPU),
    (A, 3, 0, op.WRITE, CPU),
    (A + 8192, 2, 5, op.READ, DEVICE),
    (A + 4092, 1, 0, op.READ, OTHER),
    (A + 4096, 1, 0, op.READ | op.CONTINUES, OTHER),
    *op.paged_unit(op.MADVISE, A, 2, [(0, op.DONTNEED)]),
    *op.paged_unit(op.MREMAP, A, 16, [(2 * A, 32)], gap=9),
    *op.paged_unit(op.MPROTECT, 2 * A, 32, [(0, 1)]),
    *op.mmap_unit(1 << 40, 1 << 32, 0),
    *op.mmap_unit(1 << 30, 512, 3, op.HUGETLB),
    *op.mmap_unit(1 << 21, 3, 1, op.SHARED_FILE, file=2, offset=7),
    *op.paged_unit(op.PUNCH, 7, 1, [(0, 2)]),
    *op.paged_unit(op.SWAP_FREE, A, 1),
    *op.paged_unit(op.MIGRATE, A, 1 << 31, [(0, 1)]),
    *op.paged_unit(op.KSM_MERGE, A, 2, [(A + 8192, 1)]),
    *op.paged_unit(op.DIRTY_LOG, A, 9),
    *op.paged_unit(op.MADVISE, A, 2, [(0, op.COLLAPSE)]),
    *op.paged_unit(op.GUEST, A, 3, [(0, op.MMAP << op.GUEST_SHIFT | 3)], DEVICE),
    *op.paged_unit(op.GUEST, A, 3, [(2 * A, op.MREMAP << op.GUEST_SHIFT)], DEVICE),
    *op.mmap_unit(1 << 31, 3, 1, op.XPMEM, file=2, offset=A >> 12),
    (0, 1, 0, op.ATTACH, DEVICE),
    (0, 1, 0, op.DETACH, DEVICE),
    (A + 12345, 0, 0, op.BRK, CPU),
    (0, 1000, 0, op.COMPUTE, DEVICE),
    (0, 0, 0, op.SYNC, DEVICE),
    (0, 2, 0, op.SYSCALL, CPU),
    (0, 1, 0, op.FORK, CPU),
    read(agent=CHILD),
    (0, 0, 0, op.EXIT, CHILD),
    *op.paged_unit(op.MUNMAP, 2 * A, 32),
    (0, 0, 0, op.EXIT, CPU),
]


def test_a_record_is_16_bytes_and_signed():
    assert OP.itemsize == 16
    assert OP.names == ("address", "count", "gap", "kind", "agent")
    assert all(OP[name].kind == "i" for name in OP.names)


def test_columns_can_be_read_as_attributes():
    assert not any(hasattr(np.record, name) for name in OP.names)


@pytest.mark.jit_off
@pytest.mark.as_shipped
def test_a_valid_sample_of_every_unit_passes():
    validate(make(SAMPLE, prelude=STACK_UNIT))


@pytest.mark.parametrize("records", [1, 2, 3, 5, 100])
def test_chunks_never_split_a_unit_and_are_never_empty(records):
    trace = make(SAMPLE)
    chunks = list(trace.chunks(records))
    assert all(chunk.size and chunk[0]["kind"] != op.ARG for chunk in chunks)
    assert all(chunk.size <= max(records, 3) for chunk in chunks)
    assert all_records(trace, records) == SAMPLE


def test_a_trace_can_be_read_again_and_counts_itself():
    trace = make(SAMPLE)
    lazy = Trace(AGENTS, lambda: iter([op.as_records(SAMPLE)]))
    assert len(lazy) == len(trace) == len(SAMPLE)
    assert lazy.references == trace.references == 7 + 3 + 2 + 1 + 1 + 1
    assert all_records(lazy) == all_records(lazy) == SAMPLE


def test_one_pass_counts_the_records_and_finds_the_forks():
    passes = []

    def source():
        passes.append(1)
        yield op.as_records(SAMPLE)

    trace = Trace(AGENTS, source)
    assert trace.forked == {1} and len(trace) == len(SAMPLE) and trace.references == make(SAMPLE).references
    assert len(passes) == 1
    assert Trace(AGENTS, source, records=len(SAMPLE), references=1).forked == {1} and len(passes) == 2
    assert make([(0, 200, 0, op.FORK, CPU), read()]).forked == set(), "what is no address space"


def test_an_empty_trace_has_no_chunks():
    assert list(make([]).chunks()) == []
    assert len(make([])) == 0


def test_from_records_does_not_copy():
    ops = op.as_records(SAMPLE)
    (chunk,) = make(ops).chunks()
    assert np.shares_memory(chunk, ops)


def test_a_trace_in_memory_pickles():
    again = pickle.loads(pickle.dumps(make(SAMPLE)))
    assert all_records(again) == SAMPLE


def bad(reason, *records, where=0):
    return pytest.param(list(records), f"record {where}: {reason}", id=reason[:40])


HALF = (A + 4096, 1, 0, op.READ | op.CONTINUES, CPU)
BAD = [
    bad("unknown kind 4", (0, 1, 0, 4, 0)),
    bad("unknown kind 30", (0, 1, 0, 30, 0)),
    bad("unknown kind -1", (0, 1, 0, -1, 0)),
    bad("unknown kind 72", (0, 1, 0, op.MMAP | op.CONTINUES, 0)),
    bad("agent 4 is not in the trace", read(), read(agent=4), where=1),
    bad("agent -1 is not in the trace", read(agent=-1)),
    bad("read: count must be at least 1, not 0", read(count=0)),
    bad("syscall: count must be at least 1, not -1", (0, -1, 0, op.SYSCALL, 0)),
    bad("compute: count must be at least 1, not 0", (0, 0, 0, op.COMPUTE, 0)),
    bad("munmap: count must be at least 1, not 0", (A, 0, 0, op.MUNMAP, 0)),
    bad("negative gap -1", read(gap=-1)),
    bad("non-canonical address 0x800000000000", read(1 << 47)),
    bad("non-canonical address -0x1000", read(-4096)),
    bad("non-canonical address 0x800000000000", (1 << 47, 0, 0, op.BRK, 0)),
    bad("munmap: unaligned address 0x1000000001", (A + 1, 1, 0, op.MUNMAP, 0)),
    bad("mmap: unaligned address 0x1000001000", *op.mmap_unit(A + 4096, 512, 3, op.HUGETLB)),
    bad("mmap: unaligned address 0x1000000000", *op.mmap_unit(A, 511, 3, op.HUGETLB)),
    bad("mmap: operand is missing", op.mmap_unit(A, 1, 3)[0]),
    bad("mmap: operand is missing", op.mmap_unit(A, 1, 3)[0], read()),
    bad("munmap: operand is missing", (A, -1, 0, op.MUNMAP, 0)),
    bad("stray ARG record", read(), (0, 0, 0, op.ARG, 0), where=1),
    bad("stray ARG record", *op.mmap_unit(A, 1, 3), (0, 0, 0, op.ARG, 0), where=2),
    bad("mmap: ARG record of another agent", op.mmap_unit(A, 1, 3)[0], (0, 3, 0, op.ARG, 1)),
    bad("munmap: 2 pages from 0x7ffffffff000 pass", ((1 << 47) - 4096, 2, 0, op.MUNMAP, 0)),
    bad("mmap: 34359738368 pages from 0x1000 pass", *op.mmap_unit(4096, 1 << 35, 3)),
    bad("mprotect: bad protection", *op.paged_unit(op.MPROTECT, A, 1, [(0, 8)])),
    bad("mmap: bad protection, mapping or file (0x33)", *op.mmap_unit(A, 1, 3, 6)),
    bad("mmap: bad protection, mapping or file (0x2b)", *op.mmap_unit(A, 1, 3, op.XPMEM)),
    bad("mmap: bad operand (address 0x0, count 2347)", *op.mmap_unit(A, 1, 3, op.XPMEM, file=9)),
    bad("mmap: bad operand (address 0x7ffffffff,", *op.mmap_unit(A, 2, 3, op.XPMEM, file=1, offset=(1 << 35) - 1)),
    bad("migrate: bad operand (address 0x0, count -1)", *op.paged_unit(op.MIGRATE, A, 1, [(0, -1)])),
    bad("swap_free: count must be at least 1, not 0", *op.paged_unit(op.SWAP_FREE, A, 0)),
    bad("dirty_log: unaligned address 0x1000000008", *op.paged_unit(op.DIRTY_LOG, A + 8, 1)),
    bad("dirty_log by a device", *op.paged_unit(op.DIRTY_LOG, A, 1, agent=DEVICE)),
    bad("ksm_merge: bad operand (address 0x1000000000, count 9)", *op.paged_unit(op.KSM_MERGE, A, 1, [(A, 9)])),
    bad("ksm_merge: bad operand (address 0x1000000001, count 0)", *op.paged_unit(op.KSM_MERGE, A, 1, [(A + 1, 0)])),
    bad("guest: bad guest operation (0x9000003)", *op.paged_unit(op.GUEST, A, 1, [(0, op.BRK << op.GUEST_SHIFT | 3)])),
    bad("guest: bad guest operation (0x8000008)", *op.paged_unit(op.GUEST, A, 1, [(0, op.MMAP << op.GUEST_SHIFT | 8)])),
    bad("guest: bad guest operation (0xd000000)", *op.paged_unit(op.GUEST, A, 1, [(1, op.MREMAP << op.GUEST_SHIFT)])),
    bad("attach: address space 7, which no agent has", (0, 7, 0, op.ATTACH, DEVICE)),
    bad("mmap: bad protection, mapping or file (0x13)", *op.mmap_unit(A, 1, 3, op.PRIVATE_FILE)),
    bad("mmap: bad protection, mapping or file (0x103)", *op.mmap_unit(A, 1, 3, op.PRIVATE, file=1)),
    bad("mmap: bad operand (address -0x1", *op.mmap_unit(A, 1, 3, op.SHARED_FILE, file=1, offset=-1)),
    bad("madvise: bad advice 3", *op.paged_unit(op.MADVISE, A, 1, [(0, 3)])),
    bad("mremap: bad operand (address 0x1000000000, count 0)", *op.paged_unit(op.MREMAP, A, 1, [(A, 0)])),
    bad("mremap: bad operand (address 0x1000000001, count 1)", *op.paged_unit(op.MREMAP, A, 1, [(A + 1, 1)])),
    bad("punch: bad operand", *op.paged_unit(op.PUNCH, 0, 1, [(0, 0)])),
    bad("fetch by a device", (A, 1, 0, op.FETCH, DEVICE)),
    bad("munmap by a device", (A, 1, 0, op.MUNMAP, DEVICE)),
    bad("address space 0 has exited", (0, 0, 0, op.EXIT, 0), read(agent=DEVICE), where=1),
    bad("fork into address space 2, which no agent has", (0, 2, 0, op.FORK, 0)),
    bad("fork into address space -1, which no agent has", (0, -1, 0, op.FORK, 0)),
    bad("fork into address space 1, which was used", (0, 1, 0, op.FORK, 0), (0, 1, 0, op.FORK, 0), where=1),
    bad("fork into address space 1, which was used", read(agent=CHILD), (0, 1, 0, op.FORK, 0), where=1),
    bad("fork into address space 0, which was used", (0, 0, 0, op.FORK, 0)),
    bad("second half of a read without", HALF),
    bad("second half of a read without", read(A), (A + 4096, 1, 0, op.READ | op.CONTINUES, OTHER), where=1),
    bad("second half of a read without", (A, 1, 0, op.WRITE, 0), HALF, where=1),
    bad("second half of a read without", (A, 1, 0, op.FETCH, 0), HALF, where=1),
    bad("second half of a read without", read(A - 4096), HALF, where=1),
    bad("second half of a read without", read(A, count=2), HALF, where=1),
    bad("second half of a read without", read(A), (A + 4097, 1, 0, op.READ | op.CONTINUES, 0), where=1),
    bad("second half of a read without", read(A), (A + 4096, 2, 0, op.READ | op.CONTINUES, 0), where=1),
]


@pytest.mark.jit_off
@pytest.mark.as_shipped
@pytest.mark.parametrize(("records", "message"), BAD)
def test_an_invalid_record_is_named(records, message):
    with pytest.raises(TraceError) as error:
        validate(make(records, name="x.hwtrace"))
    assert str(error.value).startswith(f"x.hwtrace: {message}")
    assert "\n" not in str(error.value)


def test_memory_that_exists_from_the_beginning_is_not_mapped_again():
    prelude = [*op.mmap_unit(A, 4, 3, populate=True), *op.mmap_unit(A + 3 * 4096, 1, 3)]
    with pytest.raises(TraceError, match=r"^prelude record 2: mmap over pages that are in memory from the beginning$"):
        validate(make([], prelude=prelude))
    others = [*op.mmap_unit(A, 4, 3), *op.mmap_unit(A, 4, 3, populate=True), *op.mmap_unit(A, 4, 3, agent=CHILD)]
    validate(make([], prelude=others))


@pytest.mark.parametrize("to", [8, 2])
def test_a_break_of_the_prelude_does_not_move_over_a_mapping(to):
    moved = (A + to * 4096 - 9, 0, 0, op.BRK, CPU)
    prelude = [(A + 4 * 4096, 0, 0, op.BRK, CPU), *op.mmap_unit(A + min(4, to) * 4096, 4, 3, agent=CPU), moved]
    with pytest.raises(TraceError, match=r"^prelude record 3: brk over a mapping$"):
        validate(make([], prelude=prelude))
    beside = [prelude[0], *op.mmap_unit(A + 8 * 4096, 4, 3, agent=CPU), *op.mmap_unit(A, 2, 3, agent=CPU), prelude[3]]
    validate(make([], prelude=[*beside, (A + 7 * 4096, 0, 0, op.BRK, CPU), (A + 2 * 4096, 0, 0, op.BRK, CPU)]))


def test_the_check_knows_what_was_in_earlier_chunks():
    validator = Validator(make([]))
    validator.check(op.as_records([read(A + 4090)]))
    validator.check(op.as_records([HALF, (0, 1, 0, op.FORK, CPU)]))
    validator.check(op.as_records([(0, 0, 0, op.EXIT, CHILD)]))
    with pytest.raises(TraceError, match=r"^record 5: address space 1 has exited$"):
        validator.check(op.as_records([read(), read(agent=CHILD)]))


def test_a_fetch_between_two_halves_of_a_read_is_fine():
    validate(make([read(A + 4090), (A, 1, 0, op.FETCH, CPU), HALF]))


@pytest.mark.parametrize(
    ("prelude", "message"),
    [
        ([read()], "prelude record 0: only mmap and brk are allowed, not kind 0"),
        (op.mmap_unit(A + 1, 1, 3), "prelude record 0: mmap: unaligned"),
    ],
)
def test_an_invalid_prelude_is_named(prelude, message):
    with pytest.raises(TraceError, match=message):
        validate(make([], prelude=prelude))


def test_agents_are_checked():
    with pytest.raises(TraceError, match="role must be"):
        Agent("gpu", 0, "x")
    with pytest.raises(TraceError, match=r"space must be in \[0, 128\)"):
        Agent("cpu", 128, "x")
    with pytest.raises(TraceError, match="1 to 128 agents, not 0"):
        make([], agents=[])


def test_records_of_another_type_are_refused():
    with pytest.raises(TraceError, match=r"OP\[n\]"):
        make(np.zeros(3, np.int64))
    with pytest.raises(TraceError, match="at least 1 record"):
        next(make(SAMPLE).chunks(0))


# ---------------------------------------------------------------------------------------------------- the file


def random_records(size, seed=0):
    random = np.random.default_rng(seed)
    ops = np.zeros(size, OP)
    ops["address"] = random.integers(0, 1 << 40, size)
    ops["count"] = random.integers(1, 9, size)
    ops["kind"] = random.integers(0, 3, size)
    ops["agent"] = random.integers(0, 2, size)
    return ops


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "x.hwtrace"
    make(random_records(300_000), prelude=STACK_UNIT, info={"program": "x", "n": [1, 2]}).save(path)
    return path


def test_a_file_gives_back_what_was_saved(saved):
    trace = Trace.load(saved)
    assert trace.agents == tuple(AGENTS)
    assert trace.info == {"program": "x", "n": [1, 2]}
    assert trace.name == str(saved)
    assert [tuple(record) for record in trace.prelude.tolist()] == STACK_UNIT
    assert len(trace) == 300_000
    ops = np.concatenate(list(trace.chunks(100_000)))
    assert (ops == random_records(300_000)).all()
    assert trace.references == int(ops["count"].sum())
    assert [chunk.dtype for chunk in trace.chunks()] == [OP] * 2


@settings(deadline=None)
@given(st.data())
def test_any_valid_records_survive_the_file(tmp_path_factory, data):
    access = st.tuples(
        st.integers(0, (1 << 47) - 1), st.integers(1, (1 << 31) - 1), st.integers(0, 32767), st.integers(0, 2),
        st.integers(0, 1),
    )  # fmt: skip
    unit = st.one_of(access.map(lambda record: [record]), st.just(op.mmap_unit(A, 1 << 33, 3)))
    records = [record for unit in data.draw(st.lists(unit)) for record in unit]
    path = tmp_path_factory.getbasetemp() / "any.hwtrace"
    make(records).save(path)
    assert all_records(Trace.load(path)) == records


def test_the_same_trace_gives_the_same_file(tmp_path):
    digests = set()
    for name in "ab":
        make(SAMPLE, info={"x": 1}).save(tmp_path / name)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_an_invalid_trace_leaves_no_file_and_keeps_the_old_one(tmp_path):
    path = tmp_path / "x.hwtrace"
    with pytest.raises(TraceError, match="record 1: unknown kind 5"):
        make([read(), (0, 1, 0, 5, 0)]).save(path)
    assert list(tmp_path.iterdir()) == []
    path.write_text("old")
    with pytest.raises(TraceError, match="info is not JSON"):
        make([read()], info={"x": object()}).save(path)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_is_readable_by_others(saved):
    assert saved.stat().st_mode & 0o444 == 0o444


@pytest.mark.parametrize("part", [0.0, 0.00001, 0.01, 0.3, 0.9, 0.999, 0.999999])
def test_a_truncated_file_is_refused(saved, part):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(TraceError, match=r"x\.hwtrace: not a trace file, or cut short") as error:
        Trace.load(saved)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_flipped_bit_is_found(saved, part):
    content = bytearray(saved.read_bytes())
    content[int(len(content) * part)] ^= 4
    saved.write_bytes(content)
    with pytest.raises(TraceError, match=r"x\.hwtrace: damaged in row group [01] "):
        validate(Trace.load(saved))


def test_files_of_others_are_refused(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "x"
    for content in (b"", b"hello", b"PAR1" * 100, bytes(5000)):
        path.write_bytes(content)
        with pytest.raises(TraceError, match="x: not a trace file"):
            Trace.load(path)
    parquet.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(TraceError, match="x: a Parquet file, but not a trace"):
        Trace.load(path)
    meta = {"hwmodel.trace": json.dumps({"version": 99})}
    parquet.write_table(pa.table({"a": [1]}).replace_schema_metadata(meta), path)
    with pytest.raises(TraceError, match="x: format version 99 is newer"):
        Trace.load(path)
    with pytest.raises(FileNotFoundError, match="nothing: no such file"):
        Trace.load(tmp_path / "nothing")


def test_a_file_without_a_column_is_refused(saved):
    from pyarrow import parquet

    table = parquet.read_table(saved)
    meta = parquet.ParquetFile(saved).metadata.metadata
    parquet.write_table(table.drop_columns(["gap"]).replace_schema_metadata(meta), saved)
    with pytest.raises(TraceError, match="damaged in row group 0"):
        validate(Trace.load(saved))
