"""An oracle: replays a trace on dictionaries of pages and refuses what its program could not have done."""

from hwmodel import op

NEEDED = {op.READ: op.PROT_READ, op.WRITE: op.PROT_WRITE, op.FETCH: op.PROT_EXEC}
XPMEM, OWN = "xpmem", "own"


class IllegalError(Exception):
    """An access or an operation that fails."""


def require(holds, why):
    if not holds:
        raise IllegalError(why)


class Walker:
    """`spaces[space][page]` is (protection, kind, owner's space, owner's page); barriers are numbered."""

    def __init__(self, trace):
        self.agents = trace.agents
        self.spaces = {agent.space: {} for agent in trace.agents}
        self.attached, self.exited, self.guests = set(), set(), {}
        self.barrier, self.changed, self.read = 0, {}, {}
        self.run(trace.prelude.tolist())
        self.changed.clear()

    def run(self, records):
        records = list(records)
        while records:
            length = 1 + op.ARGS.get(records[0][3], 0)
            self.step(records[0], records[1] if length > 1 else None)
            del records[:length]

    def replay(self, trace):
        for chunk in trace.chunks(500):
            self.run(chunk.tolist())
        return self

    def step(self, record, arg):
        address, count, _, kind, agent = record
        space, page = self.agents[agent].space, address >> op.PAGE_SHIFT
        require(space not in self.exited, "a dead space acts")
        if kind <= op.FETCH:
            self.access(space, page, kind)
            if self.agents[agent].role == "device" and space in self.guests:
                require(page in self.guests[space], "the guest has not mapped it")
            return
        if kind == op.SYNC:
            self.barrier += 1
        elif kind in (op.ATTACH, op.DETACH):
            require((kind == op.DETACH) == ((space, count) in self.attached), "attached twice or not at all")
            self.attached ^= {(space, count)}
        elif kind == op.FORK:
            require(not self.spaces[count], "the child is there already")
            self.spaces[count] = dict(self.spaces[space])
        elif kind == op.EXIT:
            self.exited.add(space)
        elif kind != op.SYSCALL:
            self.operate(kind, space, range(page, page + count), arg)

    def access(self, space, page, kind):
        require(page in self.spaces[space], "not mapped")
        protection, how, owner, theirs = self.spaces[space][page]
        require(protection & NEEDED[kind], "protected")
        if how == XPMEM:
            require((space, owner) in self.attached, "not attached")
            require(self.changed.get((owner, theirs), -1) < self.barrier, "may come before the owner maps it")
            self.read[owner, theirs] = self.barrier
            self.access(owner, theirs, kind)

    def operate(self, kind, space, pages, arg):
        mapped = self.spaces[space]
        if kind == op.MMAP:
            how = XPMEM if arg[1] >> 3 & 7 == op.XPMEM else OWN
            for i, page in enumerate(pages):
                require(page not in mapped, "mapped already")
                mapped[page] = (arg[1] & 7, how, (arg[1] >> op.FILE_SHIFT) - 1, arg[0] + i)
                self.changed[space, page] = self.barrier
            return
        require(all(page in mapped for page in pages), "an operation on what is not mapped")
        if kind == op.MUNMAP:
            for page in pages:
                require(self.read.get((space, page), -1) < self.barrier, "somebody may still read it")
                del mapped[page]
                self.changed[space, page] = self.barrier
        elif kind == op.MPROTECT:
            mapped.update({page: (arg[1], *mapped[page][1:]) for page in pages})
        elif kind == op.KSM_MERGE:
            others = range(arg[0] >> op.PAGE_SHIFT, (arg[0] >> op.PAGE_SHIFT) + len(pages))
            require(all(page in self.spaces[arg[1]] for page in others), "merged with what is not mapped")
        elif kind == op.GUEST:
            self.operate_guest(space, pages, arg[1] >> op.GUEST_SHIFT)
        else:
            require(kind in (op.MADVISE, op.MIGRATE, op.DIRTY_LOG), f"kind {kind}")

    def operate_guest(self, space, pages, kind):
        guest = self.guests.setdefault(space, set())
        require(all((page in guest) == (kind != op.MMAP) for page in pages), "mapped twice or not at all by the guest")
        guest ^= set(pages)
