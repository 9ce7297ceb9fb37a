"""Every reader on garbled files: no crash, no hang, no silent misreading; a refusal says where and why."""

import pathlib
import re
import tempfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwmodel import op
from hwmodel.op import TraceError
from tests import test_trace
from tests.workloads import (
    fuzzing,
    naive_champsim,
    naive_columns,
    naive_drmemtrace,
    naive_execlog,
    naive_ftrace,
    naive_lackey,
    naive_threads,
    test_champsim,
    test_columns,
    test_drmemtrace,
    test_execlog,
    test_ftrace,
    test_lackey,
    test_threads,
)
from tests.workloads.fuzzing import Format
from tests.workloads.naive import expand, expected
from workloads.formats import READERS, assembly, champsim, columns, drmemtrace, entries, execlog, kernel, lackey, textbuffer, threads
from workloads.formats.columns import csvfile, rows
from workloads.formats.columns import text as columntext
from workloads.formats.kernel import lines as kernel_lines
from workloads.streams import bytes_source

BATCH = 100
"""Inputs drawn from one seed of Hypothesis': it takes longer than reading one does."""
PARTS = 4
"""Of the long run, so that processes can share it."""


def check_lackey(data, outcome):
    if not lackey.recognises(data[: 1 << 16]) or columns.recognises(data[: 1 << 16]):  # who is asked first
        return
    found, garbled, cut = naive_lackey.parse(data)
    if garbled:
        assert f"line {garbled} is garbled" in outcome.reason
    else:
        assert outcome.trace is not None and outcome.cut == cut
        assert expand(outcome.trace) == (expected(found), [])


def check_champsim(data, outcome):
    layout = champsim.layout_of(data[: 1 << 16], champsim.LEAST)
    if layout is None or (not outcome.reason and outcome.trace.info["format"] != layout.name):
        return
    found, stop, cut = naive_champsim.parse(data, 8 * layout.words)
    if stop:
        assert outcome.reason.endswith(f"at byte {stop[0]} makes no sense: {stop[1]}")
    elif outcome.trace is not None:
        names = [agent.name for agent in outcome.trace.agents]
        agents = (lambda space: names.index(f"asid {space}")) if layout.words == 12 else (lambda space: 0)
        assert outcome.cut == cut and expand(outcome.trace) == (expected(found, agents), [])


def check_drmemtrace(data, outcome):
    if not drmemtrace.recognises(data) or data.startswith(b"PK"):
        return
    found, _, stop, cut = naive_drmemtrace.parse(data)
    if stop:
        assert f"at byte {stop[0]}" in outcome.reason and outcome.reason.endswith(stop[1])
    elif outcome.trace is not None:
        threads = outcome.trace.info["threads"]
        assert outcome.cut == cut and expand(outcome.trace)[0] == expected(found, threads.index)


def check_columns(data, outcome):
    if not columns.recognises(data[: 1 << 16]) or drmemtrace.recognises(data[: 1 << 16]):
        return
    found = naive_columns.parse(data)
    if found[:1] == ("refused",):
        assert outcome.trace is None, found
    elif outcome.trace is None:  # a whole trace may say what no trace does
        assert csvfile.recognises(data) and "record " in outcome.reason, outcome.reason
    else:
        assert outcome.cut == isinstance(found, tuple)
        assert test_columns.says(outcome.trace, found[0] if outcome.cut else found, csvfile.recognises(data))


def check_threads(data, outcome):
    if not threads.recognises(data) or data[12:16] != b"\1\0\x10\0":
        return
    found, stop, cut = naive_threads.parse(data)
    if stop:
        assert outcome.reason.endswith(f"the entry at byte {stop} makes no sense")
    else:
        assert outcome.trace is not None and outcome.cut == cut
        assert expand(outcome.trace)[0] == expected(found, lambda agent: agent)


def check_execlog(data, outcome):
    if not execlog.recognises(data[: 1 << 16]):
        return
    found, garbled, cut = naive_execlog.parse(data)
    if garbled:
        assert f"line {garbled} is " in outcome.reason
    elif outcome.trace is not None:
        names = [agent.name for agent in outcome.trace.agents]
        assert outcome.cut == cut and expand(outcome.trace) == (expected(found, lambda cpu: names.index(f"cpu {cpu}")), [])


def check_ftrace(data, outcome):
    if not kernel.recognises(data[: 1 << 16]):
        return
    lines, texts = kernel_lines.Lines(bytes_source(data)), data.split(b"\n")
    try:
        for event in lines.events():
            text = texts[lines.line - 1].decode("utf-8", "replace")
            assert naive_ftrace.tells(text, event), (text, event)
    except TraceError:
        assert outcome.trace is None


def check_trace_file(data, outcome):
    """Its checksums notice: what is read is what was written."""
    if outcome.trace is not None and data.startswith(b"PAR1") and b"hwmodel.trace" in data:
        records = [tuple(record) for chunk in outcome.trace.chunks() for record in chunk.tolist()]
        assert records == test_trace.SAMPLE


