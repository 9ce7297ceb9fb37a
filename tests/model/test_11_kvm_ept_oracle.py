"""Walks in two dimensions, violations, retries, kicks and zaps of the oracle, by hand (docs/model.md 11.2 to 11.5)."""

from hwmodel import op
from tests.model.cases import CPU, DEVICE, MAPPED, access, advise, booked, compute, counted, run, sync


def test_kvm_cold_walk_in_two_dimensions():
    records = [access(op.WRITE, 1), sync(), access(op.WRITE, 2)]
    outcome, c = run("kvm-ept-2008", [CPU, DEVICE, DEVICE], records, MAPPED)
    got = counted(outcome, 2)
    # 24, less what the nested walk caches save: the guest's tables lie near each other (4 + 1 + 2 + 3, then 4 more)
    assert got["device.walk_refs"] == 4 + 14 and got["device.walks"] == 1 and "kvm.exits" not in got
    # it could have issued another one after the interval; the rest is the walk's, until the data are on their way
    assert booked(outcome, 2)["access"] == c.device_interval + c.device_latency
    first = counted(outcome, 1)
    assert first["kvm.exits"] == first["kvm.sptes"] == first["faults.anon"] == 1  # the page; the guest's tables were there
    mine = {name: booked(outcome, 1)[name] for name in ("entry", "exit", "violation", "gup", "map")}
    hand = 40 * c.table  # taken before the mmu lock
    assert mine == {"entry": c.entry, "exit": c.exit, "violation": c.violation + hand, "gup": c.gup, "map": c.map_spte}
    assert booked(outcome, 1)["fault"] == c.fault + c.zero_page + 3 * c.table
    assert outcome.histograms["fault.violation"]["count"] == 1


def test_kvm_resolves_a_mapped_page_on_the_fast_path():
    records = [access(op.WRITE), access(op.WRITE, page=1), sync(), access(op.WRITE, 1), access(op.WRITE, 1, page=1)]
    outcome, c = run("kvm-ept-2008", [CPU, DEVICE], records, MAPPED, device__window=1)
    latency = outcome.histograms["fault.violation"]["min"]
    # the second page: the guest's pde hits, its nested walk ends at an absent entry, and once more after the violation
    walk = c.l1 + 1 * c.l1 + c.l1 + c.l1
    assert latency == walk + c.exit + c.violation + c.gup_fast + c.map_spte + c.entry


def test_kvm_retries_while_an_invalidation_is_in_progress():
    # the guest's tables are mapped; CPU 1 opens a window on the page before the violation is looked at
    records = [access(op.WRITE), sync(), access(op.WRITE, 2, page=1), sync(), access(op.WRITE, 2), *advise(op.DONTNEED, 1)]
    # (the flush's interrupts come too late to matter)
    slow = {"vm__zap_ns": 1762, "kernel__shootdown__delivery_ns": 10**6}
    outcome, c = run("kvm-ept-2008", [CPU, CPU, DEVICE], records, MAPPED, **slow)
    out = 2 * c.l1 + c.exit + c.violation  # the guest's pde and the nested pde hit: one reference each
    begin, end = c.syscall + c.notice, c.syscall + c.notice + c.zap + c.clear + c.table_scan + c.notice
    assert begin < out < end < out + c.entry + out
    latency = out + c.entry + out + c.gup + c.fault + c.zero_page + c.map_spte + c.entry + 2 * c.l1
    assert outcome.histograms["fault.violation"]["min"] == latency
    got = counted(outcome, 2)
    assert (got["kvm.retries"], got["kvm.exits"], got["kvm.sptes"]) == (1, 3, 2)


def test_kvm_retries_if_a_window_opened_and_closed():
    # the violation finds the page on the fast path, but the spte may not be installed: the sequence has moved on
    records = [access(op.WRITE), sync(), access(op.WRITE, 2, page=1), sync(), access(op.WRITE, 2), compute(3600, 1)]
    slow = {"kernel__gup_fast_ns": 10**5, "kernel__shootdown__delivery_ns": 10**6}
    outcome, c = run("kvm-ept-2008", [CPU, CPU, DEVICE], [*records, *advise(op.DONTNEED, 1)], MAPPED, **slow)
    out = 2 * c.l1 + c.exit + c.violation
    assert out < 3600 * c.instruction + c.syscall + c.notice
    latency = out + c.gup_fast + c.entry + out + c.gup + c.fault + c.zero_page + c.map_spte + c.entry + 2 * c.l1
    assert outcome.histograms["fault.violation"]["max"] == latency
    assert counted(outcome, 2)["kvm.retries"] == 1


def test_kvm_kicks_a_vcpu():
    records = [access(op.WRITE, 1), sync(), compute(10**7, 1), *advise(op.DONTNEED, 0)]
    outcome, c = run("kvm-ept-2008", [CPU, DEVICE], records, MAPPED)
    got = counted(outcome, 0)
    assert (got["kvm.zapped"], got["kvm.kicks"], got["notices.start"]) == (1, 1, 1)
    kick = c.exit + c.kick + c.ipi_respond + c.invept + c.entry
    assert booked(outcome, 1)["kick"] == kick
    answered = c.exit + c.kick + c.ipi_respond + c.ipi_ack  # the flush and the entry come after the answer
    kicked = c.zap + c.zap_spte + c.request + c.ipi_send + c.ipi_delivery + answered
    assert outcome.histograms["notice"]["sum"] == c.notice + kicked
    host = c.ipi_respond + c.flush_page + c.exit + c.kick + c.entry  # the vCPU's own physical CPU is in the mask
    assert booked(outcome, 1)["ipi_respond"] == host
    assert outcome.histograms["shootdown"]["sum"] == c.ipi_send + c.ipi_delivery + host - c.entry + c.ipi_ack  # answered before it enters
    assert got["ipis.sent"] == 2


def test_kvm_zaps_everything_when_the_process_exits():
    """Two pages and the four tables of the guest's that translate them."""
    records = [access(op.WRITE, 1), access(op.WRITE, 1, page=1), sync(), (0, 0, 0, op.EXIT, 0)]
    outcome, c = run("kvm-ept-2008", [CPU, DEVICE], records, MAPPED)
    assert counted(outcome, 0)["notices.release"] == 1 and counted(outcome, 0)["kvm.zapped"] == 6
    assert booked(outcome, 0)["invalidate"] == c.zap + 6 * c.zap_spte
    assert booked(outcome, 0)["notify"] == c.notice and "lock_wait" not in booked(outcome, 0)
