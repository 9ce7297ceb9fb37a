"""The ChampSim reader on bytes put together by hand, and against a word-by-word parser."""

import lzma
import struct

import numpy as np
import pytest

from hwmodel import op as o
from hwmodel.op import TraceError, TraceWarning
from hwmodel.trace import validate
from tests.workloads.naive import expand, expected
from tests.workloads.naive_champsim import LAYOUTS, parse
from workloads import read
from workloads.formats import champsim, entries

pytestmark = pytest.mark.filterwarnings(r"ignore:.*\d+ access(es)? to the kernel's memory (is|are) left out")

FILE = "x.champsim"
KERNEL = (1 << 64) - 0x1000


def instruction(ip, stores=(), loads=(), branch=0, taken=0, size=64, asid=0):
    """By the layout's own names: ip, flags, registers, destination memory, source memory."""
    registers, slots = (6, 2) if size == 64 else (8, 4)
    text = struct.pack("<QBB", ip, branch, taken) + bytes(range(1, registers + 1))
    text += bytes(-len(text) % 8)
    text += struct.pack(f"<{slots}Q", *stores, *[0] * (slots - len(stores)))
    text += struct.pack("<4Q", *loads, *[0] * (4 - len(loads)))
    return text + (struct.pack("<H6x", asid) if size == 96 else b"")


PROGRAM = [
    (0x401000, (), (0x7000008,)),
    (0x401FFF, (0x7000010,), (0x8000000, 0x7000000)),
    (0x402003, (0x9000000, 0x9000008), (), 1, 1),
    (KERNEL, (), (0x7000008,)),
    (0x402003, (), (KERNEL, 0x7000000)),
]
WANTED = [
    (0x401000, 2, 0, o.FETCH, 0),
    (0x7000008, 1, 0, o.READ, 0),
    (0x8000000, 1, 0, o.READ, 0),
    (0x7000000, 1, 0, o.READ, 0),
    (0x7000010, 1, 0, o.WRITE, 0),
    (0x402003, 2, 0, o.FETCH, 0),
    (0x9000000, 2, 0, o.WRITE, 0),
    (0x7000008, 2, 0, o.READ, 0),
]


def records(trace):
    return [tuple(record) for chunk in trace.chunks() for record in chunk.tolist()]


@pytest.mark.as_shipped
@pytest.mark.jit_off
@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("pack", [bytes, lzma.compress])
def test_instructions(file, size, pack):
    trace = read(file(pack(b"".join(instruction(*row, size=size) for row in PROGRAM))))
    assert records(trace) == WANTED
    assert (trace.info["instructions"], trace.info["kernel_accesses_left_out"]) == (5, 2)
    assert [agent.role for agent in trace.agents] == ["cpu"]
    validate(trace)


def test_what_is_used_is_memory(file):
    trace = read(file(b"".join(instruction(*row) for row in PROGRAM)))
    mapped = {(op[0], op[1]): arg[1] & 7 for op, arg in zip(trace.prelude.tolist()[::2], trace.prelude.tolist()[1::2], strict=True)}
    assert mapped == {(0x401000, 2): 5, (0x7000000, 1): 3, (0x8000000, 1): 1, (0x9000000, 1): 3}
    assert read(file(b"".join(instruction(*row) for row in PROGRAM)), events=False).info["operations"] == "left out"


def test_address_spaces_are_agents(file):
    rows = [instruction(0x400000, (), (0x1000 * (i + 1),), size=96, asid=asid) for i, asid in enumerate((7, 7, 300, 7))]
    trace = read(file(b"".join(rows)))
    assert [(agent.space, agent.name) for agent in trace.agents] == [(0, "asid 7"), (1, "asid 300")]
    assert [record[4] for record in records(trace) if record[3] == o.READ] == [0, 0, 1, 0]
    validate(trace)


def test_what_different_address_spaces_fetch_from_one_page_does_not_join(file):
    rows = [instruction(0x400000 + 4 * i, size=96, asid=asid) for i, asid in enumerate((7, 7, 0x8001, 0xFFFF))]
    trace = read(file(b"".join(rows)))
    assert records(trace) == [(0x400000, 2, 0, o.FETCH, 0), (0x400008, 1, 0, o.FETCH, 1), (0x40000C, 1, 0, o.FETCH, 2)]
    assert [agent.name for agent in trace.agents] == ["asid 7", "asid 32769", "asid 65535"]


