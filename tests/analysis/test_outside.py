"""Names, paths and messages that others wrote: shown as they are, whatever they have in them, and never obeyed."""

import csv
import os
import pathlib
import subprocess
import sys

import fabricated
import pytest

from analysis import cli, plots
from analysis.overhead import overhead
from analysis.points import Point
from analysis.terminal import Terminal
from hwmodel.op import READ, Agent, mmap_unit
from hwmodel.outside import LONGEST, markdown, visible
from hwmodel.trace import Trace

ROOT = pathlib.Path(__file__).resolve().parents[2]
EVIL = "[/red][bold]e|v`i\x1b[31ml\n# $\\frac$ \u202e:boom:\ud800"
"""Markup, a cell's end, code, a colour, a line's end, a formula that is none, a change of direction, half a character."""
SHOWN = r"[/red][bold]e|v`i\x1b[31ml\n# $\frac$ \u202e:boom:\ud800"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A trace and a machine with names that are evil."""
    monkeypatch.chdir(tmp_path)
    agents = [Agent("cpu", 0, EVIL), Agent("cpu", 0, "[/red]")]
    records = [*mmap_unit(1 << 32, 16, 3), (1 << 32, 3, 0, READ, 0), (1 << 32, 1, 0, READ, 1)]
    Trace.from_records(agents, records, info={"program": EVIL, "[/red]": EVIL, "title": EVIL}).save("evil.hwtrace")
    name = "".join(f"\\u{ord(c):04x}" for c in EVIL if c != "\ud800")  # TOML has no halves of characters
    settings = f'tlb.entries = {{value = 64, source = "{name}"}}\n'
    (tmp_path / "evil.toml").write_text(f'extends = ["gru-2008"]\nname = "{name}"\ndescription = "[/red]"\n{settings}')
    (tmp_path / "[").mkdir()
    return tmp_path


def run(*arguments, **environment):
    """A process of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIO", "PYTHONUTF8"))}
    environment = inherited | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run([sys.executable, "-m", "analysis.cli", *arguments], env=environment, capture_output=True, check=False)


def is_plain(text):
    return all(character.isprintable() or character in "\n\u00a0\u202f" for character in text)


@pytest.mark.parametrize(("text", "shown"), [
    (EVIL, SHOWN), ("", ""), ("a  b", "a  b"),
    ("tab\there\r\x00\x7f\x9b", r"tab\there\r\x00\x7f\x9b"), ("é – 漢 ½ \u00a0.", "é – 漢 ½ \u00a0."),
    ("\u2028\u2066\ufeff", r"\u2028\u2066\ufeff"), (r"\x1b", r"\x1b"), ("x" * LONGEST, "x" * LONGEST),
    ("x" * (LONGEST + 1234), "x" * LONGEST + "... (1,234 more characters)"),
])  # fmt: skip
def test_what_is_shown(text, shown):
    assert visible(text) == shown


def test_markdown_by_value():
    assert markdown("a|b`c*d[e](f)<g>\nh_i\\") == r"a\|b\`c\*d\[e\](f)\<g>\\nh_i\\"


