"""Recordings that are cut short, garbled or wrong in what they say, for the tests of bad input."""

import gzip
import json
import lzma
import pathlib

from hwmodel import op
from hwmodel.op import Agent, mmap_unit
from hwmodel.trace import Trace
from workloads.recorded import names

BASE = 1 << 32
LACKEY = """\
==7== Lackey, an example Valgrind tool
==7== Command: ./prog
I  0401ab70,3
 S 1fff000778,8
 L 1fff000ffc,8
SYSCALL[7,1](9) sys_mmap ( 0x0, 8192, 3, 34, 4294967295, 0 ) --> [pre-success] Success(0x4835000)
 M 04835000,8
SYSCALL[7,1](11) sys_munmap ( 0x4835000, 8192 )[sync] --> Success(0x0)
I  0401ab73,5
"""
SEGMENTS = """\
--7:1: aspacem <<< SHOW_SEGMENTS: Memory layout at client startup (1 segments)
--7:1: aspacem   1: file 0000108000-0000108fff    4096 r---- d=0xfe00 i=2147031 o=0       (1,49)
--7:1: aspacem >>>
"""
CPU, DEVICE = {"role": "cpu", "space": 0, "name": "main"}, {"role": "device", "space": 0, "name": "gru"}

PUNCH = [(0, 1, 0, op.PUNCH, 0), (0, 1, 0, op.ARG, 0)]
"""An operation that traces may have and no machine carries out."""
WIDE = [*mmap_unit(4 * BASE, 512, 3), *((4 * BASE + 4096 * i, 1, 0, op.WRITE, 0) for i in range(512))]
"""Writes that need two MiB."""


def records():
    """A mapping, and accesses to its pages."""
    accesses = [(BASE + 4096 * (i * 7 % 64) + i % 512 * 8, 1 + i % 5, i % 3, i % 2, 0) for i in range(5000)]
    return [*mmap_unit(BASE, 64, 3), *accesses]


def save(path, devices=0, last=()):
    """A trace file in order."""
    agents = [Agent("cpu", 0, "main"), *(Agent("device", 0, f"device {i}") for i in range(devices))]
    more = [(BASE, 1, 0, op.READ, 1 + i) for i in range(devices)]
    Trace.from_records(agents, [*records(), *more, *last], mmap_unit(2 * BASE, 4, 3), {"program": "toy"}).save(path)


