"""Records, epochs, and what an agent has to pass before a record begins (docs/model.md, section 3)."""

from dataclasses import dataclass, field

from hwmodel import op as o
from tests.reference import epochs
from tests.reference.rows import step

INFINITE = 1 << 60


@dataclass
class Op:
    """One unit of the trace."""

    index: int
    agent: int
    name: str
    address: int
    count: int
    gap: int
    crosses: bool = False
    args: list = field(default_factory=list)  # (address, count) of the ARG records
    epoch: int = 0
    opens: bool = False
    edge: bool = False  # a SYNC that is no record: a part of the run ends there (12.4)

    @property
    def vpn(self):
        """The page of the address."""
        return self.address >> 12

    @property
    def last(self):
        """The end of the range of a paged operation, exclusive."""
        return self.vpn + self.count


def units(chunks):
    """The units of a stream of record arrays; and the number of records."""
    found, total = [], 0
    for chunk in chunks:
        for record in chunk:
            address, count, gap, kind, agent = (int(column) for column in record.item())
            if kind == o.ARG:
                found[-1].args.append((address, count))
            else:
                name = o.NAMES[kind & ~o.CONTINUES]
                found.append(Op(total, agent, name, address, count, gap, bool(kind & o.CONTINUES)))
            total += 1
    for op in found:
        if op.count == -1:
            op.count = op.args.pop()[0]
    return found, total


def insert_edges(ops, edges):
    """Put a SYNC of the same agent before the first unit or access from each of these records on (12.4); the others' numbers grow."""
    wanted, whole = sorted(edges), []
    for op in ops:
        while wanted and wanted[0] <= op.index and not op.crosses:
            wanted.pop(0)
            whole.append(Op(op.index, op.agent, "sync", 0, 0, 0, edge=True))
        whole.append(op)
    assert not wanted, "an edge behind the end"
    passed = 0
    for op in whole:
        op.index += passed
        passed += op.edge
    return whole


def number_epochs(ops, agents):
    """Give every unit its epoch."""
    changing = {o.NAMES[kind] for kind in o.VMA_CHANGING}
    opened = dict.fromkeys((agent.space for agent in agents), 0)
    for op in ops:
        space = agents[op.agent].space
        op.epoch = opened[space]
        op.opens = op.name in changing or op.name == "sync"
        if op.name == "sync":
            for each in opened:
                opened[each] += 1
        elif op.opens:
            opened[space] += 1


def floor(world, agent):
    """Rule 3.2."""
    blocks = [other.block_number for other in world.agents if other.has_trace and other is not agent]
    blocks += [world.block_of(request.index) for request in world.requests if not request.free]
    return min(blocks, default=INFINITE)


def is_ahead(world, agent):
    """Whether another agent, or a request, still is in a block before the agent's: floor(agent) < its block."""
    block = agent.block_number
    for other in world.agents:
        if other.block_number < block and other.has_trace:
            return True
    return any(not request.free and world.block_of(request.index) < block for request in world.requests)


def at_gate(agent, block):
    """Try to enter a block; returns whether it did."""
    world = agent.world
    limit = floor(world, agent) + 1
    if block > limit:
        agent.block_number = limit
        agent.sleep("gate_wait")
        agent.cause = lambda: not is_ahead(world, agent)
        return False
    agent.block_number = block
    return True


def done_with_trace(agent):
    """READY without a record left; ends the agent's program."""
    world = agent.world
    while True:
        yield from step(agent, "READY")
        limit = floor(world, agent) + 1
        last = world.block_of(world.records - 1)
        if limit < last:
            at_gate(agent, last)
        elif agent.role == "cpu" or world.design.all_there(agent):
            break
    agent.done = True
    agent.in_guest = False
    agent.block_number = INFINITE
    agent.due = 1 << 62
    if agent in agent.space.mask:
        agent.space.mask[agent].lazy = True


def enter(agent, op):
    """What comes before a record; ends in the step in which it begins."""
    world, space = agent.world, agent.space
    while True:
        yield from step(agent, "READY")
        before = agent.block_number
        if at_gate(agent, world.block_of(op.index)):
            break
    if agent.block_number != before:
        yield from step(agent, "READY")
    if op.gap > 0:
        agent.gap = op.gap * world.cost.instruction
        agent.spend("instruction", agent.gap)
        yield from step(agent, "READY")
    while True:
        if not space.born:
            agent.sleep("idle")
            agent.cause = lambda: space.born
        elif op.epoch > space.epoch:
            agent.sleep("order_wait")
            agent.cause = lambda: op.epoch <= space.epoch
        elif op.opens and earlier_is_incomplete(agent, op):
            agent.sleep("order_wait")
            agent.cause = lambda: not earlier_is_incomplete(agent, op)
            agent.opener = op
        elif op.opens and agent.role == "engine" and world.design.last_data(agent) > agent.clock:
            world.design.land(agent, INFINITE)
            agent.due = agent.clock
        elif op.opens and latest_end(agent, op) > agent.clock:
            agent.wait("order_wait", latest_end(agent, op))
        else:
            break
        yield from step(agent, "READY")
    if op.opens:
        epochs.begin(agent, op)


def others(agent, op):
    """The other agents whose records an opener has to wait for."""
    return [other for other in agent.world.agents if other.has_trace and other is not agent
            and (op.name == "sync" or other.space is agent.space)]  # fmt: skip


def earlier_is_incomplete(agent, op):
    """Whether an earlier record of the opener's space is incomplete."""
    for other in others(agent, op):
        if other.position < len(other.ops) and other.ops[other.position].index < op.index:
            return True
    return any(not request.free and request.index < op.index and (op.name == "sync" or request.space is agent.space)
               for request in agent.world.requests)  # fmt: skip


def latest_end(agent, op):
    """The largest done_at of the other agents of the opener's space."""
    return max((other.done_at for other in others(agent, op)), default=0)


def look_for_wakings(world):
    """Rule 3.5, after every step."""
    for agent in world.agents:
        if agent.cause is not None and agent.cause():
            op, agent.cause, agent.opener = agent.opener, None, None
            until = max(world.now, latest_end(agent, op)) if op else world.now
            if agent.role == "engine":
                world.design.land(agent, until)
            agent.wake(until)
