"""Compressed and plain bytes, whole, joined, cut and garbled."""

import bz2
import gzip
import lzma

import numpy as np
import pytest
import zstandard

from hwmodel.op import TraceError
from workloads import streams

NOISE = np.random.default_rng(0).integers(0, 256, 300_000).astype(np.uint8).tobytes()
DATA = bytes(range(256)) * 5000 + b"end" * 1000 + NOISE
ZSTD = zstandard.ZstdCompressor(write_checksum=True)
MOST = 4 * len(DATA)
PACKED = {"gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress, "zstd": ZSTD.compress}


@pytest.fixture(scope="module", params=PACKED)
def packed(request):
    return PACKED[request.param](DATA)


def unpack(data, most=MOST):
    stream = streams.bytes_source(data).open()
    return stream.read(most), stream.cut


def test_plain_bytes_are_as_they_are():
    assert unpack(DATA) == (DATA, False)
    assert unpack(b"") == (b"", False)
    assert unpack(b"BZ") == (b"BZ", False)


@pytest.mark.parametrize("behind", [b"", b"\0" * 8, b"\0" * (1 << 20)])
def test_what_is_compressed_is_unpacked(packed, behind):
    assert unpack(packed + behind) == (DATA, False)
    assert unpack(packed + behind + packed) == (2 * DATA, False)


def test_little_reads_give_the_same(packed):
    stream = streams.bytes_source(packed).open()
    sizes = np.random.default_rng(1).integers(1, 10_000, 1000)
    assert b"".join(stream.read(int(size)) for size in sizes) == DATA


@pytest.mark.parametrize("part", [0.0001, 0.1, 0.5, 0.9, 0.99999])
def test_what_is_cut_gives_its_beginning_and_says_so(packed, part):
    got, cut = unpack(packed[: 9 + int(part * (len(packed) - 9))])
    assert cut and len(got) < len(DATA) + 1 and DATA.startswith(got)


def test_most_of_a_cut_file_is_read():
    for pack in (gzip.compress, lzma.compress, ZSTD.compress):
        data = pack(DATA)
        assert len(unpack(data[: int(0.9 * len(data))])[0]) > 0.9 * len(DATA)


def test_what_is_garbled_is_refused(packed):
    garbled = bytearray(packed)
    garbled[len(packed) // 2] ^= 0x55
    with pytest.raises(TraceError, match=r"^bytes: damaged after byte \d+ of what is compressed \("):
        unpack(bytes(garbled))


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".bz2", ".zst"])
def test_a_file_is_compressed_by_its_name(tmp_path, suffix):
    path = tmp_path / f"file.txt{suffix}"
    for _ in range(2):
        with streams.create(path) as file:
            file.write(DATA)
        first = path.read_bytes()
    assert (len(first) < len(DATA)) == bool(suffix)
    assert streams.file_source(path).head(len(DATA) + 1) == DATA
    assert path.read_bytes() == first


def test_a_file_that_could_not_be_finished_is_not_there(tmp_path):
    with pytest.raises(ZeroDivisionError), streams.create(tmp_path / "file.gz") as file:
        file.write(DATA)
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_small_file_of_zeros_does_not_fill_the_memory():
    bomb = ZSTD.compress(bytes(1 << 28))
    assert unpack(bomb, 1000) == (bytes(1000), False)
    assert max(len(piece) for piece in _pieces(bomb)) <= 1 << 27


def _pieces(data):
    stream = streams.bytes_source(data).open()
    while piece := stream._next_piece():
        yield piece
