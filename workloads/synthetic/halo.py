"""Processes of a message-passing program that exchange the borders of their blocks by direct access to each other's memory."""

import functools
import itertools
from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import BASE, PROT, generator
from workloads.synthetic.parameters import MOST_PAGES, Common, Count, Natural, check_range, workload
from workloads.synthetic.rounds import FIRST_PAGE, barrier, renew, round_trace, single, unit

LINES = 64  # cache lines of a page


class _Ranks(NamedTuple):
    """The layout of each rank's space, from BASE: block, two ghost borders, view of the neighbours' borders, segment."""

    ranks: int
    pages: int
    halo: int
    per_page: int
    every: int
    seed: int
    transport: str
    devices: int

    def seen(self) -> int:
        """Return the first page of a rank's view of its left neighbour's right border; its right neighbour's left one follows."""
        return self.pages + 2 * self.halo

    def segment(self) -> int:
        """Return the first page of a rank's shared segment, if borders are copied through shared memory."""
        return self.pages + 4 * self.halo

    def neighbours(self, rank: int) -> tuple[int, int]:
        """Return the left and right neighbours in the ring."""
        return (rank - 1) % self.ranks, (rank + 1) % self.ranks

    def copiers(self) -> np.ndarray:
        """Return agents[rank, border page]: the agent that copies it, one of the rank's devices in turn, or its CPU."""
        ranks, turn = np.arange(self.ranks)[:, None], np.arange(2 * self.halo)
        return self.ranks + ranks * self.devices + turn % self.devices if self.devices else ranks + 0 * turn


