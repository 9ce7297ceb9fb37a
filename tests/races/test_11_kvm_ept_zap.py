"""An spte that is zapped while the vCPU is in its guest (it is kicked), outside (it flushes before it enters), or on its way.

Rule 11.4 of docs/model.md.

CPU 0 calls madvise(DONTNEED) on page 0, which has an spte, at cycle 200:

    215  the window opens, mmu_lock is held for writing: the spte is zapped; is the vCPU in its guest?
    265  it is asked to flush (80)
    345  kicked, if it was in its guest: interrupt
    360  the interrupt arrives. In its guest: out, answer, INVEPT and in again, 70 cycles; outside: answer, 10
    395  it has answered (375 if outside), and may still be flushing: mmu_lock is free, the pte is cleared
    420  (400) the window closes, mmu_lock is held for writing
    460  (440) mmu_lock is free; flush: the vCPU's physical CPU has the address space loaded, too
    475  (455) the interrupt arrives. In its guest: 55 cycles; outside: 20

An interrupt waits for the data of an access that is in flight, 5 cycles, and for the end of a piece of the violation's work. A walk goes on
while its vCPU answers a flush; the exit that it asks for comes when both are over.
"""

import pytest

from hwmodel import op
from tests.races.kvm_times import (
    AGAIN,
    BACK,
    COLD,
    COLD_OUT,
    EXITS,
    FAULT,
    FLUSH,
    HIT,
    IN_GUEST,
    KICK,
    KICKS,
    MAP,
    OUT,
    RETRIES,
    SPTES,
    STAY,
    WALK,
    WARM,
    ZAPPED,
    C,
    check,
    clean,
    race,
    warm_up,
)  # fmt: skip
from tests.races.scenes import CPU, DEVICE, REFERENCE, access, advise, compute, empty, kvm, mapped, play, sync


def test_the_timeline():
    kicked = 215 + C.zap + C.zap_spte + C.request + C.ipi_send + C.ipi_delivery
    assert (kicked, kicked + C.exit + C.kick + C.ipi_respond + C.ipi_ack, kicked + C.ipi_respond + C.ipi_ack) == (360, 395, 375)
    closed = 395 + C.clear + C.table_scan + C.notice
    assert (closed, closed + C.zap, closed + C.zap + C.ipi_send + C.ipi_delivery) == (420, 460, 475)
    assert (FLUSH, FLUSH + IN_GUEST) == (20, 55)
    assert (KICK, COLD_OUT, AGAIN, HIT) == (70, 140, 75, 115)


@pytest.mark.jit_off
def test_a_running_vcpu_is_kicked(every):
    """The vCPU reads page 0 at `gap`, through its TLB until the kick arrives; then it finds the page gone."""
    first_read = warm_up()
    once = {EXITS: 1, SPTES: 1, ZAPPED: 1, KICKS: 1}
    cases = [
        (1, 360, [], {ZAPPED: 1, KICKS: 1}),  # its spte is gone from 215 on, the frame is not
        # kicked until gap + 70; it walks until gap + 160, but the flush keeps it from leaving its guest until 530
        (360, 370, lambda gap: [COLD_OUT + 370 - gap + FAULT + BACK], once),
        (370, 460, [COLD_OUT + FAULT + BACK], once),  # from 405 on the flush comes before the access, too
    ]
    for first, last, latencies, events in cases:
        for gap in every(first, last):
            run = race(gap, advise(op.DONTNEED), 0, before=0)
            check(run, first_read, latencies(gap) if callable(latencies) else latencies, events)
            flushed = FLUSH + IN_GUEST
            late = max(0, gap + C.device_latency - 360) if not latencies else 0  # the kick waits for the data
            assert (run.booked("kick"), run.booked("ipi_respond")) == (KICK, flushed), gap
            assert run.latencies("notice")[-1] == 395 - 210 + late
            assert run.booked("ipi_send", "cpu") == C.request + 2 * C.ipi_send
            # the kick's answer, and the flush's, which comes before the entry, less the 30 cycles of CPU 0's own flush meanwhile
            answer = flushed - C.entry + C.ipi_ack
            assert run.booked("ipi_wait", "cpu") == 395 - 350 + late + C.ipi_delivery + answer - 30, gap
            assert run.counted("device.tlb.hits") == ({"device.tlb.hits": 1} if not latencies else {}), gap


