"""Notices that ask, and two subscribers of one space (docs/model.md 8.5, 8.6), by value: on `trial/pair/pair.py`.

Its engines ask at each miss. A notice takes 5 cycles, a callback of the TLB of even pages 100, one of odd pages 200; nothing else takes
time.
"""

import pathlib

import pytest

from hwmodel import op
from hwmodel.core import clock
from hwmodel.core.tables import READY
from hwmodel.op import Agent, mmap_unit
from hwmodel.primary import notify
from hwmodel.secondary import gru, kvm_ept
from hwmodel.trace import Trace
from tests.audit import held
from tests.contract import rules
from tests.contract.rules import never_stale, windows_are_empty
from tests.contract.specs import spec_is_strict
from tests.contract.test_broken import catches, plant
from tests.contract.traces import access, compute, run, sync
from tests.support import designs

__all__ = ["plant"]
pytestmark = pytest.mark.jit_off
FOLDER = pathlib.Path(__file__).parent / "trial" / "pair"
EVEN, ODD, SECOND_EVEN, LAST_ODD = 0x10002, 0x10003, 0x10004, 0x10005
"""Pages at whose misses the question is clear_flush_young, clear_young, test_young, and clear_flush_young again."""
TAKES = {"device.window": 1, "cpu.instruction_cycles": 1, "kernel.notice_ns": 5, "tlbs.even_ns": 100, "tlbs.odd_ns": 200}


@pytest.fixture
def pair():
    held.holds("pair")(in_both_tlbs)
    with designs.on_trial(str(FOLDER), "pair", str(FOLDER / "pair.toml")) as design:
        yield design
    del held.OF_DESIGN["pair"]


def in_both_tlbs(banks, dev):
    for i in range(banks.m.ctl[0].cpus, banks.m.ctl[0].engines):
        yield from banks.pages(f"TLBs of engine {i}", int(dev.banks[i, 0]), 2, None, True)


def played(design, records, roles="cd", **more):
    """A run in which nothing takes time but what TAKES and `more` name; c is a CPU, d an engine."""
    free = {name: "free" for name in design.machine.flat() if name.endswith(("_ns", "_cycles"))}
    known = design.machine.flat()
    settings = free | {"clock.mhz": 1000, "cpu.count": 1} | {name: value for name, value in TAKES.items() if name in known}
    agents = [Agent("cpu" if role == "c" else "device", 0, f"agent {k}") for k, role in enumerate(roles)]
    trace = Trace.from_records(agents, records, mmap_unit(0x10000 << 12, 8, 3, populate=True))
    return run(design.machine.with_(**settings | more), trace)


@pytest.fixture
def visits(pair, plant):
    """(time, kind, subscriber) of each notice that arrives, and (time, answer) of each answer."""
    seen = []

    def arrives(deliver):
        def hook(m, dev, r):
            notice = m.notices[r]
            if notice.stage == 0:
                seen.append((int(m.due[r]), int(notice.kind), int(notice.subscriber)))
            deliver(m, dev, r)

        return hook

    def is_answered(advance):
        def hook(m, dev, i):
            seen.append((int(m.due[i]), int(m.notices[i].young)))
            advance(m, dev, i)

        return hook

    plant(pair.module, "deliver", arrives)
    plant(pair.module, "advance", is_answered)
    return seen


def vanish():
    """A madvise of the CPU that drops 4 pages."""
    return op.paged_unit(op.MADVISE, 0x10000 << 12, 4, [(0, op.DONTNEED)], 0)


def read(page, agent):
    return access(op.READ, agent, page)


# several subscribers


def test_each_is_told_when_the_one_before_has_returned(pair, visits):
    result = played(pair, vanish())
    assert visits == [(5, notify.START, 0), (105, notify.START, 1), (310, notify.STOP, 0), (410, notify.STOP, 1)]
    assert (result.ledger.total("notify"), result.ledger.total("invalidate"), result.cycles) == (10, 600, 610)
    assert (result.counters["notices.start"], result.counters["notices.end"]) == (1, 1)  # a notice each, whoever hears of it
    assert result.latency("notice").row[:4].tolist() == [1, 305, 305, 305]


def test_a_space_that_goes_away(pair, visits):
    result = played(pair, [compute(1, 0), (0, 0, 0, op.EXIT, 0)])
    assert visits == [(6, notify.RELEASE, 0), (106, notify.RELEASE, 1)] and result.cycles == 306


def test_without_an_engine_nobody_subscribes(pair, visits):
    assert played(pair, vanish(), "c").cycles == 0 and visits == []


# questions


def test_an_answer_comes_after_both_callbacks(pair, visits):
    result = played(pair, [read(EVEN, 0)], "d")
    assert visits == [(5, notify.CLEAR_FLUSH_YOUNG, 0), (105, notify.CLEAR_FLUSH_YOUNG, 1), (305, 0)]
    assert (result.ledger.total("notify"), result.ledger.total("invalidate"), result.cycles) == (5, 300, 305)
    assert result.counters["notices.young"] == 1 and result.latency("notice").count == 0


