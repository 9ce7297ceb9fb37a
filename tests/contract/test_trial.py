"""Designs on trial: one of eighty lines that is right, and asks for no notices, and the faults that a new one might have.

`trial/shared.py` is not in `hwmodel/secondary`, and is under the contract all the same. It passes every rule; each fault is caught by the
rule that is named. All with the JIT off, where a kernel can be replaced.
"""

import itertools
import pathlib

import pytest

from hwmodel.core import clock, device
from hwmodel.core.queue import complete_access, next_record
from hwmodel.core.tables import NEVER, P, W
from hwmodel.op import WRITE
from hwmodel.parts import radix
from hwmodel.primary import access, fault
from hwmodel.secondary import _gru_driver, kvm_ept
from tests.audit import held
from tests.audit.watch import Broken
from tests.contract import rules
from tests.contract.rules import (
    books_balance,
    checkpoints,
    complete_when_allowed,
    never_stale,
    nothing_else_changes_results,
    same_bits,
)  # fmt: skip
from tests.contract.specs import spec_is_strict
from tests.contract.test_broken import catches, plant
from tests.support import designs

__all__ = ["plant"]
pytestmark = pytest.mark.jit_off
FOLDER = pathlib.Path(__file__).parent / "trial"
FAULT, SEGVS = fault.FAULTING, fault.COUNT_SEGV


@pytest.fixture
def shared():
    held.holds("shared")(held.nothing)
    with designs.on_trial(str(FOLDER), "shared", str(FOLDER / "shared.toml")) as design:
        yield design
    del held.OF_DESIGN["shared"]


def test_it_needs_no_notices(shared):
    assert shared.has_engines and not shared.subscribes
    audit = rules.step_by_step(shared, *(rule.__name__ for rule in rules.AUDITED), at_once=False)
    assert audit.found == {} and audit.hits > 0 and audit.notices == 0


@pytest.mark.parametrize("rule", [*rules.EITHER, spec_is_strict], ids=lambda rule: rule.__name__)
def test_it_passes(shared, rule):
    rule(shared)


# what may be accessed


def page_of(m, i, vpn):
    """The pte, as the design sees it."""
    return radix.get(m, m.spaces[m.rows[i].space].root, vpn)


def writes_through_every_page(original):
    """Read-only, copy-on-write and zero pages are written to."""

    def translate(m, dev, i, kind, vpn, now):
        found = original(m, dev, i, kind & ~WRITE, vpn, now)
        return access.HIT if page_of(m, i, vpn) & P else found

    return translate


def forgets_the_dirty_bit(original):
    def translate(m, dev, i, kind, vpn, now):
        found = original(m, dev, i, kind, vpn, now)
        return access.HIT if page_of(m, i, vpn) & P and page_of(m, i, vpn) & W else found

    return translate


def remembers_its_latest_page(original):
    """And asks for no notice of its end."""

    def translate(m, dev, i, kind, vpn, now):
        found = original(m, dev, i, kind, vpn, now)
        if dev.nothing[0] == vpn << 2 | kind:
            return access.HIT
        if found == access.HIT:
            dev.nothing[0] = vpn << 2 | kind
        return found

    return translate


def completes_the_access(original):
    return lambda m, dev, i, kind, vpn: complete_access(m, i)


def takes_every_page_for_there(original):
    return lambda m, dev, i, kind, vpn: device.found(m, device.miss(m, i, vpn, kind == WRITE, False), device.UNMEASURED)


def gives_the_access_up(original):
    """As if it had no right to it."""

    def request(m, dev, i, kind, vpn):
        m.counts[i, SEGVS] += 1
        fault.note_segv(m, m.queue[m.rows[i].head].index)
        complete_access(m, i)

    return request


@pytest.mark.parametrize(
    ("kernel", "broken", "words"),
    [
        ("translate", writes_through_every_page, "write to page .* is complete; the page table has frame"),
        ("translate", forgets_the_dirty_bit, "write to page .* is complete; the page table has frame"),
        ("translate", remembers_its_latest_page, "is complete; the page table has nothing"),
        ("request", completes_the_access, "is complete; the page table has nothing"),
        ("request", takes_every_page_for_there, "is complete; the page table has nothing"),
        ("request", gives_the_access_up, "is given up as one without a right"),
    ],
)
def test_access_that_is_not_allowed(plant, shared, kernel, broken, words):
    plant(shared.module, kernel, broken)
    catches(complete_when_allowed, "shared", words)


def test_request_that_is_complete_though_its_drop_in_was_killed(plant):
    plant(_gru_driver, "look_again", lambda original: lambda m, dev, r: True)
    catches(complete_when_allowed, "gru", "is complete; the page table has nothing")