def test_inspect_shows_names_as_they_are(folder, capfd):
    assert cli.main(["inspect", "evil.hwtrace", "--picture", "[/red].png"]) == 0
    told = capfd.readouterr()
    assert is_plain(told.out) and told.err == ""
    assert f"program: {SHOWN}" in told.out.replace("\n", "") and f"[/red]: {SHOWN}" in told.out and "Written: [/red].png" in told.out
    assert (folder / "[/red].png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("out", ["[/red].csv", "[red]y.csv", "\x1b[31m.csv", "\udcff.csv", ":smile:.csv"])
def test_a_file_is_named_as_it_is(folder, capfd, out):
    assert cli.main(["convert", "evil.hwtrace", out]) == 0
    assert capfd.readouterr().out == f"Written: {visible(out)}\n" and os.path.exists(out)


def test_a_machine_s_file(folder, capfd):
    assert cli.main(["show", "evil.toml"]) == 0
    told = capfd.readouterr().out
    assert is_plain(told) and "[/red]" in told and "[bold]" in told


def test_tables_and_pictures_of_a_comparison(folder, capfd, simulated):
    assert cli.main(["compare", "--trace", "evil.hwtrace", "--machines", "evil.toml,kvm-ept-2008", "--out", "[/out]"]) == 0
    told = capfd.readouterr()
    assert is_plain(told.out) and "Written: [/out]/compare.csv" in told.out
    page = (folder / "[/out]" / "compare.md").read_text()
    assert is_plain(page) and page.splitlines()[0].startswith(r"# \[/red\]\[bold\]e\|v\`i\\x1b\[31ml\\n# $\\frac$")
    tables = [[line.replace(r"\|", "").count("|") for line in block.splitlines()] for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3 and all(set(counts) == {4} for counts in tables), tables
    with open("[/out]/compare.csv", newline="") as file:
        rows = list(csv.reader(file))
    shown = dict.fromkeys(row[0] for row in rows)
    assert list(shown)[:3] == ["machine", EVIL.removesuffix("\ud800"), "kvm-ept-2008"] and len({len(row) for row in rows}) == 1


def test_a_file_s_name_that_is_no_text(folder, capfd, simulated):
    """A byte that is no character is half of one in Python, which no table and no picture can hold."""
    (folder / "\udcff.toml").write_text('extends = ["gru-2008"]\ntlb.entries = 64\n')
    assert cli.main(["compare", "--trace", "evil.hwtrace", "--machines", "\udcff.toml", "--out", "out"]) == 0
    assert rb"\udcff" in (folder / "out" / "compare.csv").read_bytes() and rb"\\udcff" in (folder / "out" / "compare.md").read_bytes()
    assert rb"set in \udcff.toml" in (folder / "out" / "settings.csv").read_bytes()
    assert simulated[0][0].name == r"\udcff" and Agent("cpu", 0, "\udcff").name == r"\udcff"


@pytest.mark.parametrize("name", ["$\\frac$", "$x", "_hidden", "a$b$c", "y" * 9000])
def test_a_picture_draws_a_name_as_it_is(name, tmp_path):
    results = {name: fabricated.gru()}
    run, bound = fabricated.gru(), fabricated.ideal()
    point = Point(name, 8, True, run, bound, {0: overhead(run, bound)})
    figures = [plots.draw_overheads({name: [point]}, name), plots.draw_tails({name: [point]}, name), plots.draw_latencies(results, name)]
    for figure in figures:
        plots.save(figure, tmp_path / "p.png")
        texts = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert (name if len(name) < 9 else "y" * 40 + "... (8,960 more characters)") in [text.strip() for text in texts]
    assert [text.get_text().strip()[:8] for text in figures[2].axes[-1].get_legend().get_texts()] == [name[:8]]


@pytest.mark.parametrize("arguments", [
    ["inspect", "\x1b[31m[/red]"], ["compare", "--trace", "[/red]\x1b"], ["[/red]\x1b"], ["show", "--[/red]\x1b"], ["show", "\x1b/x.toml"],
    ["sweep", "--trace", "evil.hwtrace", "--machine", "gru-2008", "--set", "[/red]\x1b=3"], ["compare", "--share", "[/red]\x1b"],
    ["record", "--out", "x", "--", "\x1b[/red]"],
])  # fmt: skip
def test_an_error_orders_nothing(folder, capfd, arguments):
    assert cli.main(arguments) == 2
    told = capfd.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and is_plain(told.err), told


def test_text_of_any_size_is_shown_at_once(tmp_path, capfd):
    path = str(tmp_path / "long.hwtrace")
    about = {"text": "x" * 50_000_000, **{f"key {k}": k for k in range(5000)}}
    Trace.from_records([Agent("cpu", 0, "n" * 100_000)], [(1 << 32, 3, 0, READ, 0)], info=about).save(path)
    assert cli.main(["inspect", path, "--picture", str(tmp_path / "p.png")]) == 0
    told = capfd.readouterr().out
    assert len(told) < 30_000 and "(49,998,006 more characters)" in told.replace("\n", "") and "... and 4,901 more" in told


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_an_encoding_that_lacks_characters(folder, encoding):
    settings = {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONUTF8": "0"}
    for arguments in (["show", "gru-2008"], ["inspect", "evil.hwtrace"], ["--help"], ["show", "漢"]):
        done = run(*arguments, **settings)
        assert done.returncode == (2 if "漢" in arguments else 0) and b"Traceback" not in done.stderr, done
        (done.stdout + done.stderr).decode(encoding)
        assert done.stderr == b"" or b"there is no preset '" in done.stderr


def test_columns_stand_below_one_another_in_any_encoding(folder):
    lines = run("show", "gru-2008", PYTHONIOENCODING="ascii").stdout.decode("ascii").splitlines()
    heads = next(at for at, line in enumerate(lines) if line.startswith("setting"))
    place = lines[heads].index("source")
    rows = [line for line in lines[heads + 1 : -3] if len(line) > place]
    assert len(rows) > 50 and all(line[place - 1] == " " for line in rows)


@pytest.mark.parametrize("arguments", [
    ["show", "gru-2008"], ["presets"], ["workloads"], ["--help"], ["sweep", "--help"], ["inspect", "evil.hwtrace"],
])  # fmt: skip
def test_a_reader_that_has_seen_enough_is_no_error(folder, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "analysis.cli", *arguments]
    done = subprocess.run(command, env=environment, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_is_as_wide_as_it_is(monkeypatch):
    assert Terminal().width == 100
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "70")
    assert Terminal().width == 70
