"""Operations that turn one layout of an address space into another."""

from hwmodel import op
from workloads.compose.mappings import Mapping, Memory

STACK_PAGES = 2048  # Linux lets a stack grow to 8 MiB (RLIMIT_STACK): its pages may lie this far below its mapping

Records = list[tuple[int, int, int, int, int]]


def seam_units(have: Memory, want: Memory, agent: int, fresh: bool) -> Records:
    """Return the records that turn one layout into the other; mappings that both have are not touched unless `fresh`.

    Parameters
    ----------
    have : Memory
        The present mappings; changed to the new ones.
    want : Memory
        The wanted mappings.
    agent : int
        The agent that issues the operations.
    fresh : bool
        Unmap everything first.
    """
    have, records = have.copy(), Records()
    moves = _break_moves(have, want)
    first, end = min(moves, default=0), max(moves, default=0)
    for mapping in list(have.mappings):
        in_the_way = mapping.first < end and mapping.end > first  # of the break, or unmapped with the heap
        for piece in _unlike(mapping, [] if fresh or in_the_way else want.mappings):
            low = _grown(have, piece) if piece.first == mapping.first else piece.first
            records += op.paged_unit(op.MUNMAP, low << op.PAGE_SHIFT, piece.end - low, agent=agent)
            have.remove(low, piece.end)
    for page in moves[1:]:
        before = have.break_
        records.append((page << op.PAGE_SHIFT, 0, 0, op.BRK, agent))
        have.set_break(page << op.PAGE_SHIFT)
        if before is not None and page > before:  # the heap begins empty
            records += op.paged_unit(op.MUNMAP, before << op.PAGE_SHIFT, page - before, agent=agent)
            have.remove(before, page)
    for mapping in want.mappings:
        for piece in _unlike(mapping, have.mappings):
            records += piece.unit(agent)
    return records


def _break_moves(have: Memory, want: Memory) -> list[int]:
    """Return [present break, new break], in pages; empty if the break stays."""
    target = have.first_break if want.break_ is None else want.break_
    if target is None or target == have.break_:
        return []
    return [target if have.break_ is None else have.break_, target]


def _unlike(mapping: Mapping, others: list[Mapping]) -> list[Mapping]:
    """Return the subranges of `mapping` not identically mapped in `others` (sorted, disjoint)."""
    pieces, at = [], mapping.first
    for other in others:
        if other.first < mapping.end and other.end > mapping.first and mapping.is_like(other):
            if other.first > at:
                pieces.append(mapping.part(at, other.first))
            at = other.end
    return [*pieces, mapping.part(at, mapping.end)] if at < mapping.end else pieces


def _grown(have: Memory, mapping: Mapping) -> int:
    """Return the first page that a stack may have grown to; the mapping's first page if it does not grow."""
    if not mapping.flags & op.GROWS_DOWN:
        return mapping.first
    below = max((other.end for other in have.mappings if other.end <= mapping.first), default=0)
    return max(below, mapping.first - STACK_PAGES)
