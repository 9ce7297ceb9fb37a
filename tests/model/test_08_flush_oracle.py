"""Shootdowns of the oracle, by hand: targets, near and far, and times (docs/model.md 8.1 to 8.4)."""

from hwmodel import op
from hwmodel.op import paged_unit
from tests.model.cases import ADDRESS, CPU, MAPPED, access, advise, booked, compute, counted, run, sync


def test_a_shootdown_with_one_target():
    records = [access(op.WRITE), sync(), access(op.READ, 1), compute(10**6, 1), *advise(op.DONTNEED, 0)]
    outcome, c = run("cpu-only", [CPU, CPU], records, MAPPED)
    local = c.flush_fixed + c.flush_page
    respond = c.ipi_respond + c.flush_page  # the fixed part is the initiator's
    assert c.ipi_delivery < local < c.ipi_delivery + respond  # the initiator's own is done before the target has answered
    total = c.ipi_send + c.ipi_delivery + respond + c.ipi_ack
    assert abs((total - local) * 1000 / 3000 - 558) <= 1  # what a first target adds in 2024, in ns
    assert outcome.histograms["shootdown"]["sum"] == total
    ledger = booked(outcome, 0)
    assert ledger["flush"] == local
    assert ledger["ipi_send"] == c.ipi_send
    assert ledger["ipi_wait"] == total - c.ipi_send - local
    assert booked(outcome, 1)["ipi_respond"] == respond
    assert outcome.histograms["op.madvise"]["sum"] == c.syscall + c.clear + c.table_scan + total + c.free
    assert counted(outcome, 0)["ipis.acked"] == 1


def test_a_far_target_answers_later():
    records = [access(op.WRITE), sync(), access(op.READ, 1), compute(10**6, 1), *advise(op.DONTNEED, 0)]
    outcome, c = run("cpu-only", [CPU, CPU], records, MAPPED, cpu__per_socket=1)
    respond = c.ipi_respond + c.flush_page
    total = c.ipi_send + c.ipi_delivery + c.ipi_far + respond + c.ipi_ack
    assert outcome.histograms["shootdown"]["sum"] == total


def test_a_lazy_cpu_is_spared_unless_tables_go():
    records = [access(op.WRITE), *advise(op.DONTNEED, 0), *paged_unit(op.MUNMAP, ADDRESS, 8)]
    outcome, c = run("cpu-only", [CPU], records, MAPPED, cpu__count=2, kernel__lazy_cpus=1)
    assert counted(outcome, 0)["ipis.sent"] == 1
    assert booked(outcome, 1)["ipi_respond"] == c.ipi_respond + c.flush_full
    assert outcome.state["mask"][0] == {0: (True, 2)}
