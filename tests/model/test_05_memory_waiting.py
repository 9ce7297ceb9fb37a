"""A step that waits for memory, and the thread of the kernel that reclaims it (docs/model.md 1.1, 5.3).

Nothing in the house reclaims memory yet, so the thread is one of the test's: it evicts pages of the page cache that nobody maps.
"""

import numba
import pytest

from hwmodel import ConfigError
from hwmodel.core import clock
from hwmodel.core.ledger import IDLE
from hwmodel.core.tables import ASLEEP, DESIGN
from hwmodel.engine import drive
from hwmodel.op import SHARED_FILE
from hwmodel.parts import radix
from hwmodel.primary import advise, frames, memory
from hwmodel.secondary import cpu_only, protocol
from tests.model.hand import CPU, PAGE, fork, run_of, sync, unmap, waited, write
from tests.model.hand import memory as mapping

pytestmark = [
    pytest.mark.jit_off, pytest.mark.usefixtures("reclaimer"),
    pytest.mark.skipif(not numba.config.DISABLE_JIT, reason="has a kernel of its own, which is not compiled: runs with the JIT off"),
]  # fmt: skip
FILE_PAGES, SCAN = 100, 1000
"""Pages of file 1; the cycles that the thread takes to wake up, and to evict a page."""


def cached_pages(m):
    """The pages of file 1 in the page cache that nobody maps."""
    held = [(page, frames.cached(m, 1, page)) for page in range(FILE_PAGES)]
    return [page for page, pfn in held if pfn >= 0 and m.frames[pfn].refs == 1]


def evict(m, page):
    pfn = frames.cached(m, 1, page)
    radix.put(m, m.files[1], page, 1, 0)
    m.frames[pfn].cached = 0
    frames.drop(m, pfn)


def reclaim(m, dev, r):
    """Evict a page a step while a row waits; sleep when none does; give up when there is nothing to evict."""
    row = m.rows[r]
    if row.phase == ASLEEP:
        row.phase = DESIGN
        clock.spend(m, r, advise.ranges.CLEARING, SCAN)
    elif m.ctl[0].starving == 0:
        row.phase = ASLEEP
        clock.block(m, r, IDLE)
    elif pages := cached_pages(m):
        evict(m, pages[0])
        clock.spend(m, r, advise.ranges.CLEARING, SCAN)
    else:
        memory.give_up(m)


@pytest.fixture
def reclaimer(monkeypatch):
    """The machine of CPUs alone, with a thread that reclaims."""

    def build(machine, m, first_bank):
        m.ctl["reclaimer"] = m.ctl["engines"]
        return protocol.build(machine, m, first_bank)

    def run(m, dev):
        return drive(m, dev, cpu_only.translate, cpu_only.request, protocol.no_request, reclaim, protocol.no_notice)

    for name, of_the_test in (("threads", lambda machine: 1), ("build", build), ("run", run)):
        monkeypatch.setattr(cpu_only, name, of_the_test, raising=False)


def filled(*records, pages, **more):
    """The run of a machine of 256 frames: file 1 is read and unmapped, then come writes to so many pages, then the records."""
    file = mapping(FILE_PAGES, 1, SHARED_FILE, PAGE + 512, populate=True)
    writes = [write(PAGE + k) for k in range(pages)]
    return run_of([*file, *mapping(256)], *unmap(FILE_PAGES, PAGE + 512), sync(), writes, *records, memory__size_mib=1, **more)


def test_a_fault_waits_for_a_page():
    """The root, three tables and the file's pages leave 152 frames; three more writes wait for one page each."""
    run = filled(pages=155)
    assert run.counted("memory.") == {"memory.waits": 3} and run.counted("faults.") == {"faults.anon": 155}
    # the thread wakes up once, is still there for the second and third, each of which finds a page a step after it asks
    assert waited(run, "memory_wait")[0] == waited(run, "clear")[1] - SCAN
    assert [agent.role for agent in run.result.agents] == ["cpu", "kernel"]
    assert len(cached_pages(run.m)) == FILE_PAGES - 3


def test_a_thread_that_sleeps_is_idle():
    run = filled(pages=10)
    assert waited(run, "memory_wait") == [0, 0] == waited(run, "clear") and run.m.rows[1].phase == ASLEEP


def test_an_operation_waits_with_its_lock():
    run = filled(fork(), pages=151, roles=(CPU, (CPU, 1)))  # the second root has a frame, too: none is left for the child's tables
    assert run.counted("memory.") == {"memory.waits": 1}
    assert waited(run, "memory_wait")[0] == 3 * SCAN  # the thread wakes up; the third page goes two steps after the first


def test_memory_runs_out_when_there_is_nothing_to_reclaim():
    with pytest.raises(ConfigError, match=r"needs 1 more frames at cycle \d+, and 0 of 256 are free"):
        filled(pages=253)
