"""Designs broken on purpose: the contract fails for each, by the rule that is named here.

Each is broken in a kernel, so that only the JIT is off; `plant` puts what its maker makes of the kernel in its place.
"""

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import pytest

from hwmodel import engine, op
from hwmodel import run as driver
from hwmodel.config import DesignSpec, Section, setting
from hwmodel.core.tables import FREE_PAGES
from hwmodel.parts import bank, tlb
from hwmodel.primary import access, gather, notify, shootdown
from hwmodel.secondary import _gru_driver, _kvm_notifier, gru, kvm_ept
from hwmodel.trace import Trace
from tests.audit.watch import Audit, Broken
from tests.contract import races, rules
from tests.contract.rules import books_balance, checkpoints, large_is_no_worse, never_stale, same_bits, windows_are_empty
from tests.contract.specs import spec_is_strict
from tests.support import designs
from tests.support.designs import Design, design

pytestmark = pytest.mark.jit_off
EVERY, SUBSCRIBING = designs.names(), designs.that_subscribe()


def subject(name: str) -> Design:
    """A design on its first preset: one race is enough."""
    found = design(name)
    return replace(found, machines=found.machines[:1])


def catches(rule, name: str, words: str | None = None) -> None:
    """The rule fails, and says why."""
    with pytest.raises(Broken, match=words) as caught:
        rule(subject(name))
    assert caught.value.rule == rule.__name__


@pytest.fixture
def plant(monkeypatch):
    """Replace a kernel by what `make` makes of it."""
    return lambda owner, name, make: monkeypatch.setattr(owner, name, make(getattr(owner, name)))


# a TLB


def forgets_nothing(original):
    return lambda m, *which: None


def takes_a_neighbour(original):
    """To this TLB, pages 2n and 2n + 1 are the same."""

    def find(m, b, index, tag):
        k = original(m, b, index, tag)
        return k if k >= 0 or tag & 1 else original(m, b, index ^ 1, tag ^ 2)

    return find


def keeps_the_frame(original):
    """A way that is filled again gets the new tag, and keeps its frame and right."""

    def fill(m, b, index, tag, pfn, rights):
        before = m.ways["pfn"].copy(), m.ways["rights"].copy()
        original(m, b, index, tag, pfn, rights)
        k = bank.find(m, b, index, tag)
        if (b, k) in filled:
            m.ways[k].pfn, m.ways[k].rights = before[0][k], before[1][k]
        filled.add((b, k))

    filled = set()
    return fill


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("kernel", "broken"), [("drop", forgets_nothing), ("empty", forgets_nothing), ("find", takes_a_neighbour), ("fill", keeps_the_frame)]
)
def test_tlb(plant, name, kernel, broken):
    plant(bank, kernel, broken)
    catches(never_stale, name)


@pytest.mark.parametrize(("name", "agent"), [*((name, 0) for name in EVERY), *((name, 2) for name in SUBSCRIBING)])
def test_tlb_that_is_never_filled(plant, name, agent):
    plant(bank, "fill", forgets_nothing)
    broken, case = subject(name), [races.access(op.READ, agent, races.PAGE)] * 2
    audit = Audit(broken, [])
    try:
        rules.audited(audit, [(broken.machine, Trace.from_records(races.agents(broken), case, races.prelude()))])
    except Broken as caught:
        assert caught.rule == "it_ends" and "not after" in str(caught)  # it looks for what was filled, for ever
    else:
        assert agent == 2 and audit.hits == 0  # or the walk itself completes each access


def test_violation_that_never_sets_its_spte(plant):
    broken, case = subject("kvm_ept"), [races.access(op.READ, 2, races.PAGE)]
    plant(kvm_ept, "set_spte", lambda original: lambda m, root, gfn, pte: 0)
    with pytest.raises(Broken, match="it_ends: not after"):
        rules.audited(Audit(broken, []), [(broken.machine, Trace.from_records(races.agents(broken), case, races.prelude()))])


