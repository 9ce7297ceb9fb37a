"""CSV, NumPy and Parquet columns: fixtures by hand, and garbled ones against a parser that reads value by value."""

import gzip
import io
import lzma
import pathlib
import tempfile
import warnings

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from hwmodel import op as o
from hwmodel.op import Agent, TraceError, TraceWarning
from hwmodel.trace import Trace, validate
from tests.workloads.naive import expand
from tests.workloads.naive_columns import parse
from workloads import read, save_csv
from workloads.formats import read_source
from workloads.streams import bytes_source

TEXT = """\
kind, address, size, count, gap, tid, pid, role
r, 0x1000, 8, 1, 0, 7, 1, cpu
"W", 8190, 4, 1, 3, 7, 1, "cpu"

ifetch,0x400000,4,5,40000,7,1,0
STORE,0x2000,8,2,0,9,1,device
compute,0,0,30,0,9,1,device
Load,0x7fffffffffff,1,1,0,7,2,cpu
syscall,0,0,3,0,7,2,cpu
sync,0,0,1,0,7,2,cpu
"""
WANTED = [
    (0x1000, 1, 0, o.READ, 0),
    (8190, 1, 3, o.WRITE, 0),
    (8192, 1, 0, o.WRITE | o.CONTINUES, 0),
    (0, 40000, 0, o.COMPUTE, 0),
    (0x400000, 5, 0, o.FETCH, 0),
    (0x2000, 2, 0, o.WRITE, 1),
    (0, 30, 0, o.COMPUTE, 1),
    (0x7FFFFFFFFFFF, 1, 0, o.READ, 2),
    (0, 3, 0, o.SYSCALL, 2),
    (0, 0, 0, o.SYNC, 2),
]


def table(rows=300, seed=0, words=True):
    """Columns by name, of accesses that are right."""
    random = np.random.default_rng(seed)
    found = {
        "address": random.integers(0, 1 << 20, rows),
        "kind": random.choice(["r", "w", "i"], rows) if words else random.integers(0, 3, rows).astype("i1"),
        "size": random.choice([1, 4, 8], rows).astype("u2"),
        "tid": random.integers(-2, 2, rows).astype("i4"),
    }  # fmt: skip
    return found


def as_csv(columns):
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*(c.tolist() for c in columns.values()), strict=True))]
    return ("\n".join(lines) + "\n").encode()


def as_npy(columns):
    rows = np.zeros(len(columns["address"]), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        rows[name] = column
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def as_npz(columns, save=np.savez_compressed):
    file = io.BytesIO()
    save(file, **columns)
    return file.getvalue()


def as_parquet(columns, **options):
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file, write_page_checksum=True, **options)
    return file.getvalue()


def own(columns):
    """What save_csv writes of the same accesses and some operations."""
    accesses = [(int(address) & ~7, 1, 0, o.READ, 0) for address in columns["address"]]
    ops = [*accesses, *o.mmap_unit(0, 1 << 33, 3), *o.mmap_unit(0, 1, 3), *accesses[:5], *o.paged_unit(o.MREMAP, 0, 1, [(8192, 2)])]
    return ops


def as_own(columns):
    """As a trace that is whole."""
    trace = Trace.from_records([Agent("cpu", 0, "a")], own(columns), o.mmap_unit(0, 9, 3), {"program": "x"})
    with tempfile.TemporaryDirectory() as folder:
        save_csv(trace, f"{folder}/x.csv")
        return pathlib.Path(folder, "x.csv").read_bytes()


FORMATS = {"csv": as_csv, "npy": as_npy, "npz": as_npz, "npz plain": lambda c: as_npz(c, np.savez), "parquet": as_parquet}


def open_bytes(data, strict=False, **options):
    source = bytes_source(data, "file", strict)
    return read_source(source, source.head(), **options)


def records(trace):
    return [tuple(record) for chunk in trace.chunks() for record in chunk.tolist()]


def without_compute(streams, others):
    """What coalescing may not change: instructions between coalesced accesses become a COMPUTE of their own."""
    return streams, [record for record in others if record[2] != o.COMPUTE]


