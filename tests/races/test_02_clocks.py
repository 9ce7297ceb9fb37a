"""A window that waits for another one: who may run ahead of it (docs/model.md 2.8)."""

import pytest

from hwmodel import op
from tests.races.gru_times import ABSENT, CALL, CHECK, HIT, WALK, C
from tests.races.scenes import CPU, DEVICE, access, advise, gru, mapped, play


@pytest.mark.jit_off
@pytest.mark.parametrize("late", range(5))
def test_a_window_that_waits_for_another_ends_the_running_ahead(late):
    """The device reads page 6 every five cycles; who may run ahead has no effect on which read is the first to miss.

    215  CPU 0's window on page 7 opens: it has ms_asid_lock for its TGH operation
    225  CPU 1's on page 6 arrives, and waits for that lock
    255  CPU 0's next step gives the lock up; in the same cycle page 6 is dropped
    """
    machine = gru(cpu__count=3, driver__interrupt_cpu=2, kernel__shootdown__delivery_ns=100, driver__interrupt_ns=100)
    ranges = [*advise(op.DONTNEED, 200, 7, agent=0), *advise(op.DONTNEED, 205, 6, agent=1)]
    reads = [access(op.READ, 2, 0, 6), access(op.READ, 2, 195 + late, 6, 20), access(op.READ, 2, 0, 6)]
    run = play(machine, [CPU, CPU, DEVICE], [*reads, *ranges], mapped(8))
    slower = 100 - C.irq_delivery
    latency = CHECK + slower + WALK + CALL + ABSENT  # of the read at 255 + late, the 13th of its record
    assert run.latencies() == [HIT + slower, latency]
    assert sum(run.booked(f"stall_{why}") for why in ("trap", "driver", "gup")) == latency