@pytest.mark.parametrize("name", EVERY)
def test_dirty_assist_that_trusts_the_entry(plant, name):
    """The pte may be another page's already: a copy on write whose flush is on its way."""

    def trusting(original):
        def set_dirty(m, i, vpn):
            before = m.ways["pfn"].copy()
            original(m, i, vpn)
            m.ways["pfn"][:] = before

        return set_dirty

    plant(access, "set_dirty", trusting)
    catches(never_stale, name, "since this step")


def test_tlb_that_is_not_flushed(plant):
    def no_flush(original):
        def call(m, r, first, last, stride, freed, full, then):
            m.rows[r].phase = then
            return True

        return call

    plant(shootdown, "call", no_flush)
    catches(never_stale, "cpu_only")


@pytest.mark.parametrize("name", EVERY)
def test_pages_that_are_freed_before_the_flush(plant, name):
    def early(original):
        def call(m, r, freed, then):
            batch = m.gathers[r]
            if batch.pages > 0:
                phase, batch.then = batch.then, FREE_PAGES
                gather.free_pages(m, r)
                batch.then = phase
            return original(m, r, freed, then)

        return call

    plant(gather, "call", early)
    catches(never_stale, name, "a frame that was freed")


# a notice


def is_never_sent(original):
    def call(m, r, kind, first, last, then):
        m.rows[r].phase = then
        return True

    return call


def is_a_page_short(original):
    def call(m, r, kind, first, last, then):
        return original(m, r, kind, first, max(first + 1, last - 1), then)

    return call


@pytest.mark.parametrize("name", SUBSCRIBING)
@pytest.mark.parametrize("broken", [is_never_sent, is_a_page_short])
def test_notice(plant, name, broken):
    plant(notify, "call", broken)
    catches(never_stale, name, "never lags")


@pytest.mark.parametrize("name", SUBSCRIBING)
def test_notices_that_are_never_sent_leave_no_windows(plant, name):
    plant(notify, "call", is_never_sent)
    catches(windows_are_empty, name, "no notice was ever delivered")


def test_notice_whose_end_has_another_range(plant):
    def skewed(original):
        def call(m, r, kind, first, last, then):
            return original(m, r, kind, first, last + (kind == notify.STOP), then)

        return call

    plant(notify, "call", skewed)
    catches(windows_are_empty, "kvm_ept", "ends a window")


@pytest.mark.parametrize("rule", [never_stale, windows_are_empty])
@pytest.mark.parametrize(
    ("name", "owner", "kernel", "broken"),
    [
        pytest.param("gru", tlb, "drop_range", forgets_nothing, id="gru-tgh"),
        pytest.param("gru", gru, "kill", forgets_nothing, id="gru-kill"),
        pytest.param("kvm_ept", _kvm_notifier, "clear", lambda original: lambda m, ept, first, last: 0, id="kvm_ept-zap"),
        pytest.param("kvm_ept", _kvm_notifier, "empty_guest", forgets_nothing, id="kvm_ept-kick"),
    ],
)
def test_notice_without_effect(plant, rule, name, owner, kernel, broken):
    plant(owner, kernel, broken)
    catches(rule, name)


# a window


def range_active_stays_down(original):
    """ms_range_active is 0, whatever windows are open."""

    def deliver(m, dev, r):
        notice, gms = m.notices[r], dev.gms[m.rows[r].space]
        at = int(notice.kind), int(notice.stage)
        gms.active += at == (notify.STOP, 0)
        original(m, dev, r)
        gms.active -= at == (notify.START, 0)

    return deliver


def kill_bit_is_ignored(original):
    def restart(m, dev, r):
        dev.requests[r].killed = 0
        original(m, dev, r)

    return restart


def sequence_stands_still(original):
    def receive(m, dev, r):
        vm = dev.vms[m.rows[r].space]
        before = int(vm.seq)
        original(m, dev, r)
        vm.seq = before

    return receive


def nothing_is_in_progress(original):
    return lambda vm, gfn: False


