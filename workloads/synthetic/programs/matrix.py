"""Product of a sparse matrix and a vector."""

import functools
from typing import Annotated

import numpy as np

from hwmodel import op
from hwmodel.jit import entry, part
from workloads.synthetic.parameters import Common, Count, Natural, Positive
from workloads.synthetic.programs.running import WORD, ProgramTrace, Run, meet, program, program_trace, put, whose

NARROW = 4  # bytes of a column number
MOST = 4  # most records of a step
ROW, ENTRY, STORE, END = range(4)

PRODUCT = np.dtype((np.record, [
    ("step", "i8"),        # the next step
    ("times", "i8"),       # remaining products, this one included
    ("row", "i8"),
    ("entry", "i8"),       # index in columns and values
    ("entry_end", "i8"),
    ("total", "f8"),       # of the row so far
    ("agent", "i8"),       # the row's agent
    ("offsets", "i8"),     # addresses of the arrays
    ("columns", "i8"),
    ("values", "i8"),
    ("x", "i8"),
    ("y", "i8"),
]))  # fmt: skip


@program()
def spmv(
    common: Common, rows: Count = 65_536, per_row: Annotated[int, 0, 1 << 20] = 16, band: Natural = 0, times: Positive = 1
) -> ProgramTrace:
    """Generate the product y = A x with a square matrix in compressed sparse rows (CSR): all the loads and stores of its arrays.

    The textbook kernel, row by row: a row's bounds, then for each entry its column, its value and the element of x that the column names;
    then the store to y. Arrays: `offsets`, `values`, `x` and `y` of 8-byte elements, `columns` of 4-byte ones. Filling them is not in
    the trace: all but `y` are in memory from the beginning.

    Parameters
    ----------
    rows : int
        Number of rows and of columns.
    per_row : int
        Entries of each row; a column may be drawn twice, then its values add up.
    band : int
        Largest distance of a column from the diagonal, drawn uniformly; 0: anywhere.
    times : int
        Number of times that the product is computed, as by an iterative solver.
    cpus, devices : int
        As for `uniform`; the agents that share the rows. With several, a SYNC record is between two products.
    grain : int
        Consecutive rows that go to one agent; they take turns.
    seed : int
        Seed for the matrix and x.

    Returns
    -------
    ProgramTrace
        Lazy; keeps the matrix. A run's `arrays["y"]` is the result.
    """
    matrix = _matrix(rows, per_row, band, np.random.default_rng(common.seed))
    sizes = {name: max(array.nbytes, 1) for name, array in matrix.items()} | {"y": rows * WORD}
    return program_trace(functools.partial(_start, matrix, times), sizes, matrix, common)


def _matrix(rows: int, per_row: int, band: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    diagonal = np.arange(rows)[:, None]
    low, high = (np.maximum(diagonal - band, 0), np.minimum(diagonal + band + 1, rows)) if band else (0, rows)
    columns = np.sort(random.integers(low, high, (rows, per_row), dtype=np.int32), axis=1).ravel()
    values = random.standard_normal(columns.size)
    offsets = np.arange(rows + 1, dtype=np.int64) * per_row
    return {"offsets": offsets, "columns": columns, "values": values, "x": random.standard_normal(rows)}


def _start(matrix: dict[str, np.ndarray], times: int, bases: dict[str, int], deal: np.ndarray) -> Run:
    state = np.zeros(1, PRODUCT)
    for name, base in bases.items():
        state[name] = base
    state["times"] = times
    return Run(_multiply, state, deal, matrix | {"y": np.zeros(matrix["x"].size)})


@entry
def _multiply(ops, state, deal, offsets, columns, values, x, y):
    """Continue the product until `ops` is full or all is done; return the number of records."""
    s, filled = state[0], 0
    while filled + MOST <= ops.size and s.step != END:
        if s.step == ENTRY:
            filled = _entries(ops, filled, s, columns, values, x)
        elif s.step == ROW:
            filled = _row(ops, filled, s, deal, offsets)
        else:
            filled = _store(ops, filled, s, deal, y)
    return filled


@part
def _row(ops, filled, s, deal, offsets):
    """Begin a row."""
    s.agent, s.total = whose(deal, s.row), 0.0
    s.entry, s.entry_end = offsets[s.row], offsets[s.row + 1]
    filled = put(ops, filled, s.offsets + s.row * WORD, op.READ, s.agent)
    filled = put(ops, filled, s.offsets + (s.row + 1) * WORD, op.READ, s.agent)
    s.step = ENTRY
    return filled


@part
def _entries(ops, filled, s, columns, values, x):
    """Add up the row's entries."""
    while s.entry < s.entry_end and filled + MOST <= ops.size:
        column = int(columns[s.entry])
        filled = put(ops, filled, s.columns + s.entry * NARROW, op.READ, s.agent)
        filled = put(ops, filled, s.values + s.entry * WORD, op.READ, s.agent)
        filled = put(ops, filled, s.x + column * WORD, op.READ, s.agent)
        s.total += values[s.entry] * x[column]
        s.entry += 1
    if s.entry == s.entry_end:
        s.step = STORE
    return filled


@part
def _store(ops, filled, s, deal, y):
    """End a row, and after the last row the product."""
    y[s.row] = s.total
    filled = put(ops, filled, s.y + s.row * WORD, op.WRITE, s.agent)
    s.row += 1
    s.step = ROW
    if s.row == y.size:
        s.row, s.times = 0, s.times - 1
        if s.times == 0:
            s.step = END
        else:
            filled = meet(ops, filled, deal)
    return filled
