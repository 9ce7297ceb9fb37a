"""Join of two tables by hashing."""

import functools
from typing import Annotated

import numpy as np

from hwmodel import op
from hwmodel.jit import entry, part
from workloads.synthetic.parameters import Common, NotNegative, Share, check_range
from workloads.synthetic.programs.running import WORD, ProgramTrace, Run, meet, program, program_trace, put, whose
from workloads.synthetic.ranks import Ranks

KEY_BITS = 31
HASH_BITS = 32
FACTOR = 0x9E3779B1  # Knuth's multiplicative hashing: a prime near 2**32 / golden ratio
NOTHING = -1
MOST = 5  # most records of a step
CLEAR, BUILD, PROBE, FOLLOW, END = range(5)

JOIN = np.dtype((np.record, [
    ("step", "i8"),        # the next step
    ("at", "i8"),          # bucket to clear, or row of the table to read
    ("found", "i8"),       # row of the build table to compare, or NOTHING
    ("key", "i8"),         # of the probing row
    ("agent", "i8"),       # the probing agent
    ("matches", "i8"),     # pairs of rows with the same key so far
    ("total", "i8"),       # sum of the payloads of their build rows
    ("bits", "i8"),        # number of bits of a bucket's number
    ("build_keys", "i8"),  # addresses of the arrays
    ("payloads", "i8"),
    ("probe_keys", "i8"),
    ("buckets", "i8"),
    ("links", "i8"),
]))  # fmt: skip


@program()
def hash_join(
    common: Common,
    build: Annotated[int, 1, 1 << 28] = 65_536,
    probe: Annotated[int, 1, 1 << 32] = 262_144,
    copies: int = 1,
    matching: Share = 1.0,
    skew: NotNegative = 0.0,
) -> ProgramTrace:
    """Generate a join of two tables by a key, which adds up a column of the matches; all the loads and stores of its arrays.

    The hash join without partitioning, with one hash table that all share, as S. Blanas, Y. Li and J. Patel (SIGMOD 2011) compare it
    with partitioned ones; here with chained buckets: every bucket is emptied; every row of the build table is put before its
    bucket's chain; every row of the probe table follows its bucket's chain to the end, and a match reads the payload. Arrays of
    8-byte elements: `build_keys`, `payloads`, `probe_keys`, `buckets` (a row or -1; as many as the least power of two that is not
    below the build rows) and `links` (the next row of the chain, or -1). Filling the tables is not in the trace: the first three
    arrays are in memory from the beginning. Matches are counted, not stored.

    Parameters
    ----------
    build, probe : int
        Rows of the tables.
    copies : int
        Build rows with the same key; the last key may have fewer.
    matching : float
        Part of the probe rows that have a key of the build table, in [0, 1]; drawn for each.
    skew : float
        The keys are drawn by Zipf's law with this exponent; 0 is uniform.
    cpus, devices : int
        As for `uniform`; the agents that share buckets and rows. With several, a SYNC record ends the emptying and the building.
    grain : int
        Consecutive buckets or rows that go to one agent; they take turns.
    seed : int
        Seed for the tables.

    Returns
    -------
    ProgramTrace
        Lazy; keeps the tables. A run's `state` has `matches` and `total`. Records are in the order of the sequential algorithm.
    """
    check_range("copies", copies, 1, build)
    tables = _tables(build, probe, copies, matching, skew, np.random.default_rng(common.seed))
    buckets = 1 << (build - 1).bit_length()
    sizes = {name: table.nbytes for name, table in tables.items()} | {"buckets": buckets * WORD, "links": build * WORD}
    return program_trace(functools.partial(_start, tables, buckets), sizes, tables, common)


