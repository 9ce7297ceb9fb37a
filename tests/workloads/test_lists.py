"""Lists of addresses, whose columns the caller names, and what is said of files that no reader knows."""

import io
import lzma
import random
import tarfile

import pytest

from hwmodel import op
from hwmodel.op import TraceError
from workloads import read
from workloads.formats import textbuffer
from workloads.formats.columns import lists

FILE = "list"
R, W, F = op.READ, op.WRITE, op.FETCH


def accesses(trace):
    return [(kind, address) for chunk in trace.chunks() for address, count, _, kind, _ in chunk.tolist() for _ in range(count)]


DIN = "2 400a10\n0 7f001000\n1 7f002008\n"
"""Dinero's: the label 0 is a read, 1 a write, 2 a fetch; addresses are hexadecimal without 0x."""
PIN = "0x400a10: R 0x7f001000\n0x400a14: W 0x7f002008\n#eof\n"
"""Pin's example tool pinatrace: the instruction's address first."""


@pytest.mark.jit_off
@pytest.mark.as_shipped
@pytest.mark.parametrize("text, columns, wanted", [
    (DIN, "kind,address:hex", [(F, 0x400A10), (R, 0x7F001000), (W, 0x7F002008)]),
    (DIN.replace(" ", "\t").replace("\n", "\r\n"), "kind,address:hex", [(F, 0x400A10), (R, 0x7F001000), (W, 0x7F002008)]),
    ("  0   1000   4  \n\n 1   2000   8\n", "kind,address:hex,size", [(R, 0x1000), (W, 0x2000)]),
    (PIN, "-,kind,address", [(R, 0x7F001000), (W, 0x7F002008)]),
    ("R,0x7f001000\nW,0x7f002000\n", "kind,address", [(R, 0x7F001000), (W, 0x7F002000)]),
    ("R 7F001000\nw FF002000\n", "kind,address:hex", [(R, 0x7F001000), (W, 0xFF002000)]),
    ("4096\n8192\n", "address", [(R, 4096), (R, 8192)]),
    ("Address;What\n0x1000;load\n0x2000;Store\n", "address,kind", [(R, 0x1000), (W, 0x2000)]),
    ("# made by a script\n\nwhere what\n4096 ifetch\n", "address,kind", [(F, 4096)]),
    ('"0x1000","R"\n"0x2000","W"\n', "address,kind", [(R, 0x1000), (W, 0x2000)]),
    ("1: 0x1000\n1: 0x2000\n", "thread,address", [(R, 0x1000), (R, 0x2000)]),
])  # fmt: skip
def test_lists(file, text, columns, wanted):
    trace = read(file(text), columns=columns.split(","))
    assert accesses(trace) == wanted == accesses(trace) and trace.info["format"] == "list"


@pytest.mark.parametrize("text, columns, reason", [
    (DIN, "kind,address", "line 1, column 'address': '400a10' makes no sense"),
    (DIN, "kind,address:hex,size", "line 1 has fewer than 3 fields"),
    (DIN, "address:hex", "line 1 has more than 1 fields"),
    (DIN, "kind,address:octal", "column 'address:octal': behind the colon there is nothing but hex"),
    (DIN, "kind,place", "column 'place' has no meaning here"),
    (DIN, "kind,kind", "column 'kind' means the same as 'kind'"),
    (DIN, "kind,-", "there is no column 'address'"),
    ("R 1000\nX 2000\nQ 3000\n", "kind,address:hex", "line 3, column 'kind': 'Q' makes no sense"),
    ("# a list\n\nR 1000\nR 10g0\n", "kind,address:hex", "line 4, column 'address': '10g0' makes no sense"),
])  # fmt: skip
def test_what_makes_no_sense_is_named(file, text, columns, reason):
    with pytest.raises(TraceError, match="list: " + reason):
        read(file(text), columns=columns.split(","))


