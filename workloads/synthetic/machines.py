"""Virtual machines: one that boots and serves, and one that moves to another host while it runs."""

import functools
import itertools
from collections.abc import Iterator
from typing import Annotated

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import PROT, Draw, deal, generator, insert, region, touch
from workloads.synthetic.parameters import MOST_PAGES, Common, Count, Natural, NotNegative, Positive, Share, check_range, workload
from workloads.synthetic.patterns import popular
from workloads.synthetic.rounds import barrier, page_of, round_trace, spread, unit

TABLE = 512  # pages mapped by one page table of the guest


@workload(most=MOST_PAGES, devices=2)
def vm_boot_and_serve(
    common: Common,
    boot: Share = 0.25,
    exponent: NotNegative = 1.0,
    requests: Natural = 100,
    part: int = 64,
    every: Positive = 10_000,
    guest: bool = True,
) -> Trace:
    """Generate a guest that boots, touching a large part of its memory in order, then serves Zipf-distributed accesses and virtio requests.

    At boot a guest's kernel maps all of its memory (its direct map) and its first CPU initialises much of it. Later, a request goes
    through a ring in guest memory: a vCPU fills a descriptor, the hypervisor's thread reads it and fills a buffer, the vCPU reads
    the buffer. After each round the host takes back pages that the guest has reported free (MADV_DONTNEED), and the guest, if its
    own activity is shown, unmaps and maps some pages, like a process that ends and one that begins. A SYNC ends the
    boot, and the accesses of each round.

    In the model: the storm of secondary faults at boot, the guest's page tables (GUEST: shadow paging traps these writes, nested
    paging does not), pages that hypervisor and vCPUs both use, and invalidations while the guest serves.

    Parameters
    ----------
    accesses : int
        Over all agents.
    pages : int
        Memory of the guest in pages of 4 KiB; mapped from the start. The ring is its first page, the buffers are popular pages.
    boot : float
        Part of the memory that is touched at boot, in [0, 1]: one write to a page.
    exponent : float
        As for `zipf`.
    requests : int
        Virtio requests in a round; each is four accesses.
    part : int
        Pages taken back, and pages that the guest maps anew, after each round.
    every : int
        Accesses of the vCPUs in a round, except requests.
    guest : bool
        Whether the trace has GUEST operations; without them all operations are modelled today.
    writes : float
        Part of the accesses that are writes, in [0, 1], except boot and requests.
    cpus, devices : int
        CPU agent 0 is the hypervisor's, the devices are the vCPUs; without any the CPUs access memory and nothing is GUEST.

    Returns
    -------
    Trace
        Lazy; keeps 32 bytes per page.
    """
    pages, vcpus = common.pages, common.users
    check_range("part", part, 1, pages)
    draw, guest = popular(pages, exponent, common.seed), guest and common.devices > 0
    starts = functools.partial(_boot, common, vcpus, round(boot * pages), guest)
    serves = functools.partial(_serve, common, vcpus, draw, requests, part, every, guest)
    return round_trace(functools.partial(_boot_and_serve, starts, serves), common)


def _boot_and_serve(starts: functools.partial, serves: functools.partial) -> Iterator[np.ndarray]:
    yield from starts()
    yield barrier()
    yield from serves()


def _boot(common: Common, vcpus: np.ndarray, touched: int, guest: bool) -> Iterator[np.ndarray]:
    """Yield the boot, page table by page table."""
    random = generator(common.seed, 0)
    for first in range(0, common.pages, TABLE):
        if guest:
            mapped = min(TABLE, common.pages - first)
            yield unit(op.GUEST, first, mapped, op.MMAP << op.GUEST_SHIFT | PROT, agent=int(vcpus[0]))
        if first < touched:
            yield touch(random, np.arange(first, min(first + TABLE, touched)), 1, vcpus[0])