def _tables(
    build: int, probe: int, copies: int, matching: float, skew: float, random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return the tables. Keys are numbers scrambled one to one: the build table has the first, probe rows without a match the next."""
    distinct = -(-build // copies)
    salt = random.integers(0, 1 << KEY_BITS, 2)
    numbers = random.permutation(np.arange(build) // copies)
    wanted = Ranks(distinct, skew).draw(random, probe)
    wanted[random.random(probe) >= matching] += distinct
    payloads = random.integers(0, 1 << 20, build)
    return {"build_keys": _scramble(numbers, salt), "payloads": payloads, "probe_keys": _scramble(wanted, salt)}


def _scramble(numbers: np.ndarray, salt: np.ndarray) -> np.ndarray:
    """Map numbers of 31 bits to others one to one: every step is invertible."""
    mask = (1 << KEY_BITS) - 1
    for extra in salt:
        numbers = (numbers * 0x2C1B3C6D + extra) & mask  # an odd factor is invertible
        numbers = numbers ^ numbers >> 15
    return numbers


def _start(tables: dict[str, np.ndarray], buckets: int, bases: dict[str, int], deal: np.ndarray) -> Run:
    state = np.zeros(1, JOIN)
    for name, base in bases.items():
        state[name] = base
    state["bits"] = buckets.bit_length() - 1
    links = np.zeros(tables["build_keys"].size, np.int64)
    return Run(_join, state, deal, tables | {"buckets": np.zeros(buckets, np.int64), "links": links})


@entry
def _join(ops, state, deal, build_keys, payloads, probe_keys, buckets, links):
    """Continue the join until `ops` is full or all is done; return the number of records."""
    s, filled = state[0], 0
    while filled + MOST <= ops.size and s.step != END:
        if s.step == FOLLOW:
            filled = _follow(ops, filled, s, build_keys, payloads, probe_keys, links)
        elif s.step == PROBE:
            filled = _probe(ops, filled, s, deal, probe_keys, buckets)
        elif s.step == BUILD:
            filled = _build(ops, filled, s, deal, build_keys, buckets, links)
        else:
            filled = _clear(ops, filled, s, deal, buckets)
    return filled


@part
def _bucket(s, key):
    """Return the bucket of a key."""
    return (key * FACTOR & ((1 << HASH_BITS) - 1)) >> (HASH_BITS - s.bits)


@part
def _next(ops, filled, s, deal, items, step):
    """Advance to the next item, or after the last of them to another step."""
    s.at += 1
    if s.at < items:
        return filled
    s.at, s.step = 0, step
    return meet(ops, filled, deal)


@part
def _clear(ops, filled, s, deal, buckets):
    """Empty the next bucket."""
    buckets[s.at] = NOTHING
    filled = put(ops, filled, s.buckets + s.at * WORD, op.WRITE, whose(deal, s.at))
    return _next(ops, filled, s, deal, buckets.size, BUILD)


@part
def _build(ops, filled, s, deal, build_keys, buckets, links):
    """Put the next row of the build table before its bucket's chain."""
    agent, bucket = whose(deal, s.at), _bucket(s, build_keys[s.at])
    filled = put(ops, filled, s.build_keys + s.at * WORD, op.READ, agent)
    links[s.at] = buckets[bucket]
    filled = put(ops, filled, s.buckets + bucket * WORD, op.READ, agent)
    filled = put(ops, filled, s.links + s.at * WORD, op.WRITE, agent)
    buckets[bucket] = s.at
    filled = put(ops, filled, s.buckets + bucket * WORD, op.WRITE, agent)
    return _next(ops, filled, s, deal, build_keys.size, PROBE)


@part
def _probe(ops, filled, s, deal, probe_keys, buckets):
    """Find the chain of the next row of the probe table."""
    s.agent, s.key = whose(deal, s.at), probe_keys[s.at]
    bucket = _bucket(s, s.key)
    filled = put(ops, filled, s.probe_keys + s.at * WORD, op.READ, s.agent)
    s.found = buckets[bucket]
    filled = put(ops, filled, s.buckets + bucket * WORD, op.READ, s.agent)
    s.step = FOLLOW
    return filled


@part
def _follow(ops, filled, s, build_keys, payloads, probe_keys, links):
    """Follow the chain."""
    while s.found != NOTHING and filled + MOST <= ops.size:
        filled = put(ops, filled, s.build_keys + s.found * WORD, op.READ, s.agent)
        if build_keys[s.found] == s.key:
            filled = put(ops, filled, s.payloads + s.found * WORD, op.READ, s.agent)
            s.matches += 1
            s.total += payloads[s.found]
        filled = put(ops, filled, s.links + s.found * WORD, op.READ, s.agent)
        s.found = links[s.found]
    if s.found == NOTHING:
        s.at += 1
        s.step = PROBE if s.at < probe_keys.size else END
    return filled