def test_the_kick_goes_to_those_in_the_guest_and_the_flush_waits_for_the_others(every):
    """The vCPU has page 0 in its TLB and reads page 5; page 0 is zapped before, meanwhile or after. The table is long to scan: 310 cycles.

    gap + 10 to gap + 90 it is outside (unless mmu_lock keeps it there for longer); before and after that it walks.
    """
    settings = {"kernel__table_scan_ns": 310}
    first_read = warm_up(**settings)
    late = C.invept + C.entry + COLD  # from setting the spte to the access, with the flush that was asked for meanwhile
    pending, kicked = {EXITS: 1, SPTES: 1, ZAPPED: 1}, {EXITS: 1, SPTES: 1, ZAPPED: 1, KICKS: 1}
    cases = [
        (1, 125, HIT, kicked, KICK),  # back in its guest: kicked
        (125, 135, MAP + C.map_spte + late, pending, 0),  # outside, with mmu_lock: the zap waits for that
        # outside: waits for the zap's mmu_lock, which, with nobody to kick, is free when the vCPU has been asked to flush, at 345
        (135, 205, lambda gap: 345 - gap + C.map_spte + late, pending, 0),
        # in its guest when the spte is zapped, outside when the interrupt arrives: waits for mmu_lock, which is free at 375, or not
        (205, 280, lambda gap: 375 - gap + C.map_spte + late, kicked, C.ipi_respond),
        # the interrupt finds it looking the page up: it answers at MAP, which waits for the answer's arrival
        (280, 300, MAP + C.ipi_respond + C.ipi_ack + C.map_spte + late, kicked, C.ipi_respond),
        (300, 350, MAP + C.ipi_respond + C.map_spte + late, kicked, C.ipi_respond),
        (350, 360, lambda gap: 360 + KICK - gap + COLD_OUT + C.gup_fast + BACK, kicked, KICK),  # its walk is squashed, and begins anew
        (360, 440, COLD_OUT + C.gup_fast + BACK, kicked, KICK),  # kicked until gap + 70
    ]
    for first, last, latency, events, kick in cases:
        for gap in every(first, last):
            run = race(gap, advise(op.DONTNEED), 5, before=0, **settings)
            check(run, first_read, [latency(gap) if callable(latency) else latency], events)
            assert run.booked("kick") == kick, gap
            assert run.booked("entry") == (WARM + 1) * C.entry + (0 if kick == KICK else C.invept), gap
            assert run.spte() is run.guest_entry() is None, gap
            assert run.spte(5) == run.pte(5) and run.guest_entry(5) == (None if first == 1 else clean(run.pte(5))), gap


def test_zapped_between_the_entry_and_the_walk(every):
    """The vCPU reads page 0 for the first time: its spte is set at gap + 80, it is in its guest at gap + 90, and walks at gap + 105.

    215  the spte is zapped, the vCPU a target; its walk finds nothing: it leaves the guest
    360  the interrupt finds it in its guest after two retries (70 cycles), or outside before the second one (10)

    gap + 165  the second VIOLATION: refused
    gap + 240  the third one: refused
    """
    first_read = warm_up()
    third = HIT - WALK + OUT + AGAIN
    assert third == 240
    # the third VIOLATION retries before the interrupt comes: kicked while it enters
    # it walks until gap + 415. As it answers late, at gap + 290 instead of 395, the flush comes at gap + 370, until gap + 425
    before = third + C.entry + KICK + COLD_OUT + 10 + FAULT + BACK
    # or after, 10 cycles later: it flushes when it enters, and walks until gap + 380. The flush comes at gap + 335, until gap + 390
    after = third + C.ipi_respond + C.invept + C.entry + COLD_OUT + 10 + FAULT + BACK
    for first, last, latency, kick in ((110, 120, before, KICK), (120, 125, after, C.ipi_respond)):
        for gap in every(first, last):
            run = race(gap, advise(op.DONTNEED))
            check(run, first_read, [latency], {EXITS: 4, SPTES: 2, ZAPPED: 1, KICKS: 1, RETRIES: 2})
            assert run.booked("kick") == kick, gap