def test_violation_that_is_resolved_by_giving_up(plant):
    def begin(original):
        def without_right(m, dev, r):
            dev.requests[r].no_right, m.rows[r].phase = 1, kvm_ept.ENTER

        return without_right

    plant(kvm_ept, "begin", begin)
    catches(complete_when_allowed, "kvm_ept", "is complete; the page table has nothing")


# running ahead, and ending


@pytest.mark.parametrize("reach", [lambda m, dev: (NEVER, NEVER), lambda m, dev: (20, 20)])
def test_reach_that_is_too_long(plant, shared, reach):
    """A look at the page table is not private: who runs ahead has looked before the others change it."""
    plant(shared.module, "reach", lambda original: reach)
    catches(nothing_else_changes_results, "shared", "with runahead False")


def looks_again_for_ever(original):
    return lambda *which: access.REFILLED


def does_nothing(original):
    return lambda *which: None


def takes_its_time(original):
    return lambda m, dev, i, kind, vpn: clock.spend(m, i, FAULT, 1)


def has_it_the_second_time(original):
    """Looks again for ever where that is free; else its time passes, and it looks at last."""

    def translate(m, dev, i, kind, vpn, now):
        return access.REFILLED if m.costs[0].stlb_hit == 0 else original(m, dev, i, kind, vpn, now)

    return translate


@pytest.mark.parametrize(("kernel", "broken"), [
    ("translate", looks_again_for_ever), ("translate", has_it_the_second_time), ("request", does_nothing), ("request", takes_its_time),
])  # fmt: skip
def test_run_that_never_ends(plant, shared, kernel, broken):
    plant(shared.module, kernel, broken)
    with pytest.raises(Broken, match="not after") as caught:
        never_stale(shared)
    assert caught.value.rule == "it_ends"


# the books, and state


def counts_twice(original):
    def translate(m, dev, i, kind, vpn, now):
        m.counts[i, device.ACCESSES] += 1
        m.counts[i, device.HITS] += 1
        return original(m, dev, i, kind, vpn, now)

    return translate


def loses_the_rest_of_a_record(original):
    """A miss takes the record along, as a request would, but no request does."""

    def request(m, dev, i, kind, vpn):
        next_record(m, i)

    return request


def books_a_cycle_too_many(original):
    def request(m, dev, i, kind, vpn):
        original(m, dev, i, kind, vpn)
        m.ledger[i, device.ACCESS] += 1

    return request


@pytest.mark.parametrize(
    ("kernel", "broken", "words"),
    [
        ("translate", counts_twice, "are counted of"), ("request", loses_the_rest_of_a_record, "are counted of"),
        ("request", books_a_cycle_too_many, "accounts of .* add up to"),
    ],
)  # fmt: skip
def test_books(plant, shared, kernel, broken, words):
    plant(shared.module, kernel, broken)
    catches(books_balance, "shared", words)


def every_third_takes_longer(original):
    """A counter of the module's, which goes on from run to run."""
    number = itertools.count()

    def request(m, dev, i, kind, vpn):
        clock.spend(m, i, FAULT, next(number) % 3)
        original(m, dev, i, kind, vpn)

    return request


def remembers_pages_beside_its_tables(original):
    known = set()

    def request(m, dev, i, kind, vpn):
        clock.spend(m, i, FAULT, 0 if vpn in known else 100)
        known.add(vpn)
        original(m, dev, i, kind, vpn)

    return request


@pytest.mark.parametrize("broken", [every_third_takes_longer, remembers_pages_beside_its_tables])
def test_state_of_the_module(plant, shared, broken):
    plant(shared.module, "request", broken)
    catches(same_bits, "shared")


@pytest.mark.parametrize("rule", [checkpoints, nothing_else_changes_results])
def test_state_that_a_stop_of_the_engine_ends(plant, shared, rule):
    """What `run` remembers is gone when the engine asks for records, or for room."""
    known = set()

    def remembers(original):
        def request(m, dev, i, kind, vpn):
            clock.spend(m, i, FAULT, 0 if vpn in known else 100)
            known.add(vpn)
            original(m, dev, i, kind, vpn)

        return request

    def forgets(original):
        def run(m, dev):
            known.clear()
            return original(m, dev)

        return run

    plant(shared.module, "request", remembers)
    plant(shared.module, "run", forgets)
    catches(rule, "shared")


def test_a_tlb_of_a_device_that_nobody_tells(plant, shared):
    """It is not held to notices for what it does not hold; for what it says it holds, it is. (Of frames it knows nothing.)"""

    def latest(banks, dev):
        page = int(dev.nothing[0]) >> 2
        return [held.Held("the latest page", 0, page, 1, 0, False, False)] if page else []

    held.OF_DESIGN["shared"] = held.OF_DESIGN["shared"]._replace(translations=latest)
    plant(shared.module, "translate", remembers_its_latest_page)
    catches(never_stale, "shared", "never lags")
