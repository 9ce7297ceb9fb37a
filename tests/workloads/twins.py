"""Naive twins of the programs, in plain Python: every element that they touch is logged as they touch it."""

import numpy as np

from hwmodel import op

SYNC = "sync"


class Log(list):
    """(kind, array, index, agent) of every access, and SYNC of every meeting; who does item i of work."""

    def __init__(self, workers, grain):
        super().__init__()
        self.workers, self.grain, self.agent = workers, grain, workers[0]

    def turn(self, item):
        self.agent = self.workers[item // self.grain % len(self.workers)]

    def meet(self):
        if len(self.workers) > 1:
            self.append((SYNC, "", 0, self.workers[0]))

    def records(self, arrays, item_bytes):
        """What a trace says of this, with the arrays where it says they are."""
        for kind, name, index, agent in self:
            yield (0, 0, 0, op.SYNC, agent) if kind == SYNC else (arrays[name]["address"] + index * item_bytes[name], 1, 0, kind, agent)


class Array:
    """A list whose loads and stores are logged."""

    def __init__(self, log, name, items):
        self.log, self.name, self.items = log, name, np.asarray(items).tolist()

    def __getitem__(self, index):
        self.log.append((op.READ, self.name, index, self.log.agent))
        return self.items[index]

    def __setitem__(self, index, value):
        self.log.append((op.WRITE, self.name, index, self.log.agent))
        self.items[index] = value

    def __len__(self):
        return len(self.items)


def bfs(log, given, roots):
    offsets, neighbours = Array(log, "offsets", given["offsets"]), Array(log, "neighbours", given["neighbours"])
    vertices = len(offsets) - 1
    parent, queue = Array(log, "parent", [0] * vertices), Array(log, "queue", [0] * vertices)
    for number, root in enumerate(roots):
        if number:
            log.meet()
        for vertex in range(vertices):
            log.turn(vertex)
            parent[vertex] = -1
        log.meet()
        log.turn(0)
        queue[0] = root
        parent[root] = root
        begin, end, tail = 0, 1, 1
        while begin < end:
            if begin:
                log.meet()
            for place in range(begin, end):
                log.turn(place)
                vertex = queue[place]
                first, last = offsets[vertex], offsets[vertex + 1]
                for edge in range(first, last):
                    other = neighbours[edge]
                    if parent[other] == -1:
                        parent[other] = vertex
                        queue[tail] = other
                        tail += 1
            begin, end = end, tail
    return parent.items


def spmv(log, given, times):
    offsets, columns, values, x = (Array(log, name, given[name]) for name in ("offsets", "columns", "values", "x"))
    y = Array(log, "y", [0.0] * len(x))
    for number in range(times):
        if number:
            log.meet()
        for row in range(len(y)):
            log.turn(row)
            total = 0.0
            first, last = offsets[row], offsets[row + 1]
            for entry in range(first, last):
                column = columns[entry]
                total += values[entry] * x[column]
            y[row] = total
    return y.items


def gups(log, size, updates, skipped):
    """The order of the numbers is the stream's for each worker in turn: worker w begins where the shares before its own end."""
    shares = [0] * len(log.workers)
    for update in range(updates):
        shares[update // log.grain % len(shares)] += 1
    streams = [_hpcc(skipped + sum(shares[:worker])) for worker in range(len(shares))]
    table = Array(log, "table", [0] * size)
    for index in range(size):
        log.turn(index)
        table[index] = index
    log.meet()
    for update in range(updates):
        log.turn(update)
        number = next(streams[update // log.grain % len(shares)])
        table[number % size] ^= number
    return table.items


def _hpcc(skipped):
    number = 1
    for step in range(1 << 62):
        number <<= 1
        if number >> 64:
            number ^= (1 << 64) | 7
        if step >= skipped:
            yield number


def hash_join(log, given):
    build_keys, payloads, probe_keys = (Array(log, name, given[name]) for name in ("build_keys", "payloads", "probe_keys"))
    size = 1
    while size < len(build_keys):
        size *= 2
    buckets, links = Array(log, "buckets", [0] * size), Array(log, "links", [0] * len(build_keys))
    for bucket in range(size):
        log.turn(bucket)
        buckets[bucket] = -1
    log.meet()
    for row in range(len(build_keys)):
        log.turn(row)
        bucket = build_keys[row] * 2_654_435_761 % 2**32 * size // 2**32
        links[row] = buckets[bucket]
        buckets[bucket] = row
    log.meet()
    matches = total = 0
    for row in range(len(probe_keys)):
        log.turn(row)
        key = probe_keys[row]
        found = buckets[key * 2_654_435_761 % 2**32 * size // 2**32]
        while found != -1:
            if build_keys[found] == key:
                matches, total = matches + 1, total + payloads[found]
            found = links[found]
    return matches, total
