"""Virtual machines whose identical pages are merged by the host."""

import functools
from collections.abc import Iterator

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import BASE, PROT, deal, generator, touch
from workloads.synthetic.parameters import MOST_PAGES, Common, Natural, Positive, Share, check_range, workload
from workloads.synthetic.rounds import barrier, each_round, page_of, round_trace, units

CONTENTS = 1 << 40  # spawn key of the pages' contents, different from the keys of the accesses
OWN = -1


@workload(most=MOST_PAGES, pages=8192, writes=None, cpus=None, devices=None)
def ksm_merging(
    common: Common,
    alike: Share = 0.5,
    contents: Positive = 256,
    scan: int = 100,
    every: Positive = 2000,
    writes: Share = 0.1,
    vms: Positive = 2,
    vcpus: Natural = 1,
) -> Trace:
    """Generate virtual machines that run while a scanner merges their pages of equal contents; later writes part them again.

    Linux's kernel samepage merging (KSM): ksmd goes round all pages, 100 per wake-up by default (pages_to_scan). It
    skips pages that have changed since its last visit, and merges a page with a known one of the same contents.
    Contents: a part of each machine's pages, the same in all, as of one guest image, have one of a few common contents; the others'
    contents are their own. A write changes a page's contents; a page not written for a whole pass has its old contents again (a
    simplification, so that there is something to merge at any length).

    In the model: the two notices of a merge (write protection, replacement), sharing across address spaces, and copies on write, with a
    notice each, when merged pages are written. A SYNC comes before each wake-up.

    Parameters
    ----------
    accesses : int
        Over all agents that access memory, uniform over their machine's pages.
    pages : int
        Memory of each machine in pages of 4 KiB; in memory from the start.
    alike : float
        Part of the pages that have common contents, in [0, 1].
    contents : int
        Number of different common contents.
    scan : int
        Pages looked at in one wake-up of the scanner.
    every : int
        Accesses from one wake-up to the next.
    vms, vcpus : int
        Machines, each an address space with a CPU agent, and device agents of each. Without vCPUs the CPU agents access memory.

    Returns
    -------
    Trace
        Lazy; keeps 9 bytes per page.
    """
    pages = common.pages
    check_range("vms * (1 + vcpus)", vms * (1 + vcpus), 1, op.AGENTS)
    check_range("scan", scan, 1, vms * pages)
    agents = [op.Agent("cpu", vm, f"vmm{vm}") for vm in range(vms)]
    agents += [op.Agent("device", vm, f"vcpu{vm}.{i}") for i in range(vcpus) for vm in range(vms)]
    prelude = [record for vm in range(vms) for record in op.mmap_unit(BASE, pages, PROT, agent=vm, populate=True)]
    rounds = functools.partial(_rounds, pages, alike, contents, scan, every, writes, vms, vcpus, common.seed)
    return round_trace(rounds, common, prelude, agents)


def _rounds(
    pages: int, alike: float, contents: int, scan: int, every: int, writes: float, vms: int, vcpus: int, seed: int
) -> Iterator[np.ndarray]:
    issuers = np.arange(vms, vms * (1 + vcpus)) if vcpus else np.arange(vms)
    random = generator(seed, CONTENTS)
    holds = np.where(random.random(pages) < alike, random.integers(0, contents, pages), OWN)
    scanner = _Scanner(np.tile(holds, vms))
    for k, random in each_round(seed):
        ops = touch(random, random.integers(0, pages, every), writes, deal(issuers, k * every, every))
        yield ops
        wrote = ops[ops["kind"] == op.WRITE]
        scanner.changed[wrote["agent"].astype(np.int64) % vms * pages + page_of(wrote)] = True
        merged = scanner.visit(scan)
        yield barrier()
        if merged.size:
            (page, partner), vm = merged.T % pages, merged.T // pages
            yield units(op.KSM_MERGE, page, 1, vm[1], BASE + (partner << op.PAGE_SHIFT), vm[0]).ravel()


class _Scanner:
    """The knowledge of ksmd; pages of all machines are numbered consecutively."""

    def __init__(self, holds: np.ndarray) -> None:
        self._holds = holds
        self.changed = np.ones(holds.size, bool)  # since the last visit; before the first visit all pages count as changed
        self._merged = np.zeros(holds.size, bool)
        self._known: dict[int, int] = {}  # contents -> the page with them that was visited last
        self._at = 0

    def visit(self, scan: int) -> np.ndarray:
        """Look at the next pages; return int64[merge, 2]: pages, and the page with which each is merged."""
        pages = (self._at + np.arange(scan)) % self._holds.size
        self._at = (self._at + scan) % self._holds.size
        pages = pages[self._holds[pages] != OWN]
        merges = [pair for page in pages.tolist() for pair in self._look(page)]
        return np.array(merges, np.int64).reshape(-1, 2)

    def _look(self, page: int) -> Iterator[tuple[int, int]]:
        held, changed = int(self._holds[page]), bool(self.changed[page])
        self.changed[page] = False
        partner = self._known.get(held, page)
        if changed:
            self._merged[page] = False
            if partner == page:
                self._known.pop(held, None)
        elif partner == page or self.changed[partner]:
            self._known[held] = page
        elif not self._merged[page]:
            self._merged[page] = self._merged[partner] = True
            self._known[held] = page
            yield page, partner