def says(trace, wanted, exact=False):
    """Whether a trace, coalesced if not exact, has these records."""
    plain = Trace.from_records([Agent("cpu", 0, "")] * 128, wanted)
    return records(trace) == wanted if exact else without_compute(*expand(trace)) == without_compute(*expand(plain))


def agree(data, exact=False):
    """The reader and the plain parser say the same of some bytes; 'refused', 'cut' or 'whole'."""
    wanted = parse(data)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            trace = open_bytes(data)
        except TraceError as error:
            assert wanted[0] == "refused", (wanted, error)
            assert str(error).startswith("file: ") and "\n" not in str(error)
            return "refused"
    assert wanted[:1] != ("refused",), (wanted, data[:200])
    cut = isinstance(wanted, tuple)
    assert [warning.category for warning in said] == [TraceWarning] * cut, (wanted, said)
    wanted = wanted[0] if cut else wanted
    assert says(trace, wanted, exact)
    if not exact:
        validate(trace)
    return "cut" if cut else "whole"


@pytest.mark.jit_off
@pytest.mark.as_shipped
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, zstandard.ZstdCompressor().compress, lambda d: b"\xef\xbb\xbf" + d])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv(tmp_path, pack, end):
    path = tmp_path / "x.csv"
    path.write_bytes(pack(TEXT.replace("\n", end).encode()))
    trace = read(path)
    assert records(trace) == WANTED
    assert [(agent.role, agent.space, agent.name) for agent in trace.agents] == [
        ("cpu", 0, "1/7"), ("device", 0, "1/9"), ("cpu", 1, "2/7")]  # fmt: skip
    assert trace.info["operations"] == {"syscall": 3} and trace.info["rows"] == 8
    validate(trace)


def test_without_events_all_is_in_memory():
    trace = open_bytes(TEXT.encode(), events=False)
    assert [op for op in WANTED if op[3] not in (o.SYSCALL, o.SYNC)] == records(trace)
    mapped = [(op[0], op[1], arg[1]) for op, arg in zip(trace.prelude.tolist()[::2], trace.prelude.tolist()[1::2], strict=True)]
    assert mapped == [(0x1000, 2, 135), (0x400000, 1, 135), (0x7FFFFFFFF000, 1, 135)]  # populated, every right


@pytest.mark.as_shipped
@pytest.mark.parametrize("form", FORMATS.values(), ids=list(FORMATS))
@pytest.mark.parametrize("words", [True, False])
def test_every_form_says_the_same(form, words):
    columns = table(70_000, words=words)
    wanted = records(open_bytes(as_csv(columns)))
    data = form(columns)
    trace = open_bytes(data)
    assert records(trace) == wanted
    assert trace.references == sum(op[1] for op in wanted if op[3] & 63 < 3)
    assert [op for chunk in trace.chunks(1000) for op in chunk.tolist()] == wanted


@pytest.mark.parametrize("form", FORMATS.values(), ids=list(FORMATS))
def test_the_plain_parser_agrees(form):
    assert agree(form(table())) == "whole"
    assert agree(TEXT.encode()) == "whole"


@pytest.mark.parametrize("dtype", ["<i8", ">i8", "<u8", ">u4", "<i4", "u1"])
def test_addresses_alone(dtype):
    file = io.BytesIO()
    np.save(file, np.array([0, 1, 100, 127], dtype))
    assert records(open_bytes(file.getvalue())) == [(0, 4, 0, o.READ, 0)]
    assert agree(file.getvalue()) == "whole"


def test_parquet_dictionaries_and_row_groups():
    columns = table(5000)
    columns["kind"] = pa.array(columns["kind"]).dictionary_encode()
    assert agree(as_parquet(columns, row_group_size=777)) == "whole"