@pytest.mark.parametrize("page, kind", [(EVEN, notify.CLEAR_FLUSH_YOUNG), (ODD, notify.CLEAR_YOUNG), (LAST_ODD, notify.CLEAR_FLUSH_YOUNG)])
def test_the_answer_is_one_subscriber_s_or_the_other_s(pair, visits, page, kind):
    # engine 0 uses the page; at 1000 engine 1 asks, and is told so, at 2000 engine 2, and nobody has used it since: engine 1 took another
    other = page + 2 if page < SECOND_EVEN else page - 2
    records = [read(page, 0), compute(1000, 1), read(page, 1), read(other, 1), compute(2000, 2), read(page, 2)]
    result = played(pair, records, "ddd")
    assert visits[3:6] == [(1005, kind, 0), (1105, kind, 1), (1305, 1)]
    assert visits[-3:] == [(2005, kind, 0), (2105, kind, 1), (2305, 0)]
    assert result.counters["pair.young"] == 1 and result.counters["notices.young"] == 4


def test_test_young_asks_no_further_than_the_first_yes_and_clears_nothing(pair, visits):
    records = [read(SECOND_EVEN, 0), compute(1000, 1), read(SECOND_EVEN, 1), read(EVEN, 1), compute(2000, 2), read(SECOND_EVEN, 2)]
    result = played(pair, records, "ddd")
    assert visits[:6] == [
        (5, notify.TEST_YOUNG, 0), (105, notify.TEST_YOUNG, 1), (305, 0), (1005, notify.TEST_YOUNG, 0), (1105, 1),
        (1110, notify.CLEAR_FLUSH_YOUNG, 0),
    ]  # fmt: skip
    assert visits[-2:] == [(2005, notify.TEST_YOUNG, 0), (2105, 1)]
    assert (result.counters["pair.young"], result.ledger.total("invalidate")) == (2, 300 + 100 + 300 + 100)


def test_nobody_to_ask(pair, visits, plant):
    """The answer is no, at once, whatever the one before was."""

    def without(original):
        def build(machine, m, first_bank):
            dev = original(machine, m, first_bank)
            m.spaces["subscribers"], m.notices["young"] = 0, 1
            return dev

        return build

    plant(pair.module, "build", without)
    result = played(pair, [read(EVEN, 0)], "d")
    assert visits == [(0, 0)] and result.cycles == result.counters["notices.young"] == 0


@pytest.mark.parametrize("kind", [notify.CLEAR_FLUSH_YOUNG, notify.CLEAR_YOUNG, notify.TEST_YOUNG])
@pytest.mark.parametrize("module", [gru, kvm_ept])
def test_designs_without_accessed_bits_say_no(plant, module, kind):
    """They drop nothing for a question, and it costs no more than the call; the access goes on."""
    answers = []

    def asks_about_what_it_has(original):
        def request(m, dev, i, access_kind, vpn):
            if len(answers) == 1:  # its second miss
                m.notices[i].young = 1
                answers.append(None)
                notify.call(m, i, kind, EVEN, EVEN + 1, READY)
                return
            answers.append(int(m.notices[i].young))
            original(m, dev, i, access_kind, vpn)

        return request

    design = designs.design(module.__name__.split(".")[-1])
    records = [read(EVEN, 1), sync(), read(ODD, 1), sync(), read(EVEN, 1)]
    quiet = played(design, records)
    plant(module, "request", asks_about_what_it_has)
    asked = played(design, records)
    assert answers[1] is None and set(answers) == {0, None}
    differ = {name: asked.counters[name] - n for name, n in quiet.counters.items() if asked.counters[name] != n}
    assert differ == {"notices.young": 1} and asked.ledger.total("notify") == 5
    assert asked.cycles == quiet.cycles + 5 and asked.ledger.total("invalidate") == 0


# under the contract


def test_it_is_right(pair):
    assert pair.has_engines and pair.subscribes
    audit = rules.step_by_step(pair, *(rule.__name__ for rule in rules.AUDITED), at_once=False)
    assert audit.found == {} and audit.hits > 0 and audit.notices > 0


@pytest.mark.parametrize("rule", [*rules.EITHER, spec_is_strict], ids=lambda rule: rule.__name__)
def test_it_passes(pair, rule):
    rule(pair)


def tells_the_first_only(original):
    def returned(m, r):
        m.notices[r].subscriber = 1
        original(m, r)

    return returned


@pytest.mark.parametrize("rule", [never_stale, windows_are_empty])
def test_a_subscriber_that_is_passed_over(plant, pair, rule):
    plant(notify, "returned", tells_the_first_only)
    catches(rule, "pair")


def looks_after_the_second_has_dropped(pair):
    """Hits and misses of an engine that looks at ODD at 1121: at 1120 the TLB of even pages has returned, and that of odd ones drops.

    At 1110 the engine may run ahead to 1120; if nothing more were to come of the notice, by its reach of 20 cycles further.
    """
    records = [read(ODD, 1), compute(1110, 1), compute(11, 1), read(ODD, 1), compute(680, 0), *vanish()]
    result = played(pair, records, **{"kernel.notice_ns": 20, "kernel.shootdown.send_ns": 100})
    return result.counters["device.tlb.hits"], result.counters["device.tlb.misses"]


def test_nobody_runs_ahead_of_the_second(pair):
    assert looks_after_the_second_has_dropped(pair) == (0, 2)


def test_somebody_would_if_the_first_ended_the_effect(plant, pair):
    plant(notify, "end_effect", lambda original: lambda m, r: clock.lower(m.rows[r]))
    assert looks_after_the_second_has_dropped(pair) == (1, 1)
