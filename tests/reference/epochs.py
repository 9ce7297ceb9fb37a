"""When an operation opens its epoch (docs/model.md, 3.6)."""


def begin(agent, op):
    """The operation begins: its epoch opens now, or in a later step of it."""
    agent.unopened = True
    if op.name == "sync":
        for space in agent.world.spaces.values():
            space.epoch += 1
        agent.unopened = False
    elif not waits(agent.space, op):
        open_epoch(agent)


def open_epoch(agent):
    """It opens, once."""
    if agent.unopened:
        agent.space.epoch += 1
    agent.unopened = False


def waits(space, op):
    """Whether something is legal after the operation that is not so, or may not stay so, from its beginning on."""
    if op.name in ("fork", "exit"):
        return False
    if op.name == "mmap":
        return True
    if op.name == "brk":
        new = -(-op.address // 4096)
        if new > space.brk > 0:
            return True
        return new < space.brk and below_stack(space, space.brk)
    if op.name == "mremap":
        address, pages = op.args[0]
        if address >> 12 != op.vpn or pages > op.count:
            return True
    if op.name == "mprotect":
        prot = op.args[0][1] & 7
        if any(prot & ~vma.prot for vma in space.vmas.in_range(op.vpn, op.last)):
            return True
    return below_stack(space, op.last)


def below_stack(space, last):
    """Whether the mapping above a range that ends at `last` is one that grows."""
    vma = space.vmas.next(last)
    return vma is not None and vma.grows
