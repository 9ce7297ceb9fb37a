"""Departures that only the auditor sees; docs/deviations.md numbers them, and a test fails when one is closed."""

import pytest

from hwmodel import op
from hwmodel.op import mmap_unit, paged_unit
from hwmodel.trace import Trace
from tests.audit.watch import Audit
from tests.contract.races import agents
from tests.contract.rules import audited
from tests.contract.traces import access, sync
from tests.support.designs import design

pytestmark = pytest.mark.jit_off
PAGE = 0x80000
WHOLE = (PAGE << op.PAGE_SHIFT, 512)


def test_30_a_huge_spte_flushes_nothing():
    # a 4 KiB page becomes part of a huge one: the guest's nested walk on the way to the new spte has cached the old, empty table
    mapped = mmap_unit(*WHOLE, 3)
    records = [access(op.WRITE, 0, PAGE), sync(), access(op.READ, 2, PAGE), sync()]
    records += [*paged_unit(op.MUNMAP, *WHOLE), *mapped, *paged_unit(op.MADVISE, *WHOLE, [(0, op.HUGEPAGE)])]
    records += [access(op.WRITE, 0, PAGE), sync(), access(op.READ, 2, PAGE)]
    kvm = design("kvm_ept")
    case = kvm.machine.with_(**{"kernel.thp": "madvise"}), Trace.from_records(agents(kvm), records, mapped)
    audit = audited(Audit(kvm, ["never_stale"]), [case])
    assert audit.stale.gone > 0