@pytest.mark.parametrize("block", range(4))
def test_pieces_do_not_matter(file, monkeypatch, block):
    """However the text is cut into pieces, the accesses are those that a split of each line gives."""
    rng = random.Random(block)
    for _ in range(20):
        lines, wanted = [], []
        for _ in range(rng.randint(1, 60)):
            kind, address = rng.choice("RWI"), rng.randrange(1 << 40)
            gap = rng.choice([" ", "  ", "\t", ", ", ":", " ; "])
            lines.append(rng.choice(["", " "]) + f"{kind}{gap}{address:x}" + rng.choice(["", " ", "\r", ","]))
            wanted.append(({"R": R, "W": W, "I": F}[kind], address))
            lines += rng.choice([[], [""], ["# R 5"], ["  "]])
        monkeypatch.setattr(lists, "PIECE", rng.choice([1, 7, 64, 1 << 18]))
        found = accesses(read(file("\n".join(lines) + "\n"), columns=["kind", "address:hex"]))
        # coalescing joins accesses of one page, and fetches apart from data
        assert sorted(kind for kind, _ in found) == sorted(kind for kind, _ in wanted)
        assert {(kind, address >> 12) for kind, address in found} == {(kind, address >> 12) for kind, address in wanted}


def test_an_endless_line_is_refused(file, monkeypatch):
    monkeypatch.setattr(lists, "BUFFER", 1 << 12)
    with pytest.raises(TraceError, match="line 1 is longer"):
        read(file(b"1" * ((1 << 20) + 1)), columns=["address"])
    assert textbuffer.SLACK


def tar(text):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        member = tarfile.TarInfo("a.champsim")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    return data.getvalue()


@pytest.mark.parametrize("content, hint", [
    (DIN, r"plain addresses: name the columns, perhaps kind,address:hex \(--columns, columns=\)"),
    (PIN, "plain addresses: name the columns, perhaps -,kind,address "),
    ("R,0x7f001000\nW,0x7f002000\n", "plain addresses: name the columns, perhaps kind,address "),
    ("4096\n8192\n", "plain addresses: name the columns, perhaps address "),
    ("Where;What\n0x1000;load\n0x2000;Store\n", "plain addresses: name the columns, perhaps address,kind "),
    (tar(bytes(640)), "a tar archive: unpack it"),
    (lzma.compress(tar(bytes(640))), "a tar archive: unpack it"),
    (b"PERFILE2" + bytes(96), "perf's own file: print it with `perf script`"),
    (b"\x17\x08\x44tracing6\0" + bytes(96), "trace-cmd's own file: print it with `trace-cmd report`"),
    (b"\x7fELF" + bytes(96), "a program: record what it does with `hwmodel record`"),
    (b"\xff\x06\x00\x00sNaPpY" + bytes(96), "compressed with snappy: decompress it"),
    (b"\x04\x22\x4d\x18" + bytes(96), "compressed with lz4: decompress it"),
    ("==7== Lackey, an example Valgrind tool\n==7== Command: x\n", "the closest is lackey, without an access"),
    ("Starting.\nI  04001000,4\n L 1ffe000000,8\n", "the closest is lackey, where line 1 makes no sense: 'Starting.'"),
    ("# begin\n0, 0x400a10, 0xd503201f, \"nop\"\n", "the closest is execlog, where line 1 makes no sense: '# begin'"),
    ("hello\n", r"\(a trace file, "),
])  # fmt: skip
def test_what_no_reader_knows_is_told_with_a_next_step(file, content, hint):
    with pytest.raises(TraceError, match=f"list: not a trace of a known format:? {hint}"):
        read(file(content))


@pytest.mark.parametrize("name", ["drmemtrace.a.12.1234.dir/raw/a.12.1.raw.lz4", "dir/a.12.1.raw.gz", "a.12.1.raw"])
def test_a_raw_drmemtrace_recording_is_told(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(16))
    for given in {path, tmp_path / name.split("/")[0]}:
        with pytest.raises(TraceError, match=r"a raw drmemtrace recording: run DynamoRIO's raw2trace"):
            read(given)