@workload(most=MOST_PAGES // 8, accesses=10_000_000, pages=256, writes=None, cpus=None)
def mpi_halo(
    common: Common,
    halo: int = 8,
    ranks: Annotated[int, 2] = 4,
    per_page: Count = 64,
    every: Natural = 10,
    transport: Literal["xpmem", "shared"] = "xpmem",
) -> Trace:
    """Generate a grid in blocks, one for each process of a ring: compute, barrier, copy the neighbours' borders, barrier, repeat.

    A halo exchange within a machine as MPI libraries do it over XPMEM (SGI's MPT, Open MPI, MPICH): a process attaches to
    its neighbours' blocks once and then copies straight out of their memory. Sometimes a process frees its block and allocates it
    anew, like adaptive codes: the neighbours' view is gone, and they detach and attach again.

    In the model: ATTACH registers a notifier with the owner's address space (all its locks), the first access to an attached page
    looks it up in another process, and the owner's munmap tears pages down in two others, each with its own flush. "shared" uses
    only operations modelled today: each process copies its borders into a segment of shared memory, from which its neighbours copy them.

    Parameters
    ----------
    accesses : int
        Over all agents; a page computed is 2 * `per_page` accesses, a page copied 128, in two records each.
    pages : int
        Block of a process in pages of 4 KiB; mapped from the start.
    halo : int
        Pages at either end of a block that the neighbours need, in [1, pages].
    ranks : int
        Processes, each an address space with a CPU agent, in a ring; at least 2.
    per_page : int
        Reads, and then writes, of each page of the block in an iteration; the ghost pages are read as often.
    every : int
        Iterations from one reallocation to the next, by a process drawn at random; 0: none.
    transport : "xpmem" or "shared"
        The way in which a process accesses its neighbours' borders.
    devices : int
        Device agents of each process, which do its copying if there are any, as a GRU can.
    """
    devices = common.devices
    check_range("halo", halo, 1, common.pages)
    check_range("devices", devices, 0)
    check_range("ranks * (1 + devices)", ranks * (1 + devices), 1, op.AGENTS)
    agents = [op.Agent("cpu", rank, f"rank{rank}") for rank in range(ranks)]
    agents += [op.Agent("device", rank, f"gru{rank}.{i}") for rank in range(ranks) for i in range(devices)]
    world = _Ranks(ranks, common.pages, halo, per_page, every, common.seed, transport, devices)
    return round_trace(functools.partial(_rounds, world), common, _prelude(world), agents)


def _prelude(world: _Ranks) -> list[tuple[int, ...]]:
    records: list[tuple[int, ...]] = []
    for rank in range(world.ranks):
        records += op.mmap_unit(BASE, world.pages, PROT, agent=rank)
        records += op.mmap_unit(_address(world.pages), 2 * world.halo, PROT, agent=rank)
        if world.transport == "shared":
            left, right = world.neighbours(rank)
            seen, halo = _address(world.seen()), world.halo
            records += op.mmap_unit(seen, halo, PROT, op.SHARED, left + 1, halo, agent=rank)
            records += op.mmap_unit(seen + halo * op.PAGE, halo, PROT, op.SHARED, right + 1, 0, agent=rank)
            records += op.mmap_unit(_address(world.segment()), 2 * halo, PROT, op.SHARED, rank + 1, 0, agent=rank)
    return records


def _rounds(world: _Ranks) -> Iterator[np.ndarray]:
    if world.transport == "xpmem":
        yield np.concatenate([_attach(world, rank) for rank in range(world.ranks)])
    compute, exchange = _compute(world), _exchange(world)
    for k in itertools.count(1):
        yield compute
        yield barrier()
        if world.transport == "shared":
            yield _publish(world)
            yield barrier()
        yield exchange
        yield barrier()
        if world.every and k % world.every == 0:
            yield from _reallocate(world, int(generator(world.seed, k).integers(0, world.ranks)))


def _reallocate(world: _Ranks, rank: int) -> Iterator[np.ndarray]:
    """Yield a rank's new block; the barrier keeps the neighbours from attaching before the block exists."""
    yield renew(0, world.pages, rank)
    if world.transport == "xpmem":
        yield barrier()
        for other in sorted(set(world.neighbours(rank))):
            yield _detach(world, other)
            yield _attach(world, other)


def _attach(world: _Ranks, rank: int) -> np.ndarray:
    """Return a rank's entry into its neighbours' notifier lists, and its mappings of both their borders."""
    left, right = world.neighbours(rank)
    pieces = [single(op.ATTACH, rank, space) for space in dict.fromkeys((left, right))]
    for side, (space, first) in enumerate(((left, world.pages - world.halo), (right, 0))):
        where = world.seen() + side * world.halo
        flags = PROT | op.XPMEM << 3 | (space + 1) << op.FILE_SHIFT
        pieces.append(unit(op.MMAP, where, world.halo, flags, FIRST_PAGE + first, rank))
    return np.concatenate(pieces)


def _detach(world: _Ranks, rank: int) -> np.ndarray:
    pieces = [unit(op.MUNMAP, world.seen(), 2 * world.halo, agent=rank)]
    pieces += [single(op.DETACH, rank, space) for space in dict.fromkeys(world.neighbours(rank))]
    return np.concatenate(pieces)


def _compute(world: _Ranks) -> np.ndarray:
    """Return the computation, all ranks side by side: read the ghosts, then read and write page after page."""
    ghosts = np.arange(world.pages, world.seen())
    block = np.arange(world.pages).repeat(2)
    pages = np.concatenate([ghosts, block])
    kinds = np.concatenate([np.zeros(ghosts.size, np.int8), np.tile([op.READ, op.WRITE], world.pages)])
    return _records(pages[:, None], kinds[:, None], np.arange(world.ranks), world.per_page)


def _exchange(world: _Ranks) -> np.ndarray:
    """Return the copies of each rank's view of its neighbours' borders into its ghosts."""
    border = np.arange(2 * world.halo)
    return _copy(world, world.seen() + border, world.pages + border)


def _publish(world: _Ranks) -> np.ndarray:
    """Return the copies of each rank's own borders into its segment: the left one, then the right one."""
    border = np.arange(2 * world.halo)
    own = np.where(border < world.halo, border, world.pages - 2 * world.halo + border)
    return _copy(world, own, world.segment() + border)


def _copy(world: _Ranks, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    pages = np.stack([source, target], 1)[:, None, :]
    return _records(pages, np.array([op.READ, op.WRITE]), world.copiers().T[:, :, None], LINES)


def _records(pages: np.ndarray, kinds: np.ndarray, agents: np.ndarray, count: int) -> np.ndarray:
    pages, kinds, agents = np.broadcast_arrays(pages, kinds, agents)
    ops = np.zeros(pages.size, op.OP)
    ops["address"], ops["count"] = BASE + (pages.ravel() << op.PAGE_SHIFT), count
    ops["kind"], ops["agent"] = kinds.ravel(), agents.ravel()
    return ops


def _address(page: int) -> int:
    return BASE + page * op.PAGE
