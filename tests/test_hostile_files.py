"""Files that lie about themselves or are no files: refused in one line, at the cost of what they have and not of what they say."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from analysis import cli
from hwmodel import op
from hwmodel.op import MOST_COUNT, Agent, TraceError, mmap_unit
from hwmodel.trace import Trace, validate
from hwmodel.trace.file import GROUP
from tests.support import bad_files
from workloads import streams
from workloads.formats.kernel.lines import Lines

ROOT = pathlib.Path(__file__).resolve().parent.parent
COST = """
import resource, sys, warnings
from analysis import cli
from hwmodel.arrow import arrow
from hwmodel.trace import Trace
arrow()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
before = peak()
if sys.argv[2]:
    status = cli.main(["convert", sys.argv[1], sys.argv[2]])
else:
    status = sum(chunk.size for chunk in Trace.load(sys.argv[1]).chunks())
sys.stdout.write(f"{status} {peak() - before}")
"""
"""Converts a file, or reads its records; says the exit status, or their number, and by how many MiB the process has grown."""
BASE = 1 << 32


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """Run a command that must be refused; what is said."""
    monkeypatch.chdir(tmp_path)

    def refused(*arguments):
        before = sorted(os.listdir())
        assert cli.main(list(arguments)) == 2
        told = capfd.readouterr()
        assert told.out == "" and told.err.count("\n") == 1 and sorted(os.listdir()) == before, told
        return told.err.removeprefix("hwmodel: ").removesuffix("\n")

    return refused


def good(path, info=None):
    records = [*mmap_unit(BASE, 16, 3), *((BASE | k << 12, 2, 1, op.READ, 0) for k in range(16))]
    Trace.from_records([Agent("cpu", 0, "main")], records, info=info).save(path)


def cost(path, out, status=2):
    """MiB that reading a file takes, whatever it says."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT" or out}
    environment |= {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", COST, path, out], env=environment, capture_output=True, text=True, check=True, timeout=300)
    said, grown = done.stdout.split()[-2:]
    assert int(said) == status, done
    return int(grown), done.stderr


# what is no file

NOT_FILES = {"pipe": "a pipe", "zero": "a device", "socket": "a socket"}


def make(name):
    if name == "pipe":
        os.mkfifo(name)
    elif name == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as made:
            made.bind(name)
    else:
        os.symlink("/dev/zero", name)


@pytest.mark.parametrize("name", NOT_FILES)
@pytest.mark.parametrize("command", [["inspect"], ["replay"], ["convert"], ["compare", "--machines", "cpu-only", "--out", "o", "--trace"]])
def test_what_is_no_file(refused, name, command):
    make(name)
    said = refused(*command, name, *(["x.csv"] if command == ["convert"] else []))
    assert said == f"{name}: is {NOT_FILES[name]} and not a regular file: a trace is read several times, from its beginning"


def test_standard_input(tmp_path):
    """A file that is redirected is a file; what comes through a pipe is none."""
    good(tmp_path / "x.hwtrace")
    command, environment = f"{sys.executable} -m analysis.cli inspect /dev/stdin", os.environ | {"PYTHONPATH": str(ROOT)}
    refusal = "hwmodel: /dev/stdin: is a pipe and not a regular file: a trace is read several times, from its beginning\n"
    for redirect, status in ((f"{command} < x.hwtrace", 0), (f"cat x.hwtrace | {command}", 2)):
        done = subprocess.run(redirect, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (status, refusal if status else "")


def test_what_is_not_there_or_goes_nowhere(refused, tmp_path):
    os.symlink("gone", "dangling")
    os.symlink("loop", "loop")
    good("x.hwtrace")
    for name, said in (("dangling", "no such file"), ("loop", "no such file"), ("x.hwtrace/y", "no such file")):
        assert refused("inspect", name).startswith(f"{name}: {said}")
        with pytest.raises(OSError, match=name):
            Trace.load(name)
    for opened in (Trace.load, streams.file_source):
        with pytest.raises(IsADirectoryError, match=r"^\.: a folder, not a trace$"):
            opened(".")


@pytest.mark.parametrize("path", ["/dev/zero", "./long.toml"])
def test_a_machine_s_file_has_an_end(refused, tmp_path, path):
    (tmp_path / "long.toml").write_text("# \n" * 400_000)
    assert refused("show", path) == f"{os.path.basename(path)}: has more than 1,048,576 bytes: no settings of a machine"


def test_a_machine_may_come_through_a_pipe():
    command, text = [sys.executable, "-m", "analysis.cli", "show", "/dev/stdin"], 'extends = ["gru-2008"]\nname = "piped"\n'
    done = subprocess.run(command, input=text, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("piped: "), done


# what a trace file says of itself

FIELDS = {
    "references below 0": ({"references": -5}, f"damaged: references: must be a whole number, in [0, {1 + MOST_COUNT * 18}), not -5"),
    "references above all": ({"references": 1 << 70}, "damaged: references: must be a whole number, in [0, 38654705647), not 1180591"),
    "references in part": ({"references": 31.5}, "damaged: references: must be a whole number"),
    "references in words": ({"references": "32"}, "damaged: references: must be a whole number, in [0, 38654705647), not '32'"),
    "references that are true": ({"references": True}, "damaged: references: must be a whole number"),
    "one reference too few": ({"references": 31}, "damaged: references: 32, but it should have 31"),
    "one reference too many": ({"references": 33}, "damaged: references: 32, but it should have 33"),
    "records below 0": ({"records": -1}, "damaged: records: must be a whole number, not negative, not -1"),
    "records in words": ({"records": "18"}, "damaged: records: must be a whole number, not negative, not '18'"),
    "a space in part": ({"agents": [{"role": "cpu", "space": 0.5, "name": ""}]}, "damaged: space: must be a whole number, not negative"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_file_s_own_numbers_are_checked(refused, name):
    fields, complaint = FIELDS[name]
    good("good.hwtrace")
    bad_files.forge("good.hwtrace", "bad.hwtrace", **fields)
    assert refused("inspect", "bad.hwtrace") == refused("convert", "bad.hwtrace", "x.csv")
    assert refused("inspect", "bad.hwtrace").startswith(f"bad.hwtrace: {complaint}")


# what a small file may cost

def npy(path, length, version=2):
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length.to_bytes(4 if version == 2 else 2, "little") + b"{'descr': '<i8'}" * 60)


@pytest.mark.parametrize("length", [0xFFFFFFF0, 1 << 30, (1 << 16) + 1])
def test_a_header_of_an_array_is_short(tmp_path, length):
    npy(tmp_path / "x.npy", length)
    grown, said = cost(tmp_path / "x.npy", tmp_path / "x.csv")
    assert grown < 50, grown
    assert said.endswith("x.npy: damaged, or no table: its header makes no sense (more than 65536 bytes)\n"), said


def test_rows_that_are_wide_are_read_a_few_at_a_time(tmp_path):
    """4,000 rows of 60,000 bytes are 240 MB, and were read at once: 1 MB when they are compressed."""
    import gzip

    table = np.zeros(200, [("address", np.int64), ("kind", "S59992")])
    table["address"], table["kind"] = BASE + 4096 * np.arange(200), b"read"
    with gzip.open(tmp_path / "x.npy.gz", "wb", 1) as file:
        head = np.lib.format
        head.write_array_header_1_0(file, head.header_data_from_array_1_0(table) | {"shape": (4_000,)})
        for _ in range(20):
            file.write(table.tobytes())
    grown, _ = cost(tmp_path / "x.npy.gz", tmp_path / "x.csv", status=0)
    assert grown < 150, grown
    assert (tmp_path / "x.csv").read_text().count("\nread,") == 4_000


def test_bytes_are_read_as_they_come():
    with streams.bytes_source(b"abc" * 200_000).open() as stream:
        assert stream.read(5) == b"abcab" and stream.read(1 << 40) == (b"abc" * 200_000)[5:] and stream.read(7) == b""


def one_group(path, records, chunks, agents=1):
    """A trace file all of whose records are in one row group."""
    import pyarrow as pa
    from pyarrow import parquet

    references = 0
    schema = pa.schema([(name, pa.from_numpy_dtype(op.OP[name])) for name in op.COLUMNS])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        pieces = []
        for ops in chunks:
            references += op.count_references(ops)
            pieces.append(pa.table({name: np.ascontiguousarray(ops[name]) for name in op.COLUMNS}))
        writer.write_table(pa.concat_tables(pieces), row_group_size=records)
        about = {"version": 1, "records": records, "references": references, "prelude": [], "info": {},
                 "agents": [{"role": "cpu", "space": 0, "name": "main"}] * agents}  # fmt: skip
        writer.add_key_value_metadata({"hwmodel.trace": json.dumps(about)})


def test_a_large_row_group_is_read_in_pieces(tmp_path):
    """8 Mi records in one are 144 MiB of columns, and 128 MiB more when they are put together."""
    ops = np.zeros(1 << 23, op.OP)
    ops["count"] = 1
    one_group(tmp_path / "x.hwtrace", ops.size, [ops])
    del ops
    assert os.path.getsize(tmp_path / "x.hwtrace") < 1 << 20
    grown, _ = cost(tmp_path / "x.hwtrace", "", status=1 << 23)
    assert grown < 160, grown


@pytest.mark.parametrize("shift", range(4))
def test_a_unit_that_two_pieces_share_stays_whole(tmp_path, shift):
    """Differences of addresses go on from piece to piece, too."""
    before = np.zeros(GROUP - shift, op.OP)
    before["count"], before["address"][0] = 1, BASE  # differences: all at BASE
    unit = np.array(mmap_unit(BASE, 4, 3), op.OP)
    expected = unit.tolist()
    unit["address"] = np.diff(unit["address"], prepend=0)
    after = np.zeros(GROUP + 5, op.OP)
    after["count"] = 1
    one_group(tmp_path / "x.hwtrace", 2 * GROUP + 5 - shift + unit.size, [before, unit, after])
    trace = Trace.load(tmp_path / "x.hwtrace")
    validate(trace)
    arrays = list(trace.chunks(1 << 30))
    assert all(array["kind"][0] != op.ARG for array in arrays) and max(array.size for array in arrays) <= GROUP + 2
    ops = np.concatenate(arrays)
    assert ops.size == 2 * GROUP + 5 - shift + unit.size and set(ops["address"][ops["kind"] == op.READ].tolist()) == {BASE}
    assert ops[GROUP - shift : GROUP - shift + unit.size].tolist() == expected


def test_operands_without_end_are_refused(tmp_path):
    ops = np.zeros(2 * GROUP + 9, op.OP)
    ops["kind"], ops["kind"][0] = op.ARG, op.MMAP
    one_group(tmp_path / "x.hwtrace", ops.size, [ops])
    with pytest.raises(TraceError, match=r"x\.hwtrace: record 0: mmap"):
        validate(Trace.load(tmp_path / "x.hwtrace"))


def test_comments_are_passed_over_quickly(monkeypatch):
    """The kernel passes over comments that tell nothing: to take each for an event first took 2.4 s for a million, and 0.1 s without."""
    handed_out = []
    monkeypatch.setattr(Lines, "_slow", lambda lines, line: iter(handed_out.append(line) or ()))
    comments = b"#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n" * 100_000
    lines = Lines(streams.bytes_source(b"# tracer: nop\n" + comments + b"# entries-in-buffer/entries-written: 1/1\n"))
    assert list(lines.events()) == [] and lines.line == 100_002
    assert handed_out == [b"# entries-in-buffer/entries-written: 1/1"]


@pytest.mark.jit_off
def test_references_are_counted_in_64_bits(tmp_path):
    """Three counts of 31 bits add up to more than 32 have; the file must not look damaged for that."""
    units = [*mmap_unit(BASE, 1 << 33, 3), *[(BASE, MOST_COUNT, 0, op.READ, 0)] * 3]
    Trace.from_records([Agent("cpu", 0, "main")], units).save(tmp_path / "x.hwtrace")
    chunks = list(Trace.load(tmp_path / "x.hwtrace").chunks())
    assert sum(int(chunk["count"][-3:].sum(dtype=np.int64)) for chunk in chunks) == 3 * MOST_COUNT