BAD = {
    "an unknown column": ("address,colour\n1,2\n", "column 'colour' has no meaning here (known: address, kind"),
    "the same twice": ("address,tid,agent\n1,2,3\n", "column 'agent' means the same as 'tid'"),
    "a word": ("address\nten\n", "line 2, column 'address': 'ten' makes no sense"),
    "a fraction": ("address,size\n1,8.0\n", "line 2, column 'size': '8.0' makes no sense"),
    "nothing": ("kind,address\nr,1\nr,\n", "line 3, column 'address': '' makes no sense"),
    "too many": ("address\n1\n\n1,2\n", "line 4 has more than 1 fields: '1,2'"),
    "too few": ("kind,address\nr\n", "line 2 has fewer than 2 fields: 'r'"),
    "an open quote": ('kind,address\n"r,1\n', "line 2, column 'kind': '\"r' makes no sense"),
    "another word": ("kind,address\nrd,1\n", "line 2, column 'kind': 'rd' makes no sense"),
    "a long word": ("kind,address\nrrrrrrrrrrrrrrrrrr,1\n", "line 2, column 'kind': 'rrrrrrrrrrrrrrrrrr' makes no sense"),
    "an operation": ("kind,address\n10,1\n", "line 2, column 'kind': munmap: only files that save_csv wrote have operations"),
    "no kind": ("kind,address\n7,1\n", "line 2, column 'kind': 7 is no kind"),
    "64 bits": ("address\n0xffffffff81000000\n", "line 2, column 'address': '0xffffffff81000000' makes no sense"),
    "not canonical": ("address\n0x800000000000\n", "line 2, column 'address': 0x800000000000 is no address of 1 bytes of user memory"),
    "over the end": ("address,size\n0x7fffffffffff,2\n", "0x7fffffffffff is no address of 2 bytes"),
    "negative": ("address\n-1\n", "line 2, column 'address': 0xffffffffffffffff is no address"),
    "no size": ("address,size\n1,0\n", "column 'size': 0 is not in [1, 61440]"),
    "a huge size": ("address,size\n1,61441\n", "column 'size': 61441 is not in [1, 61440]"),
    "no count": ("address,count\n1,0\n", "column 'count': 0 is not in [1, 2147483647]"),
    "a gap back": ("address,gap\n1,-1\n", "column 'gap': -1 is not in [0, 2147483647]"),
    "crossing often": ("address,size,count\n4095,2,3\n", "column 'size': 3 accesses of 2 bytes, which cross a page"),
    "a device fetches": ("address,kind,role\n1,i,device\n", "column 'kind': a fetch by a device"),
    "another role": ("address,role\n1,cpu\n1,device\n", "line 3, column 'role': 1 is neither cpu (0) nor device (1), or not"),
    "a crowd": ("address,tid\n" + "".join(f"1,{i}\n" for i in range(129)), "line 130: more than 128 threads"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=list(BAD))
def test_what_a_csv_may_not_say(text, message):
    with pytest.raises(TraceError) as told:
        open_bytes(text.encode())
    assert message in str(told.value) and str(told.value).startswith("file: ")
    assert parse(text.encode())[0] == "refused"


def npy_of(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


BAD_ARRAYS = {
    "fractions": (npy_of(np.ones(3)), "column 'address' is float64: it must be of integers"),
    "a matrix": (npy_of(np.ones((3, 3), int)), "it has shape (3, 3), but rows are wanted"),
    "several": (npy_of(np.arange(3)) * 2, "row 2 is its last, but more bytes follow"),
    "words for addresses": (npy_of(np.zeros(2, [("address", "S3")])), "column 'address' is |S3: it must be of integers"),
    "vectors": (npy_of(np.zeros(2, [("address", "i8", (2,))])), "must be of integers"),
    "a kernel address": (npy_of(np.array([1 << 63], "u8")), "row 0, column 'address': 0x8000000000000000 is no address"),
    "a strange kind": (as_npz({"address": np.array([1]), "kind": np.array(["z"])}), "row 0, column 'kind': not a kind of access"),
    "other lengths": (as_npz({"address": np.array([1]), "kind": np.array([1, 2])}), "its columns are not of one length"),
    "no address": (as_npz({"kind": np.array([1])}), "there is no column 'address'"),
    "a cut archive": (as_npz(table())[:-1], "damaged, cut short, or compressed once more"),
    "a cut Parquet": (as_parquet(table())[:-1], "damaged, or cut short"),
    "an empty cell": (as_parquet({"address": pa.array([1, None])}), "row 1, column 'address': it is empty"),
    "Parquet fractions": (as_parquet({"address": pa.array([1.0])}), "column 'address' is double: it must be of integers"),
    "a list": (as_parquet({"address": pa.array([[1]])}), "it must be of integers"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "message"), BAD_ARRAYS.values(), ids=list(BAD_ARRAYS))
def test_what_arrays_may_not_say(data, message):
    with pytest.raises(TraceError) as told:
        open_bytes(data)
    assert message in str(told.value)
    assert parse(data)[0] == "refused"


@pytest.mark.parametrize("word", ["read", "Read", " READ ", "R", "load"])
def test_words_in_any_case(word):
    wanted = [(0x1000, 1, 0, o.READ, 0), (0x2000, 1, 0, o.WRITE, 0)]
    for kinds in ([word, "Store"], [word.encode(), b"W"]):
        data = as_npz({"address": np.array([0x1000, 0x2000]), "kind": np.array(kinds)})
        assert records(open_bytes(data)) == wanted
    assert records(open_bytes(f"address,kind\n0x1000,{word}\n0x2000,Store\n".encode())) == wanted


def test_ignored_columns():
    text = b'address,what,"and more"\n1,"a, b",c\n2,,"\n'
    assert records(open_bytes(text, ignore=["what", "and more"])) == [(1, 2, 0, o.READ, 0)]
    with pytest.raises(TraceError, match="has no columns to ignore"):
        open_bytes(b"I  0401ab70,3\n S 1fff000778,8\n", ignore=["x"])
    data = as_npz({"address": np.array([1]), "x": np.array([0.5])})
    assert records(open_bytes(data, ignore=["x"])) == [(1, 1, 0, o.READ, 0)]


@pytest.mark.parametrize("form", [as_csv, as_npy])
def test_a_cut_file_gives_its_whole_rows(form):
    data = form(table(60))
    for at in range(len(data) - 1, len(data) - 400, -7):
        assert agree(data[:at]) in ("cut", "whole" if form is as_csv else "cut")
    data = as_csv(table(60))[:-2]
    with pytest.warns(TraceWarning, match=r"^file: cut short: line 61 has no end: "):
        trace = open_bytes(data)
    assert trace.info["rows"] == 59 and trace.info["cut_short"]
    with pytest.raises(TraceError, match="cut short"):
        open_bytes(data, strict=True)


@pytest.mark.parametrize("form", ["csv", "npy", "npz", "npz plain", "parquet", "own"])
def test_garbled_bytes(form):
    """Thousands of files with a few other bytes, or without some, or cut: the same as value by value, or refused."""
    columns = table(12, words=form != "npy")
    data = as_own(columns) if form == "own" else FORMATS[form](columns)
    random = np.random.default_rng(7)
    letters = np.frombuffer(b'0123456789abcdefx,,,\n\n\r" -+#{}[]rwil\x00\xff', np.uint8)
    said = []
    for _ in range(2500 if form in ("csv", "own") else 1500):
        bad = bytearray(data)
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(0, len(bad)))
            how = random.integers(0, 4)
            new = int(random.choice(letters)) if random.random() < 0.7 else int(random.integers(0, 256))
            if how == 0:
                bad[at] = new
            elif how == 1:
                bad.insert(at, new)
            elif how == 2:
                del bad[at : at + int(random.integers(1, 4))]
            elif random.random() < 0.3:
                del bad[at:]
        if bad.startswith(data[:6]) and (form != "csv" or b"address" in bad.split(b"\n")[0]) and (form != "own" or bad[:15] == data[:15]):
            said.append(agree(bytes(bad), exact=form == "own"))
    assert len(said) > 900 and "refused" in said
    assert "whole" in said or form in ("npz", "parquet")
    assert "cut" in said or form not in ("csv", "npy", "own")
