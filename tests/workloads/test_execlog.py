"""QEMU execlog's text: lines that QEMU 7.2 printed, and bad ones.

The lines below are from a run of the printing part of QEMU's contrib/plugins/execlog.c (Debian packages no plugins); the
program has two threads.
"""

import re

import pytest

from hwmodel import op
from hwmodel.op import TraceError, TraceWarning
from hwmodel.trace import validate
from workloads.formats import assembly, read_source, textbuffer
from workloads.streams import bytes_source

PRINTED = """\
0, 0x401083, 0xc5d11c53, "pushq %rbx", store, 0x4000800868
0, 0x401084, 0x75058d48, "leaq -0x8b(%rip), %rax"
0, 0x40108b, 0x66058948, "movq %rax, 0x6f66(%rip)", store, 0x00407ff8
1, 0x4010b6, 0xc5c08548, "testq %rax, %rax"
1, 0x4010b9, 0x75050175, "jne 0x4010bc"
1, 0x4010bb, 0xc5c085c3, "retq ", load, 0x00407ff8
1, 0x401007, 0x12058b48, "movq 0x3012(%rip), %rax", load, 0x00404020
1, 0x40100e, 0xb058948, "movq %rax, 0x300b(%rip)", store, 0x00404020
1, 0x401015, 0xc058b48, "movq 0x300c(%rip), %rax", load, 0x00404028
1, 0x401040, 0x3c08348, "addq $3, %rax"
1, 0x401044, 0xed058948, "movq %rax, 0x2fed(%rip)", store, 0x00404038
1, 0x40104b, 0x2100f, "movups (%rdx), %xmm0", load, 0x00403020, load, 0x00403028
1, 0x40104e, 0x2082110f, "movups %xmm0, 0x1c20(%rdx)", store, 0x00404c40, store, 0x00404c48
1, 0x401055, 0x1fa105c7, "movl $1, 0x1fa1(%rip)", store, 0x00403000
"""
USES = re.compile(r"(load|store), 0x([0-9a-f]+)")


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch):
    """Thousands of short texts are read."""
    monkeypatch.setattr(textbuffer, "BUFFER", 1 << 14)
    monkeypatch.setattr(assembly, "BATCH", 1 << 9)


def trace_of(text, **options):
    data = text.encode() if isinstance(text, str) else text
    return read_source(bytes_source(data, **options), data[:1000])


def records(trace):
    return [tuple(record) for chunk in trace.chunks() for record in chunk.tolist()]


@pytest.mark.jit_off
@pytest.mark.as_shipped
def test_lines_that_qemu_printed():
    """Derived from them by hand: two agents; sixteen bytes are two accesses."""
    trace = trace_of(PRINTED)
    assert records(trace) == [
        (0x401083, 3, 0, op.FETCH, 0),
        (0x4000800868, 1, 0, op.WRITE, 0),
        (0x407FF8, 1, 0, op.WRITE, 0),
        (0x4010B6, 11, 0, op.FETCH, 1),
        (0x407FF8, 1, 0, op.READ, 1),
        (0x404020, 1, 0, op.READ, 1),
        (0x404020, 1, 0, op.WRITE, 1),
        (0x404028, 1, 0, op.READ, 1),
        (0x404038, 1, 0, op.WRITE, 1),
        (0x403020, 2, 0, op.READ, 1),
        (0x404C40, 2, 0, op.WRITE, 1),
        (0x403000, 1, 0, op.WRITE, 1),
    ]
    assert [(agent.name, agent.space) for agent in trace.agents] == [("cpu 0", 0), ("cpu 1", 0)]
    assert trace.info["lines"] == 14
    validate(trace)


def test_a_modified_address_is_one_write_and_registers_are_passed_over():
    line = '7, 0x401000, 0x1, "addq $1, (%rax)", load, 0x5000, store, 0x5000, rax -> 0x00000000000000ff, load, 0x6000, rip -> 0x1\r\n'
    trace = trace_of("\n" + line + "\n")
    assert records(trace) == [(0x401000, 1, 0, op.FETCH, 0), (0x5000, 1, 0, op.WRITE, 0), (0x6000, 1, 0, op.READ, 0)]
    assert trace.agents[0].name == "cpu 7"