def envelope_is_a_page_short(original):
    def zap(m, dev, vm, r):
        original(m, dev, vm, r)
        vm.high -= 1

    return zap


@pytest.mark.parametrize(
    ("name", "owner", "kernel", "broken", "rule"),
    [
        ("gru", gru, "deliver", range_active_stays_down, windows_are_empty),
        ("gru", _gru_driver, "restart", kill_bit_is_ignored, windows_are_empty),
        ("kvm_ept", kvm_ept, "receive", sequence_stands_still, never_stale),
        ("kvm_ept", kvm_ept, "is_invalidating", nothing_is_in_progress, windows_are_empty),
        ("kvm_ept", _kvm_notifier, "zap", envelope_is_a_page_short, windows_are_empty),
    ],
    ids=lambda value: getattr(value, "__name__", "").split(".")[-1] or None,
)
def test_window(plant, name, owner, kernel, broken, rule):
    plant(owner, kernel, broken)
    catches(rule, name)


# the other rules


def test_accesses_that_are_not_counted(plant):
    def uncounted(original):
        def take_hits(m, i, *arguments):
            before = m.counts[i].copy()
            now = original(m, i, *arguments)
            m.counts[i] = before
            return now

        return take_hits

    plant(engine, "take_hits", uncounted)
    catches(books_balance, "cpu_only", "are counted of")


def test_cycles_that_are_not_booked(plant):
    def late(original):
        def send(m, r):
            original(m, r)
            m.rows[r].clock += 1

        return send

    plant(notify, "send", late)
    catches(books_balance, "kvm_ept", "accounts of .* add up to")


def test_replacement_by_a_die(plant):
    def rolled(original):
        def fill(m, b, index, tag, pfn, rights):
            way, row = random.randrange(1 << 30), m.banks[b]
            if row.ways and bank.find(m, b, index, tag) < 0:
                m.ways[row.offset + (index & row.mask) * row.ways + way % row.ways].used = -1
            original(m, b, index, tag, pfn, rights)

        return fill

    plant(bank, "fill", rolled)
    catches(same_bits, "cpu_only")


def test_state_beside_the_tables(plant):
    def cold(original):
        def run(m, dev):
            for b in range(1, m.banks.size):
                bank.empty(m, b)
            return original(m, dev)

        return run

    plant(gru, "run", cold)
    catches(checkpoints, "gru")


def test_tlb_that_is_slower_the_larger_it_is(plant):
    def slower(original):
        def build(*arguments):
            m, dev, row_of = original(*arguments)
            m.ctl["latency"] += m.ways.size
            return m, dev, row_of

        return build

    plant(driver, "build", slower)
    catches(large_is_no_worse, "gru", "cycles, with small")


def test_tlb_whose_entries_are_good_for_one_use_if_it_is_large(plant):
    def once(original):
        def look(m, b, index, tag):
            k = original(m, b, index, tag)
            if k >= 0 and m.banks[b].ways > 16:
                m.ways[k].tag, m.ways[k].used = -1, 0
            return k

        return look

    plant(bank, "look", once)
    catches(large_is_no_worse, "cpu_only", "misses")


class Loose(Section):
    """Takes what a user types."""

    model_config: ClassVar = {"frozen": False}
    entries: int = setting(4, "entries", "entries", "E")


class Free(Section):
    """Frozen, and takes it too."""

    entries: int = setting(4, "entries", "entries", "E")


class Undecided(Section):
    """Has no default."""

    entries: int = setting(..., "entries", "entries", "E")


@pytest.mark.parametrize(("section", "words"), [(Loose, "can be changed"), (Free, "no complaint"), (Undecided, "has no default")])
def test_settings(section, words):
    spec = type("Spec", (DesignSpec,), {"__annotations__": {"tlb": section}, **({} if section is Undecided else {"tlb": section()})})
    with pytest.raises(Broken, match=words) as caught:
        spec_is_strict(Design("loose", SimpleNamespace(Spec=spec), ()))
    assert caught.value.rule == "spec_is_strict"
