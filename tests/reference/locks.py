"""Locks of the oracle (docs/model.md, section 7)."""


class Lock:
    """A writer or readers, and a queue ordered by (request time, row id)."""

    def __init__(self, world, name):
        self.world, self.name, self.since = world, name, {}
        self.writer = None
        self.ranges = ()  # that a writer of the mmap lock works on, since it acts with the lock
        self.readers = []
        self.queue = []

    def may_read(self):
        """Whether a reader would be let in at once."""
        return self.writer is None and not self.queue

    def acquire(self, row, mode):
        """Take the lock, or put the row to sleep in the queue; returns whether it was taken."""
        if self.may_read() and (mode == "read" or not self.readers):
            self._enter(row, mode)
            return True
        self.queue.append((self.world.now, row.id, row, mode))
        self.queue.sort(key=lambda entry: entry[:2])
        row.queued = True
        row.sleep("lock_wait")
        return False

    def release(self, row):
        """Leave, and let in who can be."""
        if self.writer is row:
            self.writer = None
            self._leave(row, "write")
        else:
            self.readers.remove(row)
            self._leave(row, "read")
        self._grant()

    def downgrade(self, row):
        """The writer becomes a reader."""
        assert self.writer is row
        self.writer = None
        self._leave(row, "write")
        self._enter(row, "read")
        self._grant()

    def covers(self, vpn):
        """Whether a writer works on a range with this page."""
        return self.writer is not None and any(first <= vpn < last for first, last in self.ranges)

    def _leave(self, row, mode):
        self.world.event("lock", row, self.since.pop(row), self.world.now, detail=f"{self.name}, {mode}")

    def _enter(self, row, mode):
        self.since[row] = self.world.now
        if mode == "read":
            self.readers.append(row)
        else:
            self.writer, self.ranges = row, ()

    def _grant(self):
        while self.queue:
            since, _, row, mode = self.queue[0]
            if self.writer is not None or (mode == "write" and self.readers):
                return
            del self.queue[0]
            row.queued = False
            self._enter(row, mode)
            self.world.event("wait", row, since, self.world.now, detail=f"{self.name}, {mode}")
            row.wake(self.world.now)
