"""What a trace says, access by access: for comparison with parsers that are as plain as can be."""

from hwmodel import op


def expand(trace):
    """Per agent and stream (fetches, data), each access's (kind, page); and the records that are no accesses, in order."""
    streams, others = {}, []
    for chunk in trace.chunks():
        for address, count, _, kind, agent in chunk.tolist():
            plain = kind & ~op.CONTINUES
            if kind >= 0 and plain <= op.FETCH:
                streams.setdefault((agent, plain == op.FETCH), []).extend([(kind, address >> op.PAGE_SHIFT)] * count)
            else:
                others.append((address, count, kind, agent))
    return streams, others


def expected(accesses, agent_of=lambda space: 0):
    """The same of a plain list of (kind, address, space)."""
    streams = {}
    for kind, address, space in accesses:
        fetch = kind & ~op.CONTINUES == op.FETCH
        streams.setdefault((agent_of(space), fetch), []).append((kind, address >> op.PAGE_SHIFT))
    return streams
