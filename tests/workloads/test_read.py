"""Files, whatever their format: compressed, cut, unknown, missing, and a trace file of any name."""

import bz2
import gzip
import lzma

import pytest
import zstandard

from hwmodel.op import TraceError, TraceWarning
from hwmodel.trace import Trace
from workloads import read

LOG = b"""\
==7== Lackey, an example Valgrind tool
I  0401ab70,3
 S 1fff000778,8
I  0401ab73,5
"""


def records(trace):
    return [tuple(record) for chunk in trace.chunks() for record in chunk.tolist()]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress, zstandard.compress])
def test_compressed_files(file, pack):
    trace = read(file(pack(LOG * 1000)))
    assert trace.references == 3000
    assert records(trace) == records(read(file(LOG * 1000, "plain")))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_compressed_file_that_is_cut_has_what_can_be_unpacked(file, pack):
    packed = pack(LOG * 1000)
    with pytest.warns(TraceWarning, match=r"log\.7: cut short: ends (within|behind) line \d+"):
        assert 0 < read(file(packed[: len(packed) // 2])).references < 3000


@pytest.mark.parametrize("content", [b"", b"hello\n", b"==7== only talk\n", b"1,2,3\n"])
def test_unknown_formats_are_refused(file, content):
    with pytest.raises(TraceError, match=r"log\.7: not a trace of a known format"):
        read(file(content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none: no such file"):
        read(tmp_path / "none")


def test_a_trace_file_is_read_whatever_its_name(file, tmp_path):
    read(file(LOG)).save(tmp_path / "x.txt")
    assert isinstance(read(tmp_path / "x.txt"), Trace)
    assert records(read(tmp_path / "x.txt")) == records(read(file(LOG)))
