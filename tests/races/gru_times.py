"""How long a miss of the GRU takes, step by step, and the events that tell which way it went: a part of every GRU timeline.

The device's read is issued at cycle `gap`, and misses:

    gap + 25  interrupt
    gap + 35  the handler reads the fault handle: from here on an invalidate of the page kills the drop-in
    gap + 45  CHECK: the mmap lock, ms_range_active, then the page table (four references)
    gap + 65  drop-in
    gap + 95  RESTART: the entry is in the TLB and the restarted instruction finds it (HIT), or it was killed: an interrupt follows, and
              all is as for a read issued at this cycle
    gap + 100 DATA: the access is complete; its slot, the only one, is free for the next access

A CHECK that fails leaves the miss to the user, who polls and calls the driver: 35 cycles later the call has the mmap lock and looks at
the window (CALL). If none is open:

    +  10  the fault handle is read; a second look at the window, then at the page table (four references)
    +  30  drop-in
    +  60  PRESENT: restart

If the page is not there, the look at the page table is not enough:

    +  30  get_user_pages
    +  40  it looks at the page; 25 to map the zero page
    +  65  drop-in
    +  95  ABSENT: restart
"""

from tests.races.scenes import REFERENCE, costs, gru

C = costs(gru())
CHECK = C.irq_delivery + C.irq_entry + C.tfh_read
WALK = 4 * REFERENCE
RESTART = HIT = CHECK + WALK + C.dropin + C.restart
DATA = HIT + C.device_latency
CALL = C.upm_switch + C.poll + C.syscall
PRESENT = C.tfh_read + WALK + C.dropin + C.restart
ABSENT = PRESENT + C.gup + C.fault

OPEN = 200 + C.syscall + C.notice
"""When the window of a madvise opens that is called at cycle 200."""

NAMES = ("gru.dropins", "gru.kills", "gru.fail_", "gru.window_sleeps", "gru.call_os_wait_queue", "gru.intr_mm_lock_failed")
"""The counters that tell how a miss went; what a test does not name must be 0."""
DROPINS, KILLS, ACTIVE = "gru.dropins", "gru.kills", "gru.fail_range_active"
UPM, SLEPT, LOCKED = "gru.fail_upm", "gru.window_sleeps", "gru.intr_mm_lock_failed"
AGAIN_OPEN = "gru.call_os_wait_queue"