@pytest.mark.parametrize(
    ("uses", "accesses"),
    [
        ("load, 0x5000, store, 0x6000", [(0x5000, 1, op.READ), (0x6000, 1, op.WRITE)]),  # movs
        ("load, 0x5000, store, 0x5008", [(0x5000, 1, op.READ), (0x5008, 1, op.WRITE)]),
        ("store, 0x5000, store, 0x5000", [(0x5000, 2, op.WRITE)]),
        ("store, 0x5000, load, 0x5000", [(0x5000, 1, op.WRITE), (0x5000, 1, op.READ)]),  # push (%rsp)
        ("load, 0x5000, load, 0x6000, store, 0x5000", [(0x5000, 1, op.READ), (0x6000, 1, op.READ), (0x5000, 1, op.WRITE)]),
        ("load, 0x7fffffffffff", [(0x7FFFFFFFFFFF, 1, op.READ)]),  # the last byte of user memory
        ("load, 0x401000, store, 0x401000", [(0x401000, 1, op.WRITE)]),
        ("store, 0x401000", [(0x401000, 1, op.WRITE)]),  # the fetch before it is no load
    ],
)
def test_a_load_and_a_store_are_one_only_at_one_address(uses, accesses):
    found = records(trace_of(f'0, 0x401000, 0x1, "x", {uses}\n'))
    assert found[0] == (0x401000, 1, 0, op.FETCH, 0)
    assert [(address, count, kind) for address, count, _, kind, _ in found[1:]] == accesses


def test_many_accesses_of_one_instruction():
    uses = "".join(f", store, 0x{0x5000 + 8 * i:x}" for i in range(70))
    assert records(trace_of(f'0, 0x401000, 0xae0f, "fxsave (%rax)"{uses}\n'))[1] == (0x5000, 70, 0, op.WRITE, 0)


BAD = {
    "garbled: '0, 0x401000, 0x1, \"nop'": '0, 0x401000, 0x1, "nop',
    "garbled: '0, 401000, 0x1": '0, 401000, 0x1, "nop"',
    "garbled: '0, 0x401000, 0x123456789, ": '0, 0x401000, 0x123456789, "nop"',
    "garbled: 'hello'": "hello",
    "garbled: .*lode": '0, 0x401000, 0x1, "nop", lode, 0x10',
    "garbled: .*load": '0, 0x401000, 0x1, "nop", load',
    "garbled: .*ffff": '0, 0x401000, 0x1, "nop", load, 0xffff800000000000',
    "garbled: .*0x800000000000'": '0, 0x401000, 0x1, "nop", load, 0x800000000000',
    "garbled: '0, 0x800000000000": '0, 0x800000000000, 0x1, "nop"',
    "garbled: '0, 0xffffffff81": '0, 0xffffffff81000000, 0x1, "nop"',
    "garbled: .*Q": '0, 0x401000, 0x1, "nop"Q',
    "is of a whole system: it has physical addresses of data": '0, 0x401000, 0x1, "movl", load, 0x00001000, RAM',
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_line_is_named(what):
    with pytest.raises(TraceError, match=rf"^bytes: line 15 (is )?{what}"):
        trace_of(PRINTED + BAD[what] + "\n" + PRINTED)


def test_a_log_cut_anywhere_gives_its_whole_lines():
    lines = PRINTED.splitlines(keepends=True)
    for size in range(len(lines[0]) + 1, len(PRINTED)):
        whole = PRINTED[:size].count("\n")
        references = sum(1 + len(USES.findall(line)) for line in lines[:whole])
        if PRINTED[size - 1] == "\n":
            assert trace_of(PRINTED[:size]).references == references
        else:
            with pytest.warns(TraceWarning, match=f"cut short: ends within line {whole + 1}: "):
                assert trace_of(PRINTED[:size]).references == references
    with pytest.raises(TraceError, match="cut short"):
        trace_of(PRINTED[:-1], strict=True)