def forge(good, path, row=None, values=(), drop=(), **meta):
    """A file whose Parquet is in order: other values in a row, other statements in its description; no checksum of that.

    Addresses are kept as differences; row 2 is the first access, whose address is kept as it is.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetFile(good) as file:
        table, keys = file.read(), file.metadata.metadata
    for column, value in dict(values).items():
        field, cells = table.schema.field(column), table.column(column).to_pylist()
        cells[row] = value
        table = table.set_column(table.column_names.index(column), field, pa.array(cells, field.type))
    said = {**json.loads(keys[b"hwmodel.trace"]), **meta}
    said = json.dumps({key: value for key, value in said.items() if key not in drop})
    parquet.write_table(table.replace_schema_metadata({"hwmodel.trace": said}), path)


RECORDS = {
    "an agent out of range": (2, {"agent": 7}, "record 2: agent 7 is not in the trace"),
    "a negative agent": (3, {"agent": -1}, "record 3: agent -1 is not in the trace"),
    "a non-canonical address": (2, {"address": 1 << 47}, "record 2: non-canonical address 0x800000000000"),
    "a kernel address": (2, {"address": -4096}, "record 2: non-canonical address -0x1000"),
    "a negative count": (9, {"count": -3}, "record 9: write: count must be at least 1, not -3"),
    "a count of 0": (9, {"count": 0}, "record 9: write: count must be at least 1, not 0"),
    "a negative gap": (4, {"gap": -1}, "record 4: negative gap -1"),
    "an unknown kind": (4, {"kind": 5}, "record 4: unknown kind 5"),
    "an operand alone": (4, {"kind": op.ARG}, "record 4: stray ARG record"),
    "an operation without its operand": (1, {"kind": op.READ}, "record 0: mmap: operand is missing"),
    "a mapping past the end": (0, {"address": (1 << 47) - 4096}, "record 0: mmap: 64 pages from 0x7ffffffff000 pass the end"),
    "a mapping of no page": (0, {"count": 0}, "record 0: mmap: count must be at least 1, not 0"),
    "half an access": (8, {"kind": op.READ | op.CONTINUES}, "record 8: second half of a read without its first half"),
}  # fmt: skip
"""Rows of a trace file: (row, other values, what is said)."""
DESCRIPTIONS = {
    "no agent": ({"agents": []}, "a trace has 1 to 128 agents, not 0"),
    "too many agents": ({"agents": [CPU] * 129}, "a trace has 1 to 128 agents, not 129"),
    "a strange role": ({"agents": [{**CPU, "role": "gpu"}]}, "role must be 'cpu' or 'device', not 'gpu'"),
    "a strange space": ({"agents": [{**CPU, "space": 128}]}, "space must be in [0, 128), not 128"),
    "agents that are none": ({"agents": [1]}, "damaged: its description makes no sense"),
    "agents without a role": ({"agents": [{"space": 0, "name": ""}]}, "damaged: its description lacks 'role'"),
    "another count": ({"records": 17}, "damaged: 5002 records, but it should have 17"),
    "a prelude of other things": ({"prelude": [[0, 1, 0, op.READ, 0]]}, "prelude record 0: only mmap and brk are allowed"),
    "a prelude out of range": ({"prelude": [[1 << 70, 1, 0, 8, 0]]}, "damaged: its description makes no sense"),
    "a prelude of words": ({"prelude": ["abcde"]}, "damaged: its description makes no sense"),
    "a prelude past the end": ({"prelude": mmap_unit(1 << 47, 1, 3)}, "prelude record 0: non-canonical address"),
    "a prelude of half a unit": ({"prelude": mmap_unit(BASE, 1, 3)[:1]}, "prelude record 0: mmap: operand is missing"),
    "a newer version": ({"version": 2}, "format version 2 is newer than 1"),
    "a version that is none": ({"version": "1"}, "damaged: its description makes no sense"),
    "infinity": ({"records": float("inf")}, "damaged: records: must be a whole number, not negative, not inf"),
    "information that is none": ({"info": 3}, "damaged: its description makes no sense"),
}  # fmt: skip
LOGS = {
    "an empty file": ("", "not a trace of a known format: it is empty"),
    "blanks": ("\n\n\n", "not a trace of a known format"),
    "another text": ("one two\nthree\n", "not a trace of a known format"),
    "a header only": (LACKEY[: LACKEY.index("I  ")], "not a trace of a known format"),
    "cut in a line": (LACKEY[:-4], "cut short: ends within line 9: 'I  0401ab7'"),
    "cut in a system call": (LACKEY[: LACKEY.index("Success(0x4835")], "cut short: ends within line 6: 'SYSCALL[7,1](9)"),
    "a line of noise": (LACKEY.replace(" M 04835000,8", "#%&"), "line 7 is garbled: '#%&'"),
    "a letter for a digit": (LACKEY.replace(" M 04835000,8", " M 0483500g,8"), "line 7 is garbled: ' M 0483500g,8'"),
    "a size of 0": (LACKEY.replace(" M 04835000,8", " M 04835000,0"), "line 7 is garbled"),
    "a negative size": (LACKEY.replace(" M 04835000,8", " M 04835000,-8"), "line 7 is garbled"),
    "a huge size": (LACKEY.replace(" M 04835000,8", f" M 04835000,{10**30}"), "line 7 is garbled"),
    "a non-canonical address": (LACKEY.replace(" M 04835000", " M 800000000000"), "line 7 is garbled: ' M 800000000000,8'"),
    "a kernel address": (LACKEY.replace(" M 04835000", " M ffffffffff600000"), "line 7 is garbled"),
    "a strange letter": (LACKEY.replace(" M 0", " X 0"), "line 7 is garbled"),
    "too few arguments": (LACKEY.replace("0x0, 8192, 3, 34, 4294967295, 0", "0x0"), "line 6 is garbled: 'SYSCALL[7,1](9)"),
    "a result alone": (LACKEY.replace("SYSCALL[7,1](9) sys_mmap", "sys_mmap"), "line 6 is garbled: 'sys_mmap"),
    "mapped nowhere": (LACKEY.replace("Success(0x4835000)", "Success(0xffffffffff600000)"), "line 6 is garbled"),
    "mapped past the end": (LACKEY.replace("0x0, 8192", f"0x0, {1 << 60}"), "line 6 is garbled"),
    "unmapped past 64 bits": (LACKEY.replace("0x4835000, 8192", f"0x4835000, {10**30}"), "line 8 is garbled"),
    "unmapped less than nothing": (LACKEY.replace("0x4835000, 8192", "0x4835000, -8192"), "line 8 is garbled"),
    "unmapped off a page": (LACKEY.replace("( 0x4835000, 8192", "( 0x4835001, 8192"), "munmap: unaligned address 0x4835001"),
    "a garbled list of memory": (SEGMENTS.replace("o=0  ", "     ") + LACKEY, "list of the program's memory is garbled: '--7:1:"),
    "a segment backwards": (SEGMENTS.replace("108fff", "107fff") + LACKEY, "list of the program's memory is garbled"),
}
"""Texts of valgrind's lackey, and what is said."""


