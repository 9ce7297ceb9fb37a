"""Files as people have them, by the name of the case: what is right for each, and for others of its kind."""

import bz2
import gzip
import io
import lzma
import tarfile
import warnings

import pytest

from hwmodel import op
from hwmodel.op import TraceError
from hwmodel.trace import validate
from tests.workloads import test_drmemtrace as dr
from workloads import read

FILE = "case"
A, B = 0x7F0000001040, 0x7F0000002040
CPU, PERF = "  app-31  [001]  10.{}: ", "app  31/31 [001] 10.{}: "


def fault(address, code=6, name="page_fault_user"):
    return f"{name}: address={address:#x} ip=0x401000 error_code={code:#x}"


def flush(pages=1):
    return f"tlb_flush: pages:{pages} reason:local MM shootdown (3)"


def lines(layout, *events, between=""):
    """Text with a line for each event and something behind each."""
    return "".join(layout.format(at) + event + "\n" + between for at, event in enumerate(events, 101))


def archive(kind):
    """A tar archive with a file that could have been read."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format={"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT}[kind]) as file:
        file.addfile(tarfile.TarInfo("a.champsim"), io.BytesIO())
    return data.getvalue()


EMPTY = "CPU {} is empty\n"
FLUSHED = {"flushes.ranged": 1, "flushes.pages": 1}
FRAMES = "  app-31  [001]  10.5: {}\n => exc_page_fault\n => asm_exc_page_fault\n"
DR = [(dr.INSTR, 4, 0x400780), (dr.READ, 8, 0x7000008), (dr.INSTR, 4, 0x401780)]
DR_READ = ["fetch 400780", "read 7000008", "fetch 401780"]
FILTERED = "most accesses are missing: those that hit the cache by which the recording was filtered (-L0_filter)"
COLUMNS = "not a trace of a known format: plain addresses: name the columns, perhaps {} (--columns, columns=)"
TAR = "not a trace of a known format: a tar archive: unpack it"
GRAPHED = "1 event has no thread: each CPU's are taken as a thread's of one process (see options/funcgraph-proc)"

READ_AS = {
    "01-tracecmd-cpu-empty": [
        ("".join(map(EMPTY.format, (0, 2))) + "cpus=4\n" + lines(CPU, fault(A), flush(), fault(B, 4)),
         [f"write {A:x}", f"read {B:x}"], FLUSHED),
        (EMPTY.format(0) + "cpus=2\n" + lines(CPU, fault(A, 0x14)), [f"fetch {A:x}"], {}),
        ("".join(map(EMPTY.format, range(1, 300))) + "cpus=300\n" + lines(CPU, fault(A), flush()), [f"write {A:x}"], FLUSHED),
        ("cpus=2\n" + EMPTY.format(1) + lines(CPU, flush(), fault(B)), [f"write {B:x}"], FLUSHED),
    ],
    "07-perf-period-column": [
        (lines("app  31/31 [001]  10.{}:          1 ", f"tlb:{flush()}", f"exceptions:{fault(A)}"), [f"write {A:x}"], FLUSHED),
        (lines("app    31 [001]  10.{}:     250000 ", f"exceptions:{fault(A)}", f"exceptions:{fault(B)}"),
         [f"write {A:x}", f"write {B:x}"], {}),
        (lines("app  31  10.{}:          1 ", f"tlb:{flush()}", f"exceptions:{fault(B, 4)}"), [f"read {B:x}"], FLUSHED),
    ],
    "08-ftrace-stacktrace": [
        (lines(CPU, fault(A), between=FRAMES.format("<stack trace>")) + lines(CPU, flush()), [f"write {A:x}"], FLUSHED),
        (lines(CPU, fault(A), flush(), between=FRAMES.format("<user stack trace>")), [f"write {A:x}"], FLUSHED),
        (lines(PERF, f"tlb:{flush()}", f"exceptions:{fault(B)}", between="\tffffffff81c00aed exc_page_fault+0x1d ([kernel])\n\n"),
         [f"write {B:x}"], FLUSHED),
    ],
    "09-latency-format": [
        (lines("     app-31    1d...2.. 25636951{}us : ", fault(A), flush()), [f"write {A:x}"], FLUSHED),
        (lines("     app-31    1d...2.. 25636951{}us+: ", flush(), fault(B, 4)), [f"read {B:x}"], FLUSHED),
        (lines("     app-31    1d..2.   25.000{}: ", fault(A), fault(B)), [f"write {A:x}", f"write {B:x}"], {}),
    ],
    "09-perf-no-cpu": [
        (lines("app  31   811.100{}: ", f"        tlb:{flush()}", f"exceptions:{fault(A)}"), [f"write {A:x}"], FLUSHED),
        (lines("app  31/31   811.100{}: ", f"exceptions:{fault(A)}", f"exceptions:{fault(B)}"), [f"write {A:x}", f"write {B:x}"], {}),
        (lines("a b:c  31   811.100{}: ", f"exceptions:{fault(B, 0x14)}", f"tlb:{flush()}"), [f"fetch {B:x}"], FLUSHED),
    ],
    "10-riscv-page-fault": [
        (lines(PERF, *(f"exceptions:page_fault_user: user page fault, address={at:#x} epc=0x5555 cause={cause:#x}"
                       for at, cause in each)), wanted, {})
        for each, wanted in (
            (((A, 0xD), (B, 0xF)), [f"read {A:x}", f"write {B:x}"]), (((A, 0xC),), [f"fetch {A:x}"]),
            (((A, 0xF), (A + 0x5000, 0xD)), [f"write {A:x}", f"read {A + 0x5000:x}"]),
        )
    ],
    "14-caps": [
        (text, ["read 1000", "write 2000"], {})
        for text in ("Address,Type\n0x1000,R\n0x2000,W\n", "ADDRESS,KIND\n4096,READ\n8192,WRITE\n", "Type,Addr\nr,0x1000\nw,0x2000\n")
    ],
    "15-lackey-superblocks": [
        ("SB 04001090\nI  04001090,3\n S 1ffefffe78,8\nSB 04002da0\nI  04002da0,4\n",
         ["fetch 4001090", "write 1ffefffe78", "fetch 4002da0"], {}),
        ("==9== Lackey, an example Valgrind tool\nSB 00001000\nI  00001000,2\n", ["fetch 1000"], {}),
        ("I  00001000,2\nSB 00002000\nI  00002000,2\n L 00009000,4\n", ["fetch 1000", "fetch 2000", "read 9000"], {}),
    ],
    "15-lackey-one-space": [
        ("I 0400d7d4,8\n M 0421c7f0,4\n L 04f6b868,8\n", ["fetch 400d7d4", "write 421c7f0", "read 4f6b868"], {}),
        ("I 00001000,3\n S 7ff0005c8,8\n", ["fetch 1000", "write 7ff0005c8"], {}),
        ("==9== Lackey, an example Valgrind tool\nI 00001000,3\nI 00002000,3\n", ["fetch 1000", "fetch 2000"], {}),
    ],
    "13-drmemtrace-version1": [
        (dr.pack(*dr.begin(version=version), *rows, *dr.END), wanted, {})
        for version, rows, wanted in ((1, DR, DR_READ), (1, DR[:2], DR_READ[:2]), (2, DR, DR_READ))
    ],
}  # fmt: skip
"""By case: files, the accesses that each has, and the flushes that the kernel did."""
TOLD = {
    "06-ring-buffer-overrun": [
        (f"# entries-in-buffer/entries-written: 1/{written}   #P:8\n" + lines("  app-31  [001] d.... 10.{}: ", fault(A)),
         f"the kernel lost {written - 1:,} event{'s' * (written > 2)}: what it did then is missing") for written in (26317371, 2, 1001)
    ],
    "13-drmemtrace-filtered": [
        (dr.pack(*dr.on(bits), *DR, *dr.END), FILTERED) for bits in (0x40 | 0x80 | 0x100, 0x40 | 0x80, 0x40 | 0x100)
    ],
    "17-function-graph": [
        (f"# tracer: function_graph\n 2)   0.764 us    |  prepare();\n 2)               |  /* {fault(A, 0x14)} */\n", GRAPHED),
        (f" 0)               |  do_it() {{\n 0)               |    /* {fault(A)} */\n 0)   1.1 us      |  }}\n", GRAPHED),
        (f" 5)               |  /* {fault(A)} */\n 5)   0.581 us    |  down_read_trylock();\n", GRAPHED),
    ],
}  # fmt: skip
"""By case: files with accesses, and what is told of them."""
REFUSED = {
    "14-din": [("2 400a10\n0 7f001000\n", COLUMNS.format("kind,address:hex")), ("0 1f\n1 2e\n2 30\n", COLUMNS.format("kind,address:hex")),
               ("1\t7fff0a\n0\t7fff0b\n", COLUMNS.format("kind,address:hex"))],
    "14-no-header": [("R,0x7f001000\nW,0x7f002000\n", COLUMNS.format("kind,address")),
                     ("0x1000,R\n0x2000,W\n", COLUMNS.format("address,kind")), ("r 0x1000\nw 0x2000\n", COLUMNS.format("kind,address"))],
    "16-champsim.tar.xz": [(lzma.compress(archive("ustar")), TAR), (gzip.compress(archive("gnu")), TAR),
                           (bz2.compress(archive("ustar")), TAR), (archive("gnu"), TAR)],
}  # fmt: skip
"""By case: files that can't be read as they are, and the next step."""


