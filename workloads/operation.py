"""One operation on memory with threads and devices around it, so that its cost can be asked for alone."""

import functools
from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np

from hwmodel import op
from hwmodel.config.errors import suggestion
from hwmodel.trace import Trace
from workloads.synthetic.drawing import BASE, BLOCK, PROT
from workloads.synthetic.parameters import check_range
from workloads.synthetic.rounds import barrier, single, unit

Kind = Literal["mmap", "munmap", "mprotect", "mremap", "fork", "cow", "dontneed", "free", "cold"]
FORKS = ("fork", "cow")
ADVICE = {"dontneed": op.DONTNEED, "free": op.FREE, "cold": op.COLD}
MOST_PAGES = 1 << 26
OWN_BASE, OWN_PAGES = BASE >> 1, 16
"""Where agents have pages of their own, and how many each: few enough for every TLB, a huge page apart from the operation's."""
MOVED = BASE + (2 * MOST_PAGES << op.PAGE_SHIFT)
WORK, WORK_OF_A_PAGE = 200_000, 500
"""Accesses that the others make meanwhile, and for each page. A load takes a cycle or more, so at 3 GHz they last 67 us and 167 ns a page
or more; the dearest operations on the presets, with 8 threads, are a fork, 60 us, and a KVM's munmap, 122 ns a page."""


class _Scene(NamedTuple):
    """The arguments of `operation`, and how many pages are touched before it."""

    kind: str
    pages: int
    threads: int
    devices: int
    touched: int
    busy: bool

    @property
    def others(self) -> range:
        """Return the agents besides thread 0."""
        return range(1, self.threads + self.devices)


def operation(kind: Kind, pages: int, threads: int = 4, devices: int = 1, touched: float = 1.0, busy: bool = True) -> Trace:
    """Generate one operation of thread 0 on a range of anonymous memory, while other threads and devices use memory of their own.

    Before it, thread 0 writes the pages that are touched, then the devices do, in turn, and each agent reads its own pages, which
    nobody else uses and which are in memory from the start. A SYNC before the operation and one after it keep all of this apart. The
    others have a record after the second SYNC: none is done, so none is a lazy CPU that a flush spares, before the operation has
    ended, however long that takes. Their own work begins when the accesses behind the operation may (docs/model.md 3.6).

    The result's ``latency("op.KIND")`` (of madvise for advice) is the operation's; its accounts have what came before it, too, which
    ends at record ``info["record"]``.

    Parameters
    ----------
    kind : str
        "mmap" (anew over the range), "munmap", "mprotect" (to read-only), "mremap" (to another place), "fork", "cow" (a fork, and then
        thread 0 writes every page that is touched, which copies it), or advice of madvise: "dontneed", "free", "cold".
    pages : int
        Size of the range in pages of 4 KiB, in [1, 67108864]; its beginning is aligned to 2 MiB and more.
    threads : int
        CPU agents of the address space, at least 1; the child of a fork or cow is one more, of a space of its own.
    devices : int
        Device agents of the address space.
    touched : float
        Part of the pages that is touched before the operation, in [0, 1], evenly spread.
    busy : bool
        Whether the others work meanwhile; otherwise they are done before it, and `simulate` warns of that.

    Returns
    -------
    Trace
        Lazy, in constant memory.

    Raises
    ------
    TraceError
        If an argument is out of range; names it.
    """
    if kind not in get_args(Kind):
        known = get_args(Kind)
        raise op.TraceError(f"kind must be one of {', '.join(known)}, not {kind!r}{suggestion(str(kind), known)}")
    check_range("pages", pages, 1, MOST_PAGES)
    check_range("threads", threads, 1)
    check_range("devices", devices, 0)
    check_range("threads + devices", threads + devices, 1, op.AGENTS - (kind in FORKS))
    if not 0 <= touched <= 1:
        raise op.TraceError(f"touched must be in [0, 1], not {touched}")
    scene = _Scene(kind, pages, threads, devices, round(touched * pages), bool(busy))
    agents = [op.Agent("cpu", 0, f"cpu{i}") for i in range(threads)] + [op.Agent("device", 0, f"device{i}") for i in range(devices)]
    agents += [op.Agent("cpu", 1, "child")] * (kind in FORKS)
    own = OWN_PAGES * (threads + devices)
    prelude = op.mmap_unit(BASE, pages, PROT) + op.mmap_unit(OWN_BASE, own, PROT, op.SHARED, file=1, populate=True)
    before = scene.touched * (1 + (devices > 0)) + own + 2
    info = {"program": "operation", "kind": kind, "pages": pages, "touched": touched, "busy": scene.busy, "record": before}
    return Trace(agents, functools.partial(_stream, scene), op.as_records(prelude), info)


def _stream(scene: _Scene) -> Iterator[np.ndarray]:
    everybody = range(scene.threads + scene.devices)
    yield from _touches(scene, np.array([0]))
    yield barrier()
    if scene.devices:
        yield from _touches(scene, np.arange(scene.threads, scene.threads + scene.devices))
    yield _own_reads(everybody, 1)
    yield barrier()
    yield _unit(scene)
    if scene.busy and scene.others:
        yield _own_reads(scene.others, -(-(WORK + WORK_OF_A_PAGE * scene.pages) // OWN_PAGES))
    if scene.kind == "cow":
        yield from _touches(scene, np.array([0]))
    yield barrier()
    for agent in everybody if scene.busy else (0,):
        yield single(op.COMPUTE, agent, 1)


def _touches(scene: _Scene, agents: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a write to each touched page, by the agents in turn."""
    for first in range(0, scene.touched, BLOCK):
        turn = np.arange(first, min(first + BLOCK, scene.touched))
        ops = np.zeros(turn.size, op.OP)
        ops["address"] = BASE + (turn * scene.pages // scene.touched << op.PAGE_SHIFT)
        ops["count"], ops["kind"], ops["agent"] = 1, op.WRITE, agents[turn % agents.size]
        yield ops


def _own_reads(agents: range, count: int) -> np.ndarray:
    """Return `count` reads of each page that agents have for themselves: all read their first, then all their second and so on."""
    page, agent = np.divmod(np.arange(OWN_PAGES * len(agents)), len(agents))
    ops = np.zeros(page.size, op.OP)
    ops["agent"] = agents[0] + agent
    ops["address"] = OWN_BASE + (ops["agent"].astype(np.int64) * OWN_PAGES + page << op.PAGE_SHIFT)
    ops["count"], ops["kind"] = count, op.READ
    return ops


def _unit(scene: _Scene) -> np.ndarray:
    """Return the records of the operation."""
    if scene.kind == "mmap":
        return op.as_records(op.mmap_unit(BASE, scene.pages, PROT))
    if scene.kind == "munmap":
        return unit(op.MUNMAP, 0, scene.pages)
    if scene.kind == "mprotect":
        return unit(op.MPROTECT, 0, scene.pages, op.PROT_READ)
    if scene.kind == "mremap":
        return unit(op.MREMAP, 0, scene.pages, scene.pages, MOVED)
    return single(op.FORK, 0, 1) if scene.kind in FORKS else unit(op.MADVISE, 0, scene.pages, ADVICE[scene.kind])