def test_two_vcpus_are_kicked_at_once():
    """One in its guest, the other outside: one interrupt, and a flush that waits for the other's entry.

    215  the spte is zapped; at 265 two vCPUs are asked to flush, 80 cycles each
    425  the one in its guest is kicked; the interrupt arrives at 440
    475  it has answered: mmu_lock is free
    """
    device = [access(op.READ, 1), access(op.READ, 2), sync(1)]
    inside = [compute(STAY, 1)]
    outside = [compute(150, 2), access(op.READ, 2, 0, 5), compute(STAY, 2)]
    records = [*device, *inside, *outside, compute(200, 0), *advise(op.DONTNEED)]
    run = play(kvm(), [CPU, DEVICE, DEVICE], records, mapped(8))
    assert run.counted(ZAPPED, KICKS) == {ZAPPED: 1, KICKS: 1}
    assert run.result.ledger.by_agent("kick") == {"agent 0": 0, "agent 1": KICK, "agent 2": 0}
    assert run.result.ledger.by_agent("notify")["agent 0"] == 2 * C.notice
    assert run.latencies("notice")[-1] == 475 - 210
    assert run.result.ledger.by_agent("ipi_send")["agent 0"] == 2 * C.request + C.ipi_send + C.ipi_send + C.ipi_send_more
    # the second waits from MAP, at 230, until mmu_lock is free at 475
    assert run.result.ledger.by_agent("lock_wait") == {"agent 0": 0, "agent 1": 0, "agent 2": 475 - 150 - MAP}


def test_a_huge_spte_goes_at_once_and_comes_back_in_small_ones(every):
    """Page 3 of a huge page is given up; the vCPU, which has the whole of it in one spte, reads page 100 after the kick.

    The table is long to scan: 35 cycles.

    215  the window on page 3: the one spte is zapped, the vCPU kicked at 360
    395  it has answered; notice
    400  the huge page is split: a second window, on all its pages; no spte is left
    470  a flush, of everything: 95 cycles of the vCPU, which is in its guest
    560  the second window closes; the envelope stays, until
    650  the first closes
    690  mmu_lock is free
    705  the flush of page 3: 20 cycles, after the look-up of the page

    gap +  70  kicked; a cold walk, 15 references (huge pages hold guest tables, too), until 545 at the latest
    565  the flush of 470 is answered: the exit
    615  VIOLATION: refused until 650
    690  VIOLATION again; the look-up ends at 710
    """
    out = COLD - 3 * REFERENCE + C.exit + C.violation
    leaves = 470 + C.ipi_respond + C.flush_full + IN_GUEST
    assert leaves == 565 and leaves + C.exit + C.violation + AGAIN == 690
    back = C.map_spte + C.entry + 3 * REFERENCE  # the table of the small sptes is in the vCPU's hand, and takes one more reference to walk
    first = [access(op.WRITE, 0, 0, 0), sync(0), access(op.READ, 1, 0, 6), sync(1)]
    cases = [
        (360, 400, {RETRIES: 1}, lambda gap: 690 - gap - KICK + C.gup_fast + FLUSH + back),
        # the flush comes before the access: kicked and flushed until gap + 165; VIOLATION at gap + 290
        (400, 440, {}, lambda gap: out + C.gup_fast + FLUSH + back),
    ]
    for low, high, retries, latency in cases:
        for gap in every(low, high):
            device = [compute(gap, 1), access(op.READ, 1, 0, 100), compute(STAY, 1)]
            machine = kvm(kernel__thp="always", kernel__zero_huge_ns=100, kernel__table_scan_ns=35)
            records = [*first, *device, compute(200, 0), *advise(op.DONTNEED, 0, 3)]
            run = play(machine, [CPU, DEVICE], records, empty(512))
            assert run.counted(ZAPPED, KICKS, RETRIES, "huge_splits") == {ZAPPED: 1, KICKS: 1, "huge_splits": 1} | retries, gap
            assert latency(gap) in run.latencies(), gap
            assert run.spte(100) == run.pte(100) and run.guest_entry(100) == clean(run.pte(100)), gap
            assert run.spte(3) is run.spte(101) is None, gap
