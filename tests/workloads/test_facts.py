"""What a caller tells of a recording of the kernel's events: taken wherever a trace is opened, refused by name where it can't be meant."""

import numpy as np
import pytest

import workloads
from hwmodel import op
from hwmodel.op import Agent, TraceError
from hwmodel.trace import Trace
from tests.workloads import test_champsim as champsim
from tests.workloads import test_drmemtrace as dr
from tests.workloads import test_execlog as execlog
from tests.workloads import test_threads as threads
from workloads import named, read, read_kernel
from workloads.formats import READERS
from workloads.formats.kernel import facts

FILE = "file"
BASE = 0x7F0000000000
GUEST = "".join(f"  CPU {n}/KVM 4130/413{6 + n} [00{n}] 86.5{n}: kvm:kvm_page_fault: address 1114{n}000 error_code 2\n" for n in range(2))
THREADS = "".join(f"  app-{n}  [001]  10.{n}: page_fault_user: address={BASE:#x} ip=0x1 error_code=0x6\n" for n in (501, 502))
CALLS = "".join(f"  app-501  [001]  10.{n}: sys_{what}\n" for n, what in enumerate(("enter: NR 57 (3, 0, 0, 0, 0, 0)", "exit: NR 57 = 0")))
TOLD = {"guest_base": (GUEST, BASE), "processes": (THREADS, [[502, 501]]), "arch": (CALLS, "arm64")}


def shape(trace):
    return trace.agents, [record for chunk in trace.chunks() for record in chunk.tolist()], trace.info


@pytest.mark.parametrize("fact", TOLD)
def test_it_is_taken_wherever_a_trace_is_opened(file, fact):
    text, value = TOLD[fact]
    path = file(text)
    found = [shape(way(path, **{fact: value})) for way in (read, read_kernel)] + [shape(named(str(path), **{fact: value}))]
    assert found[0] == found[1] == found[2]
    way = rf"{fact}= .*, on the command line {facts.SPELLED[fact]}\)"
    with pytest.warns(op.TraceWarning, match=way) if fact != "arch" else pytest.raises(TraceError, match="another architecture"):
        assert shape(read(path)) != found[0]


def test_numbers_may_be_numpy_s_and_lists_tuples(file):
    assert shape(read(file(GUEST), guest_base=np.int64(BASE))) == shape(read(file(GUEST), guest_base=BASE))
    assert shape(read(file(THREADS), processes=((502, np.int32(501)),))) == shape(read(file(THREADS), processes=[[502, 501]]))


BAD = {
    "guest_base": [
        (-4096, "multiple of 0x1000 below 2^56, not -0x1000"), (4097, "not 0x1001"), (1 << 56, "not 0x100000000000000"), ("7", "not '7'"),
        (True, "not True"), (4096.0, "not 4096.0"), (1 << 9999, "not "),
    ],
    "arch": [("vax", "there is no 'vax'; there are x86-64"), ("x86_46", "did you mean x86_64?"), (5, "there is no 5"), ("", "is no ''")],
    "processes": [
        ([501], "must be a list with the numbers of each process's threads, as"), ("501", "must be a list"), ([[]], "must be a list"),
        ([["501"]], "a thread's number is a whole number from 1 on, not '501'"), ([[0]], "from 1 on, not 0"), ([[1.5]], "not 1.5"),
        ([[5, 6], [6]], "thread 6 is there twice"), ([[5, 5]], "thread 5 is there twice"), (5, "must be a list"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("option, value, reason", [(option, *bad) for option in BAD for bad in BAD[option]], ids=lambda x: str(x)[:20])
def test_what_cannot_be_meant_is_refused_by_its_name(file, option, value, reason):
    for opened in (read, read_kernel, lambda path, **told: named(str(path), **told)):
        with pytest.raises(TraceError) as refused:
            opened(file(GUEST), **{option: value})
        text = str(refused.value)
        assert text.startswith(f"{option}: ") and reason in text and "\n" not in text and len(text) < 200


OTHERS = {
    "threads": threads.RECORDING,
    "drmemtrace": dr.pack(*dr.begin(), (dr.READ, 8, 0x1000), *dr.END),
    "execlog": execlog.PRINTED,
    "columns": "address,kind\n4096,R\n",
    "lackey": "I  00001000,3\n",
    "champsim": b"".join(champsim.instruction(*row) for row in champsim.PROGRAM),
}
"""A file of each format but the kernel's."""


@pytest.mark.parametrize("option", TOLD)
def test_a_file_of_another_format_is_told_nothing(file, tmp_path, option):
    assert {*OTHERS, "ftrace"} == {reader.NAME for reader in READERS}
    value = TOLD[option][1]
    for format, content in OTHERS.items():
        with pytest.raises(TraceError, match=rf"file: {option} \({facts.SPELLED[option]}\) is for .*; this is of the format {format}$"):
            read(file(content), **{option: value})
    Trace.from_records([Agent("cpu", 0, "a")], [(4096, 1, 0, op.READ, 0)]).save(tmp_path / "a.hwtrace")
    folder = file(OTHERS["drmemtrace"], "recorded/drmemtrace.a.1.2.trace").parent
    others = {tmp_path / "a.hwtrace": "a trace file", folder: "of the format drmemtrace"}
    for path, format in others.items():
        with pytest.raises(TraceError, match=f"{path.name}: {option} .*; this is {format}$"):
            read(path, **{option: value})
    with pytest.raises(TraceError, match=f"file: {option} .*; this is a list of addresses$"):
        read(file("R 10\n"), columns=["kind", "address:hex"], **{option: value})
    with pytest.raises(TraceError, match=f"^kernel: {option} .*; this is a shipped recording$"):
        workloads.named("kernel", **{option: value})


def test_a_guest_may_begin_where_the_host_s_memory_does(file):
    """0 is told, not left out."""
    assert [record[0] for record in shape(read(file(GUEST), guest_base=0))[1]] == [0x11140000, 0x11141000]
    with pytest.raises(TraceError, match="guest_base"):
        read(file("I  00001000,3\n"), guest_base=0)
