"""`hwmodel convert`: what is written is read again as it was, and what a format can't hold is refused."""

import os

import numpy as np
import pytest

from analysis import cli
from hwmodel.op import ARG, CONTINUES, FETCH, MMAP, READ, WRITE, Agent, mmap_unit
from hwmodel.trace import Trace, validate
from workloads import read, uniform

BASE = 1 << 32
CPU = Agent("cpu", 0, "main")


@pytest.fixture
def folder(tmp_path, monkeypatch, trace):
    monkeypatch.chdir(tmp_path)
    trace.save("toy.hwtrace")
    uniform(5000, pages=64, cpus=2, devices=1).save("uniform.hwtrace")
    (tmp_path / "glue.csv").write_text("address,kind,colour\n0x1000,r,blue\n0x2000,w,red\n")
    (tmp_path / "cut.csv").write_text("address\n0x1000\n0x20")
    bad = [(BASE, 1, 0, FETCH, 0), (BASE + 4090, 1, 0, READ, 0), (BASE + 4096, 1, 0, READ | CONTINUES, 0)]
    Trace.from_records([CPU], bad, mmap_unit(BASE, 4, 7)).save("crossing.hwtrace")
    return tmp_path


def same(a, b):
    """Whether two files hold the same trace."""
    a, b = read(a), read(b)
    records = [np.concatenate([np.empty(0, a.prelude.dtype), *trace.chunks()]).tolist() for trace in (a, b)]
    return (a.agents, a.prelude.tolist(), a.info, records[0]) == (b.agents, b.prelude.tolist(), b.info, records[1])


@pytest.mark.parametrize("between", ["csv", "csv.gz", "csv.xz", "csv.bz2", "csv.zst", "hwtrace"])
@pytest.mark.parametrize("name", ["toy.hwtrace", "uniform.hwtrace", "crossing.hwtrace"])
def test_there_and_back(folder, capfd, between, name):
    assert cli.main(["convert", name, f"x.{between}"]) == 0
    assert cli.main(["convert", f"x.{between}", "back.hwtrace"]) == 0
    assert same(name, f"x.{between}") and same(name, "back.hwtrace")
    assert capfd.readouterr().out == f"Written: x.{between}\nWritten: back.hwtrace\n"


def test_a_format_by_its_name(folder, capfd):
    assert cli.main(["convert", "toy.hwtrace", "table", "--format", "csv"]) == 0
    assert (folder / "table").read_text().startswith('# {"hwmodel.csv": 1, "records": 4, ')
    assert (folder / "table").read_text().endswith("\nwrite,4294967296,3,0,0\nread,4294971392,1,0,0\n")


def test_columns_and_what_is_ignored(folder, capfd):
    assert cli.main(["convert", "glue.csv", "x.hwtrace", "--ignore", "colour"]) == 0
    trace = read("x.hwtrace")
    validate(trace)
    assert [record[0] for chunk in trace.chunks() for record in chunk.tolist()] == [0x1000, 0x2000]


def test_lists_whose_columns_are_named(folder, capfd):
    (folder / "list").write_text("2 400a10\n0 7f001000\n1 7f002008\n")
    assert cli.main(["inspect", "list"]) == 2
    assert "list: not a trace of a known format: plain addresses: name the columns, perhaps kind,address:hex" in capfd.readouterr().err
    assert cli.main(["convert", "list", "x.csv", "--columns", "kind,address:hex"]) == 0
    assert [record[0] for chunk in read("x.csv").chunks() for record in chunk.tolist()] == [0x400A10, 0x7F001000, 0x7F002008]
    capfd.readouterr()
    assert cli.main(["inspect", "list", "--columns", "kind,address:hex"]) == 0 and "rows: 3" in capfd.readouterr().out
    assert cli.main(["inspect", "list", "--columns", "kind,address:octal"]) == 2
    assert capfd.readouterr().err == "hwmodel: list: column 'address:octal': behind the colon there is nothing but hex\n"


def test_dropped(folder, capfd):
    assert cli.main(["convert", "toy.hwtrace", "x.csv", "--drop", "events"]) == 0
    assert [record[3] for chunk in read("x.csv").chunks() for record in chunk.tolist()] == [WRITE, READ]
    assert cli.main(["convert", "toy.hwtrace", "x.csv", "--drop", "write,read"]) == 0
    assert [record[3] for chunk in read("x.csv").chunks() for record in chunk.tolist()] == [MMAP, ARG]


def test_champsim(folder, capfd):
    assert cli.main(["convert", "crossing.hwtrace", "x.champsim.xz"]) == 2
    assert "second half" in capfd.readouterr().err
    assert cli.main(["convert", "crossing.hwtrace", "x.champsim.xz", "--lossy"]) == 0
    assert "second half" in capfd.readouterr().out
    assert cli.main(["convert", "uniform.hwtrace", "y.champsim", "--lossy"]) == 2
    assert "choose one of the trace's 3" in capfd.readouterr().err
    assert cli.main(["convert", "uniform.hwtrace", "y.champsim", "--lossy", "--agent", "2"]) == 0
    assert os.path.getsize("y.champsim") % 64 == 0


@pytest.mark.filterwarnings("default::hwmodel.op.TraceWarning")
def test_cut(folder, capfd):
    assert cli.main(["convert", "cut.csv", "x.hwtrace"]) == 2
    assert "cut.csv: cut short: line 3 has no end: '0x20'" in capfd.readouterr().err
    assert cli.main(["convert", "cut.csv", "x.hwtrace", "--partial"]) == 0
    assert len(read("x.hwtrace")) == 1


BAD = {
    "no such file": (["missing", "x.csv"], "missing: no such file"),
    "no format": (["toy.hwtrace", "x.txt"], "x.txt: the name tells no format (.hwtrace, .csv, .champsim"),
    "another format": (["toy.hwtrace", "x.csv", "--format", "xml"], "no format 'xml' (hwtrace, csv, champsim)"),
    "packed twice": (["toy.hwtrace", "x.hwtrace.gz"], "hwtrace is compressed in itself: leave out .gz"),
    "no kind": (["toy.hwtrace", "x.csv", "--drop", "raed"], "no kind 'raed'"),
    "an agent of all": (["toy.hwtrace", "x.csv", "--agent", "0"], "x.csv: holds all agents"),
    "no folder": (["toy.hwtrace", "file/x.csv"], "file"),
    "a colour": (["glue.csv", "x.hwtrace"], "glue.csv: column 'colour' has no meaning here"),
}


@pytest.mark.parametrize(("arguments", "complaint"), BAD.values(), ids=list(BAD))
def test_bad_input(folder, capfd, arguments, complaint):
    (folder / "file").write_text("in the way")
    before = sorted(os.listdir(folder))
    assert cli.main(["convert", *arguments]) == 2
    told = capfd.readouterr()
    assert not told.out and told.err.count("\n") == 1 and complaint in told.err, told
    assert sorted(os.listdir(folder)) == before


def test_an_invalid_record_is_refused_and_nothing_written(folder, capfd):
    (folder / "bad.csv").write_text(
        '# {"hwmodel.csv": 1, "records": 1, "prelude": 0, "agents": [{"role": "cpu", "space": 0, "name": "x"}], "info": {}}\n'
        "kind,address,count,gap,agent\nread,4096,0,0,0\n"
    )  # fmt: skip
    for out in ("x.csv", "x.hwtrace", "x.champsim"):
        assert cli.main(["convert", "bad.csv", out]) == 2
        assert "bad.csv: record 0: read: count must be at least 1, not 0" in capfd.readouterr().err
        assert not os.path.exists(out)