GOOD = instruction(*PROGRAM[0])
BAD = {
    "its ip is 0": instruction(0),
    "branch flags 2, 0 are not 0 or 1": instruction(1, branch=2),
    "branch flags 1, 255 are not 0 or 1": instruction(1, branch=1, taken=255),
    "non-canonical address 0x800000000000": instruction(1 << 47),
    "non-canonical address 0xffff7fffffffffff": instruction(5, (), (0xFFFF7FFFFFFFFFFF,)),
    "non-canonical address 0x1000000000000": instruction(5, (1 << 48,)),
}


@pytest.mark.parametrize("reason", BAD)
def test_an_instruction_that_makes_no_sense_is_named(file, reason):
    with pytest.raises(TraceError) as error:
        read(file(GOOD * 2000 + BAD[reason] + GOOD))
    assert str(error.value).endswith(f"x.champsim: instruction 2000 at byte 128000 makes no sense: {reason}")


@pytest.mark.parametrize("reason", BAD)
def test_a_file_that_begins_so_is_no_trace(file, reason):
    with pytest.raises(TraceError, match="not a trace of a known format"):
        read(file(BAD[reason] + GOOD))


def test_a_piece_too_small_to_be_recognised_is_read_if_its_format_is_given(file):
    with pytest.raises(TraceError, match="not a trace of a known format"):
        read(file(GOOD * 3))
    assert len(read(file(GOOD * 3), format="champsim")) == 2
    with pytest.raises(TraceError, match=r"no format .champ.; there are .*champsim"):
        read(file(GOOD * 3), format="champ")
    with pytest.raises(TraceError, match="instruction 0 at byte 0 makes no sense in either layout"):
        read(file(b"x" * 100), format="champsim")


@pytest.mark.parametrize("left", range(1, 64))
def test_a_file_cut_at_any_byte_has_its_whole_instructions(file, left):
    data = GOOD * 3 + instruction(*PROGRAM[2])[:left]
    with pytest.warns(TraceWarning, match=r"x\.champsim: cut short: ends within the entry at byte 192$"):
        trace = read(file(data), format="champsim")
    assert records(trace) == records(read(file(GOOD * 3, "whole"), format="champsim"))
    with pytest.raises(TraceError, match=r"cut short: ends within the entry at byte 192$"):
        read(file(data), strict=True, format="champsim")


@pytest.mark.as_shipped
@pytest.mark.parametrize("size", [64, 96])
def test_any_bytes_are_read_as_word_by_word(file, size, monkeypatch):
    monkeypatch.setattr(entries, "BUFFER", 1000)
    random = np.random.default_rng(size)
    refused = 0
    for _ in range(300):
        rows = [instruction(0x400000 + 5 * i, (0x10000 * i,), (0x20000 * i + 8,), size=size, asid=i % 3) for i in range(20)]
        data = bytearray(b"".join(rows))
        for _ in range(random.integers(0, 4)):
            data[random.integers(size, len(data))] = random.integers(0, 256)
        data = bytes(data[: random.integers(4 * size, len(data) + 1)])
        layout = champsim.layout_of(data, champsim.LEAST)
        if layout is None:
            refused += 1
            found, stop, _ = parse(data, 64)
            assert stop is not None or not found
            continue
        assert layout.words * 8 in LAYOUTS
        compare(file(data), data, layout.words * 8)
    assert refused < 250


def compare(path, data, size):
    """The reader and the plain parser see the same in a file that the reader recognises."""
    found, stop, left_over = parse(data, size)
    if stop:
        with pytest.raises(TraceError, match=f"at byte {stop[0]} makes no sense: {stop[1]}$"):
            read(path)
        return
    if left_over:
        with pytest.warns(TraceWarning, match="cut short"):
            trace = read(path)
    else:
        trace = read(path)
    names = [agent.name for agent in trace.agents]
    agents = (lambda space: names.index(f"asid {space}")) if size == 96 else (lambda space: 0)
    assert expand(trace) == (expected(found, agents), [])
    validate(trace)
