"""GUPS: random updates of a large table."""

import functools
from typing import Annotated

import numpy as np

from hwmodel import op
from hwmodel.jit import entry, part
from workloads.synthetic.parameters import Common, check_range
from workloads.synthetic.programs.running import WORD, ProgramTrace, Run, meet, program, program_trace, put, whose

POLYNOMIAL = 7
PERIOD = 1_317_624_576_693_539_401
"""Period of HPCC's random numbers: each is the previous one shifted left by a bit, xor the polynomial if a 1 was shifted out."""
MOST = 2  # most records of a step
FILL, UPDATE, END = range(3)

GUPS = np.dtype((np.record, [
    ("step", "i8"),        # the next step
    ("at", "i8"),          # element to fill or update
    ("updates", "i8"),
    ("table", "i8"),       # address of the array
]))  # fmt: skip


@program(grain=1)
def gups(common: Common, scale: Annotated[int, 0, 32] = 20, updates: int | None = None) -> ProgramTrace:
    """Generate updates of random elements of a table, each a load and a store: HPCC's RandomAccess.

    The table of 8-byte words is filled with their numbers, then each random number is xor-ed into the element named by its low bits. The
    numbers are the benchmark's own stream. HPCC's reference takes 128 places of the stream in turn; here each agent has a place.

    Parameters
    ----------
    scale : int
        The table has 2**scale words; from 0 to 32.
    updates : int, optional
        Total number; by default 4 for each word, as in HPCC.
    cpus, devices : int
        As for `uniform`; the agents share the filling by parts of `grain` words, and the updates: each has its own
        stretch of the stream, and they take turns. With several, a SYNC record ends the filling.
    grain : int
        Consecutive words, or updates, that go to one agent.
    seed : int
        Stretch of the stream: with 0 it begins where HPCC's does, with k after k times as many numbers as there are updates.

    Returns
    -------
    ProgramTrace
        Lazy. A run's `arrays["table"]` is the result.
    """
    updates = 4 << scale if updates is None else updates
    check_range("updates", updates, 0, 1 << 60)
    common.info["updates"] = updates
    return program_trace(functools.partial(_start, 1 << scale, updates, common.seed), {"table": WORD << scale}, (), common)


def random_number(place: int) -> int:
    """Return number `place` of HPCC's stream, as a signed word; number 0 is 1."""
    number, factor, place = 1, 2, place % PERIOD
    while place:
        if place & 1:
            number = _times(number, factor)
        factor, place = _times(factor, factor), place >> 1
    return number - (1 << 64) if number >> 63 else number


def _times(a: int, b: int) -> int:
    """Return the product of two polynomials over bits, modulo x**64 + x**2 + x + 1."""
    product = 0
    for bit in reversed(range(64)):
        product = product << 1 ^ (POLYNOMIAL | 1 << 64 if product >> 63 else 0)
        if b >> bit & 1:
            product ^= a
    return product


def _start(size: int, updates: int, seed: int, bases: dict[str, int], deal: np.ndarray) -> Run:
    agents, grain = int(deal["agents"][0]), int(deal["grain"][0])
    turns, rest = divmod(updates, agents * grain)
    shares = turns * grain + np.clip(rest - np.arange(agents) * grain, 0, grain)
    places = np.cumsum(shares) - shares
    numbers = np.array([random_number(seed * updates + int(place)) for place in places], np.int64)
    state = np.array([(FILL, 0, updates, bases["table"])], GUPS)
    return Run(_update, state, deal, {"table": np.zeros(size, np.int64), "numbers": numbers})


@entry
def _update(ops, state, deal, table, numbers):
    """Continue to fill or update until `ops` is full or all is done; return the number of records."""
    s, filled = state[0], 0
    while filled + MOST <= ops.size and s.step != END:
        filled = _fill(ops, filled, s, deal, table) if s.step == FILL else _updates(ops, filled, s, deal, table, numbers)
    return filled


@part
def _fill(ops, filled, s, deal, table):
    """Fill in the next element; append a meeting after the last."""
    table[s.at] = s.at
    filled = put(ops, filled, s.table + s.at * WORD, op.WRITE, whose(deal, s.at))
    s.at += 1
    if s.at == table.size:
        filled = meet(ops, filled, deal)
        s.at, s.step = 0, UPDATE if s.updates > 0 else END
    return filled


@part
def _updates(ops, filled, s, deal, table, numbers):
    """Update elements."""
    while s.at < s.updates and filled + MOST <= ops.size:
        agent = whose(deal, s.at)
        number = numbers[agent - deal[0].first]
        number = (number << 1) ^ (POLYNOMIAL if number < 0 else 0)
        numbers[agent - deal[0].first] = number
        place = number & (table.size - 1)
        table[place] ^= number
        filled = put(ops, filled, s.table + place * WORD, op.READ, agent)
        filled = put(ops, filled, s.table + place * WORD, op.WRITE, agent)
        s.at += 1
    if s.at == s.updates:
        s.step = END
    return filled
