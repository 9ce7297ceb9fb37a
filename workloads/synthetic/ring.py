"""A ring of pages that one agent writes and another reads later."""

import functools
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np

from hwmodel import op
from hwmodel.jit import entry, part
from hwmodel.trace import Trace
from workloads.synthetic.drawing import BASE, BLOCK, region
from workloads.synthetic.parameters import REGION, Common, Positive, check_range, make_agents, workload

RING = np.dtype((np.record, [
    ("pages", "i8"),       # of the ring
    ("batch", "i8"),       # pages
    ("lag", "i8"),         # batches by which the reader is behind the writer
    ("per_page", "i8"),    # accesses of each side to a page
    ("sync", "i8"),        # 1: writer and reader meet between batches
    ("producer", "i8"),    # agent numbers
    ("consumer", "i8"),
]))  # fmt: skip


@workload(writes=None, pages=None, cpus=None, devices=None, seed=None)
def producer_consumer(
    common: Common,
    pages: int = 256,
    batch: Positive = 8,
    lag: int = 1,
    per_page: Annotated[int, 1, op.PAGE // 8] = 64,
    producer: Literal["cpu", "device"] = "cpu",
    consumer: Literal["cpu", "device"] = "device",
    sync: bool = True,
) -> Trace:
    """Generate an agent that fills a ring buffer batch by batch, and another that reads each batch while a later one is written.

    The bounded buffer with one producer and one consumer, as a driver shares one with its device. Nothing is drawn.

    Parameters
    ----------
    accesses : int
        Total of both; a record each.
    pages : int
        Pages of the ring, a multiple of `batch`.
    batch : int
        Pages that are written between two meetings, while as many are read.
    lag : int
        Batches by which the reader is behind, from 1 to one less than the ring has: so it reads only written batches, and
        no batch is overwritten before it is read.
    per_page : int
        Accesses of each side to each page, from 1 to 512, at evenly spaced words.
    producer, consumer : "cpu" or "device"
        Roles of the writer and the reader, of one address space. A trace with devices has at least one CPU.
    sync : bool
        Whether both meet between batches, in a SYNC record of the producer's; otherwise only the order of the records keeps them apart.
    """
    check_range("pages", pages, 2 * batch, REGION)
    if pages % batch:
        raise op.TraceError(f"pages must be a multiple of batch ({batch}), not {pages}")
    check_range("lag", lag, 1, pages // batch - 1)
    cpus = max(1, (producer, consumer).count("cpu"))
    agents = make_agents(cpus, (producer, consumer).count("device"))
    writer = 0 if producer == "cpu" else cpus
    reader = len(agents) - 1 if consumer == "device" else cpus - 1
    ring = np.array([(pages, batch, lag, per_page, sync, writer, reader)], RING)
    accesses, prelude = common.accesses, op.as_records(region(pages))
    records = accesses + (_steps(accesses, batch * per_page, lag) - 1 if sync else 0)
    return Trace(agents, functools.partial(_stream, ring, accesses), prelude, common.info, records=records, references=accesses)


def _steps(accesses: int, part: int, lag: int) -> int:
    """Return the number of batches begun: the first `lag` are only written, `part` accesses each, the others twice as many."""
    return -(-accesses // part) if accesses <= lag * part else lag - (lag * part - accesses) // (2 * part)


def _stream(ring: np.ndarray, accesses: int) -> Iterator[np.ndarray]:
    for first in range(0, accesses, BLOCK):
        size = min(BLOCK, accesses - first)
        ops = np.empty(2 * size, op.OP)  # room for a meeting before every access
        yield ops[: _turn(ops, first, size, ring)]


@entry
def _turn(ops, first, size, ring):
    """Fill in `size` accesses from `first` on and the meetings before them; return the number of records."""
    r, filled = ring[0], 0
    side = r.batch * r.per_page
    alone = r.lag * side
    for i in range(first, first + size):
        late = i >= alone
        step = r.lag + (i - alone) // (2 * side) if late else i // side
        at = (i - alone) % (2 * side) if late else i % side
        if at == 0 and step > 0 and r.sync:
            op.write(ops[filled], 0, 0, 0, op.SYNC, r.producer)
            filled += 1
        if not late:
            op.write(ops[filled], _word(r, step, at), 1, 0, op.WRITE, r.producer)
        elif at & 1 == 0:
            op.write(ops[filled], _word(r, step, at >> 1), 1, 0, op.WRITE, r.producer)
        else:
            op.write(ops[filled], _word(r, step - r.lag, at >> 1), 1, 0, op.READ, r.consumer)
        filled += 1
    return filled


@part
def _word(r, step, at):
    """Return the address of access `at` of a side to the batch of a step."""
    page = (step * r.batch + at // r.per_page) % r.pages
    return BASE + (page << op.PAGE_SHIFT) + at % r.per_page * (op.PAGE // 8 // r.per_page * 8)