def opened(path):
    """The trace of a file, and what was told of it."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        trace = read(path)
        validate(trace)
    return trace, [str(warning.message).removeprefix(f"{path}: ") for warning in warned]


def accesses(trace):
    return [f"{op.NAMES[kind]} {address:x}" for chunk in trace.chunks() for address, _, _, kind, _ in chunk.tolist() if kind <= op.FETCH]


def cases(table):
    return [pytest.param(*instance, id=f"{case}, {number}") for case, each in table.items() for number, instance in enumerate(each)]


@pytest.mark.parametrize("content, wanted, flushes", cases(READ_AS))
def test_what_is_read(file, content, wanted, flushes):
    trace, told = opened(file(content))
    assert (accesses(trace), told) == (wanted, [])
    done = [counts.items() for counts in trace.info.get("kernel_counts", {}).values()]
    assert {name: number for counts in done for name, number in counts if name.startswith("flushes")} == flushes


@pytest.mark.parametrize("content, sentence", cases(TOLD))
def test_what_is_told(file, content, sentence):
    trace, told = opened(file(content))
    assert told == [sentence] and accesses(trace)


@pytest.mark.parametrize("content, sentence", cases(REFUSED))
def test_what_is_refused(file, content, sentence):
    path = file(content)
    with pytest.raises(TraceError) as refused:
        read(path)
    assert str(refused.value) == f"{path}: {sentence}"


def test_each_case_has_others_of_its_kind():
    for table in (READ_AS, TOLD, REFUSED):
        assert all(len({str(instance[0]) for instance in each}) == len(each) >= 3 for each in table.values())
