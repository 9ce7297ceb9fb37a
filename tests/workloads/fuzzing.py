"""Garbling files, and what must hold of a reader whatever it is given."""

import dataclasses
import os
import re
import tempfile
import warnings
from collections.abc import Callable

import numpy as np

import workloads
from hwmodel.op import TraceError, TraceWarning
from hwmodel.trace import Trace, validate
from workloads.formats import read_source
from workloads.streams import bytes_source

PLACE = re.compile(
    r"""(byte|line|row|record|entry|instruction) \d+|column ['"]|not a trace of a known format"""
    r"""|damaged|cut short|its description|more than 128|agent ['"]"""
)
WORDS = np.array([0, 1, -1, 1 << 47, (1 << 47) - 1, -(1 << 47), 1 << 63 - 1, 1 << 32, 4095, 4096], np.int64)
TOKENS = (b"0", b"f", b",", b"\n", b" ", b"-", b"0x", b"\r\n", b"ffffffffffff", b"\0", b"(", b")", b"9" * 25, b"\xff")


@dataclasses.dataclass(frozen=True)
class Format:
    """What is garbled: whole files, and how to check what a reader made of one."""

    samples: tuple[bytes, ...]
    is_text: bool
    check: Callable[[bytes, "Outcome"], None] | None = None
    events: bool = True


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What reading gave: a trace, or the reason why not; and whether it warned that the file is cut short."""

    trace: Trace | None
    reason: str
    cut: bool


def read(data: bytes, events: bool = True, strict: bool = False) -> Outcome:
    """Read bytes as a file would be read, twice, and check what must hold whatever they are."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            trace = open_trace(data, events, strict)
            validate(trace)
        except TraceError as error:
            reason = str(error)
            assert reason.startswith("x: ") and "\n" not in reason and len(reason) < 400, reason
            assert PLACE.search(reason), f"names no place: {reason}"
            return Outcome(None, reason, False)
    assert all(isinstance(warning.message, TraceWarning) for warning in warned), [str(w.message) for w in warned]
    told = [str(warning.message) for warning in warned]
    assert len(set(told)) == len(told)
    cut = [message for message in told if "cut short" in message]
    assert len(cut) <= 1
    assert trace.known_size == (sum(chunk.size for chunk in trace.chunks()), trace.references)
    return Outcome(trace, "", bool(cut))


def open_trace(data: bytes, events: bool, strict: bool) -> Trace:
    """A trace of bytes; one of our own is a file, since its library wants one."""
    source = bytes_source(data, "x", strict)
    if not data.startswith(b"PAR1"):
        return read_source(source, source.head(), events)
    handle, path = tempfile.mkstemp()
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        trace = workloads.read(path, events, strict)
        chunks = [chunk.copy() for chunk in trace.chunks()]
        return Trace(trace.agents, lambda: iter(chunks), trace.prelude, trace.info, "x", *trace.known_size)
    except TraceError as error:
        raise TraceError(str(error).replace(path, "x")) from None
    finally:
        os.unlink(path)


def garble(data: bytes, others: tuple[bytes, ...], is_text: bool, random: np.random.Generator) -> bytes:
    """Change a file in one to four ways."""
    for _ in range(random.integers(1, 5)):
        data = _change(data, others, is_text, random) or b"\n"
    return data


def _change(data: bytes, others: tuple[bytes, ...], is_text: bool, random: np.random.Generator) -> bytes:
    at = int(random.integers(0, len(data) + 1))
    size = int(random.integers(1, 20))
    way = int(random.integers(0, 9))
    if way == 0:
        return data[:at]
    if way == 1:
        return data[:at] + data[at + size :]
    if way == 2:
        return data[:at] + data[max(at - size, 0) : at] + data[at:]
    if way == 3:
        other = others[int(random.integers(0, len(others)))]
        start = int(random.integers(0, len(other)))
        return data[:at] + other[start : start + 8 * size] + data[at + 8 * size :]
    if way == 4 and not is_text:
        at = at // 4 * 4
        return data[:at] + WORDS[random.integers(0, WORDS.size)].tobytes() + data[at + 8 :]
    if way == 4:
        return data[:at] + TOKENS[int(random.integers(0, len(TOKENS)))] + data[at + (size & 1) :]
    if way == 5:
        return data[:at] + random.integers(0, 256, size, np.uint8).tobytes() + data[at + size :]
    if way == 6 and is_text:
        lines = data.split(b"\n")
        first, second = random.integers(0, len(lines), 2)
        lines[first], lines[second] = lines[second], lines[first]
        return b"\n".join(lines)
    byte = bytes([data[at] ^ 1 << int(random.integers(0, 8))]) if at < len(data) else b""
    return data[:at] + byte + data[at + 1 :]
