"""`hwmodel conform`: the model beside recordings of Linux."""

import gzip
import json

import pytest

from analysis import cli, conform
from analysis.scenarios import LETTERS, OUTSIDE, UNITS, parse


def recording(rows, mode="with_remote_thread"):
    return {"scenarios": {"one": {mode: rows}}}


def row(text, **figures):
    return {"op": text, "faults": 0, "notify": [], "flush": [], "ipis": 0, "rounds": 0} | figures


TOUCH = [row("M 0 8"), row("H 0 8"), row("w 0 4", faults=4), row("D 0 2", notify=[[0, 2]], flush=[2], ipis=1)]


@pytest.fixture
def ask(tmp_path, capfd):
    """Run the command on recorded rows; return its status and output."""

    def asked(rows, *options):
        file = tmp_path / "asked.json"
        file.write_text(json.dumps(recording(rows)))
        status = cli.main(["conform", str(file), *options])
        return status, capfd.readouterr().out

    return asked


def test_all_agrees(ask):
    status, out = ask(TOUCH, "--strict")
    assert status == 0 and out.splitlines()[-1] == "faults 100% notify 100% flush 100% ipis 100%"


def test_a_difference_is_shown_and_counted(ask):
    status, out = ask([*TOUCH[:3], row("D 0 2", notify=[[0, 2]], flush=[1], ipis=1)])
    assert status == 1 and "- Linux flush: [1]\n+ model flush: [2]" in out
    assert out.splitlines()[-1] == "faults 100% notify 100% flush 75.00% ipis 100%"


def test_null_is_not_judged(ask):
    assert ask([*TOUCH[:3], row("D 0 2", notify=[[0, 2]], flush=None, ipis=1)])[0] == 0


def test_a_refused_operation_ends_its_scenario(ask):
    status, out = ask([*TOUCH[:3], row("y 0 2"), row("w 0 4", faults=9)])
    assert status == 1 and "not modelled: msync" in out and "1 operations after a refused one" in out
    assert out.splitlines()[-1] == "faults 75.00% notify 75.00% flush 75.00% ipis 75.00%"


def test_letters_are_those_of_the_documents():
    assert LETTERS == {*"MSGxfgrwilsUVLZHTDFPCBRWN", *OUTSIDE, "K", "X"} and not set(UNITS) & set(OUTSIDE)
    for name in conform.SHIPPED:
        for modes in conform.read(name).values():
            assert all(parse(each["op"]) for rows in modes.values() for each in rows)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "no recording in JSON"),
        (gzip.compress(b"{}")[:-9], "no recording in JSON"),
        (b"[]", "it has no scenarios"),
        (json.dumps(recording([{"op": "? 1"}])).encode(), "one with_remote_thread: operation 0: operation '? 1': must be a letter"),
        (json.dumps(recording([{"op": "w 1 0"}])).encode(), "must say how many pages"),
        (json.dumps(recording([{"op": "w 0 4194305"}])).encode(), "the region has 4,194,304 pages"),
        (json.dumps(recording([row("X")])).encode(), "operation 0: there is no child"),
        (json.dumps(recording([], "alone")).encode(), "must be a list of operations"),
        (json.dumps(recording([row("tw 0 1")], "alone")).encode(), "a second thread in a mode without one"),
    ],
)
def test_bad_input_is_one_clear_line(data, reason, tmp_path, capfd):
    file = tmp_path / "bad.json"
    file.write_bytes(data)
    assert cli.main(["conform", str(file)]) == 2
    said = capfd.readouterr().err
    assert reason in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("spans", "flushed", "pages"),
    [
        ([8, 1], 8, [8, 0]), ([-1, 24, -1, 1], 24, [-1, 24, -1, 0]),
        ([512], 1, [1]), ([512], 512, [512]), ([1, 1, 1], 3, [1, 1, 1]), ([], 0, []),
    ],
)
def test_pages_of_flushes_add_up_to_the_counter(spans, flushed, pages):
    assert conform._in_strides(spans, flushed) == pages


def test_the_file_is_in_the_page_cache(ask):
    """Fault-around maps 16 pages of it at a time."""
    assert ask([row("f 0 64 0"), row("r 0 64", faults=4)], "--strict")[0] == 0


def test_known_differences_are_of_one_percent_at_most(ask):
    """Two VMAs of the model are one of Linux: known, but every eighth field of so short a recording is too much."""
    rows = [row("M 0 8"), row("H 0 8"), row("N 0 2"), row("w 4 1", faults=1), row("N 2 6", notify=[[2, 8]]), row("W 0 8", notify=[[0, 8]])]
    status, out = ask([{**each, "flush": None, "ipis": None} for each in rows])
    assert status == 1 and "MAP_NORESERVE (known)" in out
    long = [row("H 0 8")] * 30
    status, out = ask([{**each, "flush": None, "ipis": None} for each in [*rows[:2], *long, *rows[2:]]])
    assert status == 1
    status, out = ask([{**each, "flush": None, "ipis": None} for each in [*rows[:2], *long * 2, *rows[2:]]])
    assert status == 0 and out.splitlines()[-1].startswith("faults 100% notify 98.48%")
