"""Rows of the oracle: agents and requests, and the only ways their clocks move (docs/model.md, sections 1 and 2)."""

from collections import Counter

NEVER = 1 << 62


def step(row, name):
    """Begin a step called `name`: a new turn in (due, id) order, unless the present one has not been used yet."""
    row.phase = name
    if row.used:
        yield
    row.used = True


def skip(row):
    """Nothing was done in the step just begun: what follows goes on in it."""
    row.used = False


class Row:
    """Anything with an id and a due."""

    def __init__(self, world, number):
        self.world = world
        self.id = number
        self.due = NEVER
        self.phase = "READY"
        self.used = False
        self.queued = False  # for a lock
        self.windows = []  # when those began that it has open
        self.program = None


class Agent(Row):
    """A CPU row or an engine row."""

    is_request = False

    def __init__(self, world, number, role, name, space):
        super().__init__(world, number)
        self.role, self.name, self.space = role, name, space
        self.clock = self.due = self.done_at = self.busy_until = 0
        self.wait_from = self.wait_until = 0
        self.wait_account = ""
        self.blocked = self.owned = self.woken = self.done = False
        self.served = self.own_from = self.wake_at = 0
        self.waits = self.stopped = False  # an engine: until it can issue; since a request is to have its CPU
        self.taker = None  # an engine: the request that has its CPU
        self.effect = 0
        self.opener = None
        self.unopened = False  # its operation has an epoch still to open
        self.cause = None  # why it is blocked, where rule 3.5 wakes it: a function that says whether it may go on
        self.pending = []  # services that arrived while it was owned: (arrival, row id, kind, what)
        self.ops, self.position, self.block_number = [], 0, 0
        self.has_trace = False
        self.halves = {}  # stream -> (missed L1, missed stlb) of the latest access, for crossing accesses
        self.ledger, self.counters = Counter(), Counter()
        self.past = 0  # how far its clock came in earlier parts of the run
        self.gap = 0  # cycles of the gap of a record that it has not completed
        self.serving = Counter()  # of the ledger, what was done for requests (12.1)

    @property
    def cpu(self):
        """The row's CPU."""
        return self

    @property
    def label(self):
        """What events call it: its name, numbered if others have the same."""
        others = [agent for agent in self.world.agents if agent.shown == self.shown]
        return self.shown if len(others) == 1 else f"{self.shown} #{self.id}"

    @property
    def shown(self):
        """Its name in the trace, or what tells that it has no program."""
        return self.name if self.has_trace else f"cpu{self.id} (no agent)"

    @property
    def time(self):
        """When what it has done so far in this step is over."""
        return self.clock

    def count(self, name, n=1):
        """Add to a counter."""
        self.counters[name] += n

    def spend(self, account, n):
        """Work."""
        self.clock += n
        self.ledger[account] += n
        self.due = self.clock

    def wait(self, account, until):
        """Idle until a known time."""
        end = max(until, self.clock)
        self.wait_from, self.wait_until, self.wait_account = self.clock, end, account
        self.ledger[account] += end - self.clock
        self.clock = self.due = end

    def sleep(self, account):
        """Idle until woken: `block` of the rules."""
        self.due = NEVER
        self.blocked = True
        self.wait_account = account
        self.served = 0
        self.wait_from, self.wait_until = self.clock, NEVER

    def wake(self, until):
        """Somebody ends the sleep."""
        if self.owned:
            self.woken, self.wake_at = True, until
            return
        end = max(until, self.clock)
        if self.served > 0:
            end = max(end, self.busy_until)
        self.ledger[self.wait_account] += end - self.clock - self.served
        self.wait_until = end
        self.blocked = False
        self.served = 0
        self.clock = self.due = end

    def shift(self, start, n):
        """`n` cycles of service were put into this agent's time at `start`."""
        if start < self.done_at:
            self.done_at += n
        if self.blocked:
            if start >= self.wait_from:
                self.served += n
            else:
                self.clock += n
                self.wait_from = self.clock
            return
        if start < self.wait_from:
            overlap = min(n, self.wait_until - self.wait_from)
            self.wait_from += overlap
        else:
            overlap = max(0, min(start + n, self.wait_until) - start)
        if overlap:
            self.ledger[self.wait_account] -= overlap
        self.clock += n - overlap
        parked = self.owned and not self.effect
        if not self.done and not parked:
            self.due = max(self.due, self.clock) if self.waits else self.clock

    def steal(self, account, at, n):
        """Service on this CPU; returns its end."""
        start = max(at, self.busy_until)
        if self.role == "engine":
            start = self.world.design.begin_service(self, start)
        end = start + n
        self.busy_until = end
        self.ledger[account] += n
        self.shift(start, n)
        return end

    def own(self, begin):
        """A handler with interrupts off takes this CPU."""
        self.own_from = max(begin, self.busy_until)
        self.owned = True
        if not self.effect:
            self.due = NEVER

    def charge(self, account, n):
        """A piece of the handler that owns this CPU."""
        self.ledger[account] += n
        self.serving[account] += n

    def disown(self, end):
        """The handler is over; what has waited for it is served."""
        self.busy_until = end
        self.owned = False
        self.shift(self.own_from, end - self.own_from)
        if self.woken:
            self.woken = False
            self.wake(self.wake_at)
        while self.pending:
            first = min(self.pending, key=lambda entry: entry[:2])
            self.pending.remove(first)
            arrival, _, kind, what = first
            if kind == "ipi":
                what.answer(self, arrival)
            elif kind == "work":
                what.due = self.busy_until
            else:
                self.world.design.start_run(what, arrival)
                return


class Request(Row):
    """An asynchronous request of an engine: it works on its server CPU."""

    is_request = True
    role = "request"
    effect = property(lambda self: 1, lambda self, value: None)

    def __init__(self, world, number, engine, server):
        super().__init__(world, number)
        self.engine, self.server = engine, server
        self.free = True
        self.wait_until = 0
        self.process = False  # in process context: a step with the server owned is pending
        self.pended = False  # such a step is pending
        self.sleeping = False  # in the driver's wait queue
        self.in_fault = False
        self.in_line = False  # waiting for its turn in a handler run, or for the run
        self.reading = self.killed = self.called = self.mod = False
        self.size, self.killed_at = 1, 0
        self.issued = self.index = self.vpn = 0
        self.write = False
        self.waits_for = ""  # the account of its latest wait

    space = property(lambda self: self.engine.space)
    label = property(lambda self: self.engine.label)
    cpu = property(lambda self: self.server)
    time = property(lambda self: self.due)

    def count(self, name, n=1):
        """Add to a counter of the engine."""
        self.engine.counters[name] += n

    def spend(self, account, n):
        """Work on the server."""
        if n > 0:
            if self.server is not self.engine:
                self.server.serving[account] += n
            self.due = self.server.steal(account, self.due, n)

    def wait(self, account, until):
        """Idle until a known time."""
        self.due = self.wait_until = max(self.due, until)
        self.waits_for = account

    def sleep(self, account):
        """Idle until woken."""
        self.due = NEVER
        self.waits_for = account

    def wake(self, until):
        """Somebody ends the sleep."""
        self.due = self.wait_until = until