def cuts(size):
    """Where a file is cut: in its first and last bytes, and between."""
    lengths = (1, 3, 4, 5, 8, 12, 100, size // 10, size // 2, size - 100, size - 9, size - 8, size - 5, size - 1)
    return {f"cut to {n} bytes": n for n in lengths}


def write_all(folder: pathlib.Path) -> dict[str, str]:
    """Write every bad recording; what is said of each file, by its name."""
    good = folder / "good.hwtrace"
    save(good)
    whole, said = good.read_bytes(), {}

    def put(name, content, complaint):
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        said[name] = complaint

    for name, at in cuts(len(whole)).items():
        put(f"{name}.hwtrace", whole[:at], "not a trace")
    for name, (row, values, complaint) in RECORDS.items():
        forge(good, folder / f"{name}.hwtrace", row, values)
        said[f"{name}.hwtrace"] = complaint
    for name, (meta, complaint) in DESCRIPTIONS.items():
        forge(good, folder / f"{name}.hwtrace", **meta)
        said[f"{name}.hwtrace"] = complaint
    for key in ("version", "agents", "records", "references", "prelude", "info"):
        forge(good, folder / f"no {key}.hwtrace", drop=[key])
        said[f"no {key}.hwtrace"] = f"damaged: its description lacks '{key}'"
    put("another sum.hwtrace", whole.replace(b'"program": "toy"', b'"program": "tOy"'), "its checksum differ")
    for name, (text, complaint) in LOGS.items():
        put(f"{name}.log", text, complaint)
    long = LACKEY + " L 04835000,8\n" * 20_000
    for suffix, pack in (("gz", gzip.compress), ("xz", lzma.compress)):
        packed = pack(long.encode())
        put(f"half.{suffix}", packed[: len(packed) // 2], "cut short: ends ")
        put(f"nearly all.{suffix}", packed[:-1], "cut short: ends behind line 20009")
        put(f"head only.{suffix}", packed[:7] + b"nonsense" * 20, "damaged" if suffix == "xz" else "not a trace of a known format")
        put(f"noise.{suffix}", b"\x00\x01nonsense" * 20, "not a trace of a known format")
        middle = len(packed) // 2
        put(f"garbled.{suffix}", packed[:middle] + bytes([packed[middle] ^ 0x55]) + packed[middle + 1 :], "damaged")
        put(f"packed garbage.{suffix}", pack(LOGS["a line of noise"][0].encode()), "line 7 is garbled: '#%&'")
    (folder / "folder.hwtrace").mkdir()
    said["folder.hwtrace"] = "a folder, not a trace"
    said["missing.hwtrace"] = f"no such file, nor a shipped recording ({', '.join(names())})"
    return said
