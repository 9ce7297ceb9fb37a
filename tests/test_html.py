"""What a notebook shows: well-formed HTML, names that are text, units, no rows of zeros."""

import html.parser
import math

import numpy as np
import pytest

import analysis
import hwmodel
import workloads
from analysis.study import Study
from hwmodel import html as page
from hwmodel.measure.tally import FEW
from hwmodel.op import READ, Agent, mmap_unit
from hwmodel.trace import Trace

EVIL = '<b>"x" & \x1b[31m</b>'
VOID = {"br", "hr", "img", "input", "meta", "link"}


class Reader(html.parser.HTMLParser):
    """Reads a page strictly: every element that begins ends, in order; keeps the elements, and the cells of each row."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.seen, self.words, self.rows = [], set(), [], []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attributes):
        assert tag not in VOID
        self.open.append(tag)
        self.seen.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> ends nothing"

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    @property
    def text(self):
        return " ".join(self.words)


def read(shown):
    """The object's HTML, read; only elements of small tables, and nothing that a table of numbers would not have."""
    text = shown._repr_html_()
    found = Reader(text)
    assert found.seen <= {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"} and text.isprintable()
    widths = [len(row) for row in found.rows]
    assert all(widths), "no empty row"
    return found


@pytest.fixture(scope="module")
def trace():
    return Trace.from_records(
        [Agent("cpu", 0, EVIL), Agent("device", 0, "engine")],
        [(1 << 32, 3, 0, READ, 0), (1 << 32, 1, 0, READ, 1), ((1 << 32) + 4096, 2, 0, READ, 1)],
        mmap_unit(1 << 32, 16, 3), {"program": EVIL, "other": {"not": "shown"}}, name=EVIL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def machine():
    return hwmodel.preset("gru-2008").with_(**{"tlb.entries": 64})


@pytest.fixture(scope="module")
def result(machine, trace):
    return hwmodel.simulate(machine, trace, progress=False)


@pytest.fixture(scope="module")
def comparison(trace):
    return analysis.compare({EVIL: "gru-2008", "KVM": "kvm-ept-2008"}, trace, progress=False)


def test_names_are_text(trace, result, comparison):
    """Wherever they stand: "<b>" is shown, not obeyed, and what is not seen is written out."""
    study = Study("quick", {EVIL: "x"}, {EVIL: {EVIL: comparison}})
    cost = analysis.operation_cost({EVIL: "cpu-only"}, "munmap", 1, 2, progress=False)
    for shown in (trace, result.ledger, result.counters, comparison, study, cost):
        assert '<b>"x" & \\x1b[31m</b>' in read(shown).text, type(shown)


def test_a_ledger_has_what_is_not_0(result):
    found = read(result.ledger)
    rows = {row[0]: row[1:] for row in found.rows[1:]}
    assert rows.keys() == {name for name, cycles in result.ledger.items() if cycles}
    for name, (whole, *each) in rows.items():
        numbers = [int(number.replace(",", "")) for number in each]
        assert int(whole.replace(",", "")) == result.ledger[name] == sum(numbers)
        assert numbers == list(result.ledger.by_agent(name).values())
    left = sum(not cycles for cycles in result.ledger.values())
    assert f"left out: {left} of the accounts, which are 0" in found.text and left > 0
    assert all(head.endswith(", cycles") for head in found.rows[0][1:])


def test_counters_of_many_agents_are_by_role():
    trace = workloads.operation("munmap", 4, threads=FEW + 2, devices=1)
    result = hwmodel.simulate("kvm-ept-2008", trace, progress=False)
    found = read(result.counters)
    assert found.rows[0] == ["", "all, counted", f"CPUs ({FEW + 2}), counted", "engines (1), counted"]
    for name, *numbers in found.rows[1:]:
        whole, cpus, engines = (int(number.replace(",", "")) for number in numbers)
        assert whole == cpus + engines == result.counters[name] > 0 and engines == result.counters.total(name, "device")
    assert f"left out: {sum(not n for n in result.counters.values())} of the counters, which are 0" in found.text


def test_a_result_has_sizes_latencies_and_accounts(machine, result):
    found = read(result)
    assert f"Result of {machine.name}" in found.text
    cells = {row[0]: row[1:] for row in found.rows}
    assert cells["time, end to end"] == [page.cell(result.ns), "ns"] and cells["references"] == ["6", ""]
    assert {kind for kind in result.book.latencies if kind in cells} == {k for k in result.book.latencies if result.latency(k).count}
    accounts = [row for row in found.rows if row[0] in result.book.accounts and row[1] == result.book.accounts[row[0]].says]
    assert {row[0] for row in accounts} == {name for name, cycles in result.ledger.items() if cycles}
    totals = [result.ledger[row[0]] for row in accounts]
    assert totals == sorted(totals, reverse=True), "the largest first"
    assert ["account", "", "CPUs, ns", "engines, ns"] in found.rows
    assert ["latency", "measured", "mean, ns", "p50, ns", "p99, ns", "longest, ns"] in found.rows
    assert "of the latencies, which are 0" in found.text and "of the accounts, which are 0" in found.text


def test_a_latency(result):
    kind = next(kind for kind in result.book.latencies if result.latency(kind).count)
    latency = result.latency(kind)
    for shown, unit in ((latency, "cycles"), (latency.ns, "ns")):
        head, row = read(shown).rows
        assert head == ["measured", f"mean, {unit}", f"p50, {unit}", f"p99, {unit}", f"longest, {unit}"]
        assert row == [page.cell(value) for value in (shown.count, shown.mean, shown.percentile(50), shown.percentile(99), shown.max)]
        assert f"p99 rests on the longest 1 of {latency.count}." in read(shown).text
    empty = next(kind for kind in result.book.latencies if not result.latency(kind).count)
    assert "none was measured" in read(result.latency(empty)).text and not read(result.latency(empty)).rows


def test_a_machine_has_the_user_s_settings_with_units(machine):
    found = read(machine)
    assert ["tlb.entries", "64", machine.provenance()["tlb.entries"].unit, "set by user"] in found.rows
    sections = {row[0]: row[1:] for row in found.rows if row[0] in {name.split(".")[0] for name in machine.flat()} and row[1].isdigit()}
    assert sum(int(row[0]) for row in sections.values()) == len(machine.flat())
    for numbers in sections.values():
        assert int(numbers[0]) == sum(int(number) for number in numbers[1:] if number != page.NOTHING) and "0" not in numbers
    assert "set by the user" not in [row[0] for row in read(hwmodel.preset("cpu-only")).rows]


def test_a_trace_is_not_read():
    def never():
        raise AssertionError("the trace was read")

    trace = Trace([Agent("cpu", 0, "a")] * 60, never, None, {"program": "p", "number": 3})
    found = read(trace)
    assert "records: not counted yet" in found.text and "program: p; number: 3" in found.text
    assert len(found.rows) == 1 + page.MOST and f"{60 - page.MOST} more agents" in found.text
    assert "1 records, 2 references" in read(Trace.from_records([Agent("cpu", 0, "a")], [(1, 2, 0, READ, 0)])).text


def test_a_comparison_has_verdict_terms_and_units(comparison):
    found = read(comparison)
    head, *rows = found.rows
    assert head[:3] == ["machine", "in flight", "time, end to end, ms"] and "ns per device access" in head[3]
    wanted = [page.visible(name) for name in comparison.frame["machine"] if name in comparison.results]
    assert [row[0] for row in rows] == wanted and len(rows) == 4, "each in its own window, and with dependent accesses; no bound"
    shown = comparison.frame[comparison.frame["machine"] == "KVM"]["overhead_ns_per_access"].tolist()
    assert [row[3] for row in rows if row[0] == "KVM"] == [page.cell(value) for value in shown]
    for line in [*comparison.notes, *comparison.warnings(), *(str(one) for one in comparison.verdicts)]:
        assert page.visible(line) in found.text
    assert "6 references" in found.text and "0.0" not in found.text.split("references")[0]


def test_a_machine_without_engines_has_dashes():
    plain = Trace.from_records([Agent("cpu", 0, "a")], [(1 << 32, 3, 0, READ, 0)], mmap_unit(1 << 32, 16, 3))
    rows = read(analysis.compare(["cpu-only", "gru-2008"], plain, progress=False)).rows
    assert next(row for row in rows if row[0] == "cpu-only")[3:] == [page.NOTHING] * 4


def test_a_study_has_a_row_for_each_verdict(comparison):
    study = Study("quick", {"w": "x"}, {"2008": {"w": comparison, "v": comparison}})
    found = read(study)
    assert [row[:2] for row in found.rows[1:]] == [["2008", "w"], ["2008", "v"]]
    assert found.rows[1][-1] == page.visible(str(comparison.verdicts[0])) and "suite quick" in found.text


def test_an_operation_s_cost():
    cost = analysis.operation_cost("cpu-only", "munmap", [1, 2], [1, 2], progress=False)
    head, *rows = read(cost).rows
    payers = ["calling CPU, ns", "other CPUs, ns"]
    assert head == ["machine", "pages", "threads", "the caller waits, ns", "cost, ns", *payers, "cost, ns per page"], "no payer of nothing"
    assert len(rows) == 4 and [row[4] for row in rows] == [page.cell(value) for value in cost.total["cost_ns"].tolist()]


def test_an_experiment_escapes_names_too():
    named = {"<b>x</b>": "cpu-only"}
    text = analysis.experiment(named, lambda: workloads.operation("munmap", 1, 1, 0), progress=False, metrics=["time_ms"])._repr_html_()
    assert "&lt;b&gt;x&lt;/b&gt;" in text and "<b>x" not in text and "time_ms" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.0, "0"), (1234567, "1,234,567"), (12345.6, "12,346"), (1.5, "1.500"), (0.00123456, "0.001235"), (1.2e-9, "1.2e-09"),
        (-1.2e-9, "-1.2e-09"), (None, page.NOTHING), (math.nan, page.NOTHING), (math.inf, "infinite"), (-math.inf, "−infinite"),
        (True, "True"), ("x", "x"), (np.float64(2.5), "2.500"),
    ],
)  # fmt: skip
def test_numbers_are_for_people(value, text):
    assert page.cell(value) == text


def test_no_number_is_shown_as_0_that_is_not():
    for power in range(-30, 12):
        assert float(page.cell(3.3 * 10.0**power).replace(",", "")) > 0


def test_rows_of_zeros_are_left_out_and_counted():
    found = Reader(page.nonzero(("a", "b, ns", "c, ns"), [("x", 0, 0.0), ("y", 0, 1), ("z", math.nan, 0), ("w", 2, math.nan)], "things"))
    assert [row[0] for row in found.rows] == ["a", "y", "w"] and "left out: 2 of the things, which are 0" in found.text
    nothing = Reader(page.nonzero(("a", "b"), [("x", 0)], "things"))
    assert nothing.rows == [] and nothing.text == "left out: 1 of the things, which are 0"
    assert "left out" not in page.nonzero(("a", "b"), [("x", 1)], "things")


def test_long_texts_are_cut():
    found = Reader(page.table(("a",), [("<" * 10_000,)]))
    assert found.rows[1][0].startswith("<" * page.LONGEST + "... (9,500 more")