def _serve(
    common: Common, vcpus: np.ndarray, draw: Draw, requests: int, part: int, every: int, guest: bool
) -> Iterator[np.ndarray]:
    for k in itertools.count():
        random = generator(common.seed, 1 + k)
        ops = touch(random, draw(random, k * every, every), common.writes, deal(vcpus, k * every, every))
        asked = _requests(random, draw(random, 0, requests), deal(vcpus, k * requests, requests))
        yield insert(ops, spread(requests, every), asked)
        yield barrier()
        back, renewed = (int(page) * part for page in random.integers(0, common.pages // part, 2))
        yield unit(op.MADVISE, back, part, op.DONTNEED)
        if guest:
            vcpu = int(vcpus[k % vcpus.size])
            yield unit(op.GUEST, renewed, part, op.MUNMAP << op.GUEST_SHIFT, agent=vcpu)
            yield unit(op.GUEST, renewed, part, op.MMAP << op.GUEST_SHIFT | PROT, agent=vcpu)


def _requests(random: np.random.Generator, buffers: np.ndarray, vcpus: np.ndarray) -> np.ndarray:
    """Return OP[request, 4]: descriptor written and read, buffer written and read; the hypervisor is agent 0."""
    ring, hypervisor = 0 * buffers, 0 * vcpus
    steps = ((ring, 1, vcpus), (ring, 0, hypervisor), (buffers, 1, hypervisor), (buffers, 0, vcpus))
    return np.stack([touch(random, pages, writes, agents) for pages, writes, agents in steps], 1)


@workload(most=MOST_PAGES, pages=16_384, devices=2)
def live_migration(
    common: Common,
    pace: NotNegative = 2.0,
    stop: Natural = 256,
    rounds: Annotated[int, 1, 1 << 16] = 30,
    quiet: Natural = 100_000,
    per_page: Count = 1,
    exponent: NotNegative = 1.0,
) -> Trace:
    """Generate a machine whose memory is copied away while it runs: all of it, then repeatedly the pages written meanwhile.

    Pre-copy live migration (Clark et al., NSDI 2005; QEMU and KVM with the dirty log): before each pass the hypervisor
    write-protects the sptes of the memory, so that it sees the vCPUs' writes during the pass. When few pages are dirty, or
    after `rounds` passes, the machine stops and the rest is copied. Then it serves quietly until the next migration begins.
    A SYNC comes before each pass.

    In the model: DIRTY_LOG's write protection, the fault that each first write to a page then takes, on all vCPUs at once after
    each pass, and the splitting of huge sptes. k writes to n equally popular pages dirty n (1 - (1 - 1/n)^k) of them on average.

    Parameters
    ----------
    accesses : int
        Over all agents, the copying reads included.
    pages : int
        Memory of the machine in pages of 4 KiB; in memory from the start.
    pace : float
        Accesses of the vCPUs for each page that is copied.
    stop : int
        This number of dirty pages, or fewer, is copied while the machine is stopped (between two SYNC).
    rounds : int
        Most passes before the machine stops, the first included.
    quiet : int
        Accesses between two migrations, and before the first.
    per_page : int
        Reads of a page that is copied (one record); 64 would be one to each cache line.
    exponent : float
        As for `zipf`.
    writes : float
        Part of the vCPUs' accesses that are writes, in [0, 1].
    cpus, devices : int
        CPU agent 0 is the migration thread, the devices are the vCPUs; without any the CPUs access memory.

    Returns
    -------
    Trace
        Lazy; keeps 32 bytes per page, and a pass is in memory.
    """
    run = functools.partial(_run, popular(common.pages, exponent, common.seed), common.writes, common.users)
    migrations = functools.partial(_migrations, run, common, pace, stop, rounds, quiet, per_page)
    return round_trace(migrations, common, region(common.pages, populate=True))


def _run(draw: Draw, writes: float, vcpus: np.ndarray, random: np.random.Generator, size: int) -> np.ndarray:
    """Return the vCPUs' next accesses."""
    return touch(random, draw(random, 0, size), writes, deal(vcpus, 0, size))


def _migrations(
    run: functools.partial, common: Common, pace: float, stop: int, rounds: int, quiet: int, per_page: int
) -> Iterator[np.ndarray]:
    """Yield the migrations; each has a generator for the quiet time before it and one for each pass."""
    for key in itertools.count(0, rounds + 2):
        yield run(generator(common.seed, key), quiet)
        dirty = np.arange(common.pages)
        for k in range(rounds):
            random = generator(common.seed, key + 1 + k)
            ops = run(random, round(pace * dirty.size))
            yield barrier()
            yield unit(op.DIRTY_LOG, 0, common.pages)
            yield insert(ops, spread(dirty.size, ops.size), _copied(random, dirty, per_page))
            dirty = np.flatnonzero(np.bincount(page_of(ops)[ops["kind"] == op.WRITE]))
            if dirty.size <= stop:
                break
        yield barrier()
        yield _copied(generator(common.seed, key + rounds + 1), dirty, per_page).ravel()
        yield barrier()


def _copied(random: np.random.Generator, pages: np.ndarray, per_page: int) -> np.ndarray:
    """Return OP[page, 1]: the migration thread's reads."""
    ops = touch(random, pages, 0, 0)
    ops["count"] = per_page
    return ops[:, None]
