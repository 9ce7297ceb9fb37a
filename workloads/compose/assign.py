"""Other roles, address spaces and names for the agents of a trace."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.compose.numbering import Numbers, chosen, finished, joined

DEVICE_KINDS = (op.READ, op.WRITE, op.COMPUTE, op.SYNC, op.ATTACH, op.DETACH, op.GUEST)
"""Record kinds that a device can issue; of these only GUEST has ARG records."""


def assign(
    trace: Trace,
    roles: Mapping[int, Literal["cpu", "device"]] | None = None,
    spaces: Mapping[int, int] | None = None,
    names: Mapping[int, str] | None = None,
    others: Literal["refuse", "drop"] = "refuse",
) -> Trace:
    """Make agents CPUs or devices, put them in other address spaces, give them other names.

    Initial memory belongs to address spaces, not to agents: an agent that joins a space finds that space's mappings. A space
    that had no agent begins with a copy of the initial memory of its first agent's old space; a space that loses
    all its agents is gone. If all agents of a space move to one other space, records that name the old space (FORK, ATTACH,
    DETACH, KSM_MERGE, XPMEM mappings) name the other; otherwise they stay as they are.

    Parameters
    ----------
    roles : mapping of agent to "cpu" or "device", optional
        A device issues only reads, writes, compute, sync, attach, detach and guest records.
    spaces : mapping of agent to int, optional
        Address spaces in [0, 128).
    names : mapping of agent to str, optional
        Names for results.
    others : "refuse" or "drop"
        Whether to refuse or drop fetches, operations and system calls of agents that become devices.

    Returns
    -------
    Trace
        Lazy; as long as `trace` if nothing can be dropped.

    Raises
    ------
    TraceError
        If there is no such agent, role or space; from the iteration, naming the record, if a device would issue a record that
        only a CPU may issue.
    """
    roles, spaces, names = dict(roles or {}), dict(spaces or {}), dict(names or {})
    for agent in (*roles, *spaces, *names):
        if not 0 <= agent < len(trace.agents):
            raise op.TraceError(f"assign: agent {agent} is not in the trace, which has {len(trace.agents)}")
    if others not in ("refuse", "drop"):
        raise op.TraceError(f"assign: others must be 'refuse' or 'drop', not {others!r}")
    agents = [
        op.Agent(roles.get(i, old.role), spaces.get(i, old.space), names.get(i, old.name)) for i, old in enumerate(trace.agents)
    ]
    numbers = Numbers(trace, range(len(agents)), _moved_as_a_whole(trace.agents, agents))
    new = np.array([old.role == "cpu" and now.role == "device" for old, now in zip(trace.agents, agents, strict=True)])
    source = functools.partial(_assigned, numbers, new, others == "drop")
    sizes = None if others == "drop" and new.any() else trace.known_size
    info: dict[str, Any] = {"roles": roles, "spaces": spaces, "names": names, "others": others}
    info = {key: {str(i): part for i, part in value.items()} if isinstance(value, dict) else value for key, value in info.items()}
    prelude = _settled(numbers.prelude(), trace.agents, agents)
    return finished(Trace(agents, source, prelude, trace.info | {"assign": info}, trace.name, *(sizes or (None, None))))


def _moved_as_a_whole(old: Sequence[op.Agent], new: Sequence[op.Agent]) -> dict[int, int]:
    """Return the spaces of which all agents move to one other space, with that space."""
    targets: dict[int, set[int]] = {}
    for before, after in zip(old, new, strict=True):
        targets.setdefault(before.space, set()).add(after.space)
    return {space: target.pop() for space, target in targets.items() if len(target) == 1}


def _settled(prelude: np.ndarray, old: Sequence[op.Agent], new: Sequence[op.Agent]) -> np.ndarray:
    """Return the initial mappings after reassignment; a new space inherits those of its first agent's old space."""
    before = np.array([agent.space for agent in old])[prelude["agent"]]
    had = {agent.space for agent in old}
    pieces = []
    for space in dict.fromkeys(agent.space for agent in new):
        first = next(i for i, agent in enumerate(new) if agent.space == space)
        piece = op.copy_records(prelude[before == (space if space in had else old[first].space)])
        stayed = np.array([agent.space == space for agent in new])[piece["agent"]]
        piece["agent"] = np.where(stayed, piece["agent"], first)
        pieces.append(piece)
    unmoved = [agent.space for agent in old] == [agent.space for agent in new]
    return prelude if unmoved else joined(pieces)


def _assigned(numbers: Numbers, new: np.ndarray, drop: bool) -> Iterator[np.ndarray]:
    """Yield the records unchanged, without those that new devices can't issue."""
    before = 0
    for chunk in numbers.chunks():
        bad = _cannot(chunk, new) if new.any() else np.zeros(chunk.size, bool)
        if bad.any() and not drop:
            at = int(np.flatnonzero(bad)[0])
            kind, agent = int(chunk["kind"][at]) & ~op.CONTINUES, int(chunk["agent"][at])
            where = f"{numbers.trace.prefix}record {before + at}"
            raise op.TraceError(f"{where}: assign: {op.NAMES[kind]} by agent {agent}, which becomes a device")
        before += chunk.size
        rest = chosen(chunk, ~bad) if bad.any() else chunk
        if rest.size:
            yield rest


def _cannot(chunk: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return bool[n]: the records of new devices that no device can issue, as whole units."""
    kind = chunk["kind"] & ~op.CONTINUES
    bad = new[chunk["agent"]] & ~np.isin(kind, DEVICE_KINDS)
    heads = np.flatnonzero(kind == op.GUEST)
    bad[heads + 1] = False
    bad[heads[chunk["count"][heads] == -1] + 2] = False
    return bad