CALLS = test_lackey.MMAP + "".join(text for text, _ in test_lackey.MM) + test_lackey.FORK + test_lackey.EXIT.format(7)
LACKEY = (test_lackey.HEAD + test_lackey.ACCESSES * 3 + CALLS + test_lackey.ACCESSES).encode()
CHAMPSIM = {size: b"".join(test_champsim.instruction(*row, size=size) for row in test_champsim.PROGRAM * 4) for size in (64, 96)}
RECORDED = (
    *test_drmemtrace.begin(), *test_drmemtrace.ACCESSES, *test_drmemtrace.call(9, *test_drmemtrace.MMAP, result=1 << 40),
    *test_drmemtrace.ACCESSES, *test_drmemtrace.call(11, 1 << 40, 4096, result=-1, failed=22), *test_drmemtrace.END,
)  # fmt: skip
DRMEMTRACE = test_drmemtrace.pack(*RECORDED)
FORMATS = {
    "lackey": Format((LACKEY,), True, check_lackey, events=False),
    "lackey with calls": Format((LACKEY,), True),
    "champsim": Format((CHAMPSIM[64],), False, check_champsim),
    "cloudsuite": Format((CHAMPSIM[96],), False, check_champsim),
    "drmemtrace": Format((DRMEMTRACE,), False),
    "drmemtrace without calls": Format((DRMEMTRACE,), False, check_drmemtrace, events=False),
    "threads": Format((test_threads.RECORDING,), False),
    "threads without calls": Format((test_threads.RECORDING,), False, check_threads, events=False),
    "execlog": Format((test_execlog.PRINTED.encode(),), True, check_execlog),
    "zip": Format((test_drmemtrace.zipped(DRMEMTRACE, 3),), False),
}
KERNEL = test_ftrace.sample()
FORMATS |= {
    "ftrace": Format(tuple(text.encode() for text in KERNEL), True, check_ftrace),
    "ftrace without calls": Format((KERNEL[0].encode(),), True, check_ftrace, events=False),
}
COLUMNS = test_columns.table(30, words=False)
FORMATS |= {
    "csv": Format((test_columns.TEXT.encode(), test_columns.as_csv(test_columns.table(30))), True, check_columns),
    "trace as csv": Format((test_columns.as_own(COLUMNS),), True, check_columns),
    "npy": Format((test_columns.as_npy(COLUMNS),), False, check_columns),
    "npz": Format((test_columns.as_npz(COLUMNS), test_columns.as_npz(COLUMNS, np.savez)), False, check_columns),
    "parquet": Format((test_columns.as_parquet(COLUMNS),), False, check_columns),
}
with tempfile.TemporaryDirectory() as folder:
    test_trace.make(test_trace.SAMPLE, prelude=test_trace.STACK_UNIT).save(f"{folder}/x")
    FORMATS["trace file"] = Format((pathlib.Path(folder, "x").read_bytes(),), False, check_trace_file)
WITH_INDEX = ("zip", "npz", "parquet", "trace file")
"""What begins or ends with an index, without which nothing can be read."""
SAMPLES = tuple(sample for form in FORMATS.values() for sample in form.samples)


@pytest.fixture(scope="module", autouse=True)
def small_buffers():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(textbuffer, "BUFFER", 4096)
        patch.setattr(entries, "BUFFER", 2000)
        patch.setattr(assembly, "BATCH", 64)
        patch.setattr(columntext, "BUFFER", 4096)
        patch.setattr(rows, "BLOCK", 20)
        patch.setattr(csvfile, "BLOCK", 20)
        yield


def test_every_reader_has_a_sample():
    recognised = {reader.NAME for sample in SAMPLES for reader in READERS if reader.recognises(sample[: 1 << 16])}
    assert recognised == {reader.NAME for reader in READERS}


@pytest.mark.parametrize("name", FORMATS)
def test_samples_are_read(name):
    for sample in FORMATS[name].samples:
        outcome = fuzzing.read(sample, FORMATS[name].events)
        assert outcome.trace is not None and not outcome.cut


def fuzz(name, seed):
    form, random = FORMATS[name], np.random.default_rng(seed)
    for _ in range(BATCH):
        sample = form.samples[int(random.integers(0, len(form.samples)))]
        data = fuzzing.garble(sample, SAMPLES, form.is_text, random)
        outcome = fuzzing.read(data, form.events)
        if form.check:
            form.check(data, outcome)


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=20, **QUIET)
@given(seed=st.integers(0, (1 << 32) - 1))
def test_garbled_files(name, seed):
    fuzz(name, seed)


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=-(-1_000_000 // (BATCH * PARTS * len(FORMATS))), **QUIET)
@given(seed=st.integers(0, (1 << 32) - 1))
def test_a_million_garbled_files(name, part, seed):
    fuzz(name, seed)


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in WITH_INDEX])
def test_a_file_cut_at_any_byte_gives_its_beginning_or_is_refused(name):
    form = FORMATS[name]
    for sample in form.samples:
        whole, _ = expand(fuzzing.read(sample, form.events).trace)
        for size in range(len(sample)):
            outcome = fuzzing.read(sample[:size], form.events)
            if outcome.trace is None:
                assert re.search("not a trace of a known format|cut short|damaged", outcome.reason)
                continue
            assert all(whole[stream][: len(accesses)] == accesses for stream, accesses in expand(outcome.trace)[0].items())
            strict = fuzzing.read(sample[:size], form.events, strict=True)
            assert (strict.trace is None and "cut short" in strict.reason) == outcome.cut


def test_a_check_that_is_wrong_is_noticed():
    """The checks can fail: what one says of another file is not accepted."""
    outcome = fuzzing.read(LACKEY, events=False)
    with pytest.raises(AssertionError):
        check_lackey(LACKEY.replace(b" S 1fff000778,8", b" L 1fff000778,8"), outcome)
    assert op.PAGE == 4096 and issubclass(TraceError, ValueError)
