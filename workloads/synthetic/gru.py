"""Memory accesses of GRU instructions: block copies, gathers and scatters."""

import functools
from collections.abc import Iterator
from typing import Annotated

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import BASE, insert, region, touch
from workloads.synthetic.parameters import MOST_PAGES, Common, NotNegative, Positive, Share, check_range, workload
from workloads.synthetic.rounds import each_round, renew, round_trace, spread

LINES = 64  # cache lines of a page
ELEMENTS = 1 << 14  # accesses of the gathers and scatters that are drawn together: traces of a seed depend on it


@workload(most=MOST_PAGES // 2, accesses=10_000_000, pages=4096, devices=2)
def gru_block_copy(common: Common, length: int = 16, every: Positive = 64, share: NotNegative = 0.1) -> Trace:
    """Generate devices that copy blocks from one region to another, while CPUs use both and sometimes renew a buffer of the second.

    The GRU's BCOPY (gru_bcopy of the driver's gru_instructions.h): source and destination are virtual addresses, and the engine
    copies line by line. A page of a copy is a READ of 64 lines and a WRITE of 64 lines.

    In the model: a miss for each page of either side, the interrupt path for pages that the CPUs have in their page table and
    the driver's slow path for renewed pages, and invalidations that meet copies under way.

    Parameters
    ----------
    accesses : int
        Over all agents; a page copied is 128 accesses, in two records.
    pages : int
        Size of each region in pages of 4 KiB; in memory from the start, the destination after the source.
    length : int
        Pages of a copy; source and destination are drawn uniformly.
    every : int
        Copies of each device; then CPU agent 0 unmaps `length` pages of the destination and maps them anew.
    share : float
        Records of CPUs for each record of a device.
    writes : float
        Part of the CPUs' accesses that are writes, in [0, 1]; they are uniform over both regions.
    cpus, devices : int
        Agents of one address space; at least one each.
    """
    check_range("length", length, 1, common.pages)
    check_range("devices", common.devices, 1)
    rounds = functools.partial(_copies, common, length, every, share)
    return round_trace(rounds, common, region(2 * common.pages, populate=True))


def _copies(common: Common, length: int, every: int, share: float) -> Iterator[np.ndarray]:
    """Yield the accesses of each round; their axes: copy, page of the copy, device, side (source, destination)."""
    pages, devices = common.pages, common.devices
    for _, random in each_round(common.seed):
        starts = random.integers(0, pages - length + 1, (every, 1, devices, 2)) + np.array([0, pages])
        ops = np.zeros((every, length, devices, 2), op.OP)
        ops["address"] = BASE + (starts + np.arange(length)[:, None, None] << op.PAGE_SHIFT)
        ops["count"], ops["kind"] = LINES, np.array([op.READ, op.WRITE])
        ops["agent"] = common.cpus + np.arange(devices)[:, None]
        yield _with_cpus(random, ops.ravel(), 2 * pages, share, common)
        yield renew(pages + int(random.integers(0, pages // length)) * length, length)


@workload(most=MOST_PAGES, writes=0.5, devices=4)
def gather_scatter(common: Common, vector: Annotated[int, 1, 4096] = 128, remote: Share = 0.1, share: NotNegative = 0.05) -> Trace:
    """Generate devices that gather and scatter vectors of random elements of a table, mostly each in its own part; CPUs use it too.

    The GRU's indexed vector instructions (gru_ivload, gru_ivstore: a base address and a vector of indexes), on a table that is partitioned
    over the devices, like a distributed hash table or a sparse matrix. The usual length of vectors is not published: `vector` is a
    parameter, bounded by the 512 cache lines of a GRU's data segment.

    In the model: the worst case of a secondary TLB without a page table to walk: nearly every element is a trap once the part exceeds
    the TLB, up to one outstanding miss for each control block.

    Parameters
    ----------
    accesses : int
        Over all agents; an element is an access and a record.
    pages : int
        Size of the table in pages of 4 KiB; in memory from the start. Device d of n has part d of n equal ones.
    vector : int
        Elements of an instruction, in [1, 4096].
    remote : float
        Part of the elements that are drawn from the whole table, in [0, 1]; the others from the device's part.
    share : float
        Records of CPUs for each record of a device.
    writes : float
        Part of the instructions that scatter, and of the CPUs' accesses that are writes, in [0, 1].
    cpus, devices : int
        Agents of one address space; at least one each, and no more devices than pages.
    """
    check_range("devices", common.devices, 1, common.pages)
    rounds = functools.partial(_vectors, common, vector, remote, share)
    return round_trace(rounds, common, region(common.pages, populate=True))


def _vectors(common: Common, vector: int, remote: float, share: float) -> Iterator[np.ndarray]:
    """Yield the accesses of each round; their axes: instruction, element of the instruction, device."""
    pages, devices = common.pages, common.devices
    shape = (max(1, ELEMENTS // (vector * devices)), vector, devices)
    size = pages // devices
    for _, random in each_round(common.seed):
        own = np.arange(devices) * size + random.integers(0, size, shape)
        drawn = np.where(random.random(shape) < remote, random.integers(0, pages, shape), own)
        ops = touch(random, drawn.ravel(), 0, np.broadcast_to(common.cpus + np.arange(devices), shape).ravel())
        ops["kind"] = np.broadcast_to(random.random((shape[0], 1, devices)) < common.writes, shape).ravel()
        yield _with_cpus(random, ops, pages, share, common)


def _with_cpus(random: np.random.Generator, ops: np.ndarray, pages: int, share: float, common: Common) -> np.ndarray:
    """Return the devices' records with the CPUs' spread evenly among them."""
    many = round(share * ops.size)
    own = touch(random, random.integers(0, pages, many), common.writes, np.arange(many) % common.cpus)
    return insert(ops, spread(many, ops.size), own[:, None])
