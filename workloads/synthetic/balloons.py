"""A virtual machine that returns memory to its host, and takes it back."""

import functools
from collections.abc import Iterator

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import deal, generator, touch
from workloads.synthetic.parameters import MOST_PAGES, Common, Positive, check_range, workload
from workloads.synthetic.rounds import barrier, each_round, round_trace, single, units

ORDERS = 1 << 40  # spawn keys of the orders in which pages are returned, different from those of the accesses


@workload(most=MOST_PAGES, devices=2)
def balloon(common: Common, chunk: int = 256, part: int = 1, share: float = 0.5, every: Positive = 10_000) -> Trace:
    """Generate a guest whose balloon grows chunk by chunk to a share of its memory and shrinks again, over and over.

    virtio-balloon: the guest's driver hands over the numbers of up to 256 pages at a time (VIRTIO_BALLOON_ARRAY_PFNS_MAX),
    spread over its memory; QEMU discards each with MADV_DONTNEED, and advises each page that it returns with
    MADV_WILLNEED, which changes nothing (one SYSCALL each). `part` > 1 stands for larger pieces, as in free page
    reporting. The guest does not touch pages in the balloon, and writes to each returned page first.

    In the model: one notice for each MADVISE, flushes and kicks of vCPUs, and faults of vCPUs on zeroed pages after the
    balloon shrinks. A SYNC before each chunk stands for the hand-shake of guest and host: the guest no longer uses pages that it gives.

    Parameters
    ----------
    pages : int
        Memory of the guest in pages of 4 KiB; mapped from the start.
    chunk : int
        Pages given back, or returned, at once.
    part : int
        Pages of one MADVISE; each begins at a multiple of its size.
    share : float
        Part of the memory that the full balloon holds, in (0, 1), rounded down to chunks, but at least one.
    every : int
        Accesses between two chunks, the first writes to returned pages apart.
    writes : float
        Part of those accesses that are writes, in [0, 1].
    cpus, devices : int
        CPU agent 0 is the hypervisor's, the devices are the vCPUs; without any the CPUs access memory.

    Returns
    -------
    Trace
        Lazy; keeps 8 bytes per part of the memory.
    """
    check_range("part", part, 1, common.pages // 2)
    check_range("chunk", chunk, part, (common.pages // part - 1) * part)
    if not 0 < share < 1:
        raise op.TraceError(f"share must be in (0, 1), not {share}")
    parts, taken = common.pages // part, chunk // part
    steps = max(1, int(share * parts) // taken)
    return round_trace(functools.partial(_rounds, common, common.users, parts, part, taken, steps, every), common)


def _rounds(
    common: Common, vcpus: np.ndarray, parts: int, part: int, taken: int, steps: int, every: int
) -> Iterator[np.ndarray]:
    """Yield rounds: the balloon holds the first parts of `order`; it takes and returns parts at their end."""
    for k, random in each_round(common.seed):
        step = k % (2 * steps)
        if step == 0:
            order = generator(common.seed, ORDERS + k // (2 * steps)).permutation(parts)
        grows = step < steps
        held = step + 1 if grows else 2 * steps - step - 1
        moved = order[(held - 1) * taken : held * taken] if grows else order[held * taken : (held + 1) * taken]
        yield barrier()
        if grows:
            yield units(op.MADVISE, moved * part, part, op.DONTNEED).ravel()
        else:
            yield single(op.SYSCALL, 0, taken)
            returned = (moved[:, None] * part + np.arange(part)).ravel()
            yield touch(random, returned, 1, deal(vcpus, 0, returned.size))
        used = order[held * taken :]
        drawn = used[random.integers(0, used.size, every)] * part + random.integers(0, part, every)
        yield touch(random, drawn, common.writes, deal(vcpus, k * every, every))
