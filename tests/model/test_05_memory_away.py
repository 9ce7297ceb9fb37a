"""A pte that is neither absent nor present: its page is away (docs/model.md 5.2, 6).

Nothing in the house sets one yet, so the thread that moves pages is one of the tests': `tests.support.mover`.
"""

import numba
import pytest

from hwmodel.op import DONTNEED
from tests.audit.tables import findings
from tests.audit.watch import Audit
from tests.contract.rules import AUDITED, audited
from tests.contract.traces import random_cases
from tests.model.hand import (
    CPU,
    PAGE,
    RW,
    R,
    advise,
    compute,
    flags,
    fork,
    frame,
    protect,
    read,
    references,
    remap,
    run_of,
    unmap,
    waited,
    write,
)
from tests.model.hand import memory as mapping
from tests.support import designs
from tests.support.mover import Mover

pytestmark = [
    pytest.mark.jit_off,
    pytest.mark.skipif(not numba.config.DISABLE_JIT, reason="has a thread that is not compiled: runs with the JIT off"),
]  # fmt: skip
AT, COPY = 100, 1000
"""The cycle at which the thread takes the page that the test writes at first; the cycles for which that page is away."""


def moved(*records, roles=(CPU,), **settings):
    """The run of a write, then of records that begin while the page is away; the thread."""
    mover = Mover(AT, 10, COPY)
    with mover.working_for(designs.design("cpu_only")):
        run = run_of(mapping(8), write(), compute(AT + 100), *records, roles=roles, cpu__instruction_cycles=1, **settings)
    assert findings(run.m, run.dev) == []
    return run, mover


def test_a_fault_waits_until_the_page_is_back():
    run, mover = moved(read(), kernel__fault_ns=7)
    # the write's fault ends at 7; the read is at 207, finds the translation flushed and faults
    assert waited(run, "lock_wait")[0] == AT + COPY - (7 + AT + 100)
    assert run.counted("faults.") == {"faults.anon": 1, "faults.spurious": 1}
    assert (mover.moved, mover.written) == (1, 1) and frame(run) == 1 and flags(run) == "PWAD" and references(run) == 1


def test_a_page_that_nobody_touches_is_back_all_the_same():
    run, mover = moved(compute(2 * COPY))
    assert mover.moved == 1 and waited(run, "lock_wait")[0] == 0 and flags(run) == "PWAD"


@pytest.mark.parametrize("operation", [unmap(8), advise(DONTNEED)])
def test_a_page_that_is_unmapped_meanwhile_never_comes_back(operation):
    run, mover = moved(operation)
    assert (mover.moved, mover.gone) == (0, 1) and flags(run) == ""
    assert run.result.counters["flushes.pages"] == 1  # the thread's own: of what is away nothing can be cached
    assert (run.m.frames["refs"] > 0).sum() == 0


def test_a_fork_shares_a_page_that_is_away():
    run, mover = moved(fork(), roles=(CPU, (CPU, 1)))
    assert mover.moved == 1 and references(run) == 2 and frame(run) == frame(run, space=1)
    assert (flags(run), flags(run, space=1)) == ("PAD", "PD")  # read-only in both; not accessed in the child


def test_a_page_that_is_away_moves_with_its_mapping():
    run, mover = moved(remap(PAGE + 64, 8))
    assert mover.moved == 1 and flags(run) == "" and flags(run, PAGE + 64) == "PWAD" and references(run, PAGE + 64) == 1


def test_a_page_that_is_away_loses_the_right_to_be_written():
    run, mover = moved(protect(R))
    assert (mover.moved, mover.written) == (1, 0) and flags(run) == "PAD"
    run, mover = moved(protect(R), protect(RW))
    assert flags(run) == "PAD"  # as in Linux: what the entry has lost comes with the next write


@pytest.mark.parametrize("design", designs.names())
def test_pages_move_under_random_traces(design):
    """All that the auditors look for, with pages that are away at any time; every design has some that are waited for."""
    audit = Audit(designs.design(design), [rule.__name__ for rule in AUDITED])
    seen = []
    for case in random_cases(audit.design, range(700, 710), 60):
        with Mover(500, 1000, 10_000, 100).working_for(audit.design) as mover:
            audited(audit, [case])
        seen.append(mover)
    assert sum(mover.moved for mover in seen) > 50 and any(mover.waited for mover in seen)
