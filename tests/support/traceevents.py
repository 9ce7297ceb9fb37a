"""A parser of Chrome's trace-event format (JSON object form), which takes nothing on trust: what a viewer would put up with is an error."""

import json
import math

ALLOWED = {
    "M": {"name", "ph", "pid", "tid", "args"},
    "X": {"name", "ph", "pid", "tid", "ts", "dur", "cat", "args"},
    "B": {"name", "ph", "pid", "tid", "ts", "cat", "args"},
    "E": {"name", "ph", "pid", "tid", "ts", "cat", "args"},
    "i": {"name", "ph", "pid", "tid", "ts", "s", "cat", "args"},
}
NAMING = ("process_name", "thread_name", "process_sort_index", "thread_sort_index")


def picoseconds(microseconds):
    """A time of the format, exactly."""
    assert isinstance(microseconds, int | float) and math.isfinite(microseconds) and microseconds >= 0, microseconds
    found = round(microseconds * 1_000_000)
    assert abs(found - microseconds * 1_000_000) < 1e-3 + abs(microseconds) * 1e-9, f"{microseconds} is finer than a picosecond"
    return found


def parse(data):
    """The spans and instants of a file: (process, thread, name, begin, end, category, arguments), in picoseconds.

    Spans of a thread must lie within one another or apart; all processes and threads have names. An error says what is not so.
    """
    told = json.loads(data)
    assert isinstance(told, dict) and isinstance(told["traceEvents"], list) and told.get("displayTimeUnit", "ms") in ("ms", "ns")
    names, spans, begun = {}, [], {}
    for event in told["traceEvents"]:
        assert event["ph"] in ALLOWED and event.keys() <= ALLOWED[event["ph"]], event
        assert isinstance(event["name"], str) and all(isinstance(event[key], int) for key in ("pid", "tid")), event
        if event["ph"] == "M":
            assert event["name"] in NAMING
            if event["name"] in ("process_name", "thread_name"):
                assert isinstance(event["args"]["name"], str) and event["args"]["name"]
                key = (event["pid"], event["tid"] if event["name"] == "thread_name" else None)
                assert names.setdefault(key, event["args"]["name"]) == event["args"]["name"], f"{key} has two names"
            continue
        thread, at = (event["pid"], event["tid"]), picoseconds(event["ts"])
        if event["ph"] == "B":
            begun.setdefault(thread, []).append((event, at))
        elif event["ph"] == "E":
            first, since = begun[thread].pop()
            assert event["name"] == first["name"]
            spans.append((thread, first, since, at))
        else:
            spans.append((thread, event, at, at + picoseconds(event.get("dur", 0))))
            assert event["ph"] == "i" or "dur" in event
            assert event["ph"] == "X" or event["s"] in ("g", "p", "t")
    assert not any(begun.values()), "a span begins and never ends"
    check_nesting(spans)
    return [
        (names[pid, None], names[pid, tid], event["name"], begin, end, event.get("cat", ""), event.get("args", {}))
        for (pid, tid), event, begin, end in spans
    ]


def check_nesting(spans):
    """Spans of a thread lie within one another or apart."""
    open_ends = {}
    for thread, event, begin, end in sorted(spans, key=lambda span: (span[0], span[2], -span[3])):
        ends = open_ends.setdefault(thread, [])
        while ends and ends[-1] <= begin:
            ends.pop()
        assert not ends or end <= ends[-1], f"{event} of thread {thread} ends after what it lies in"
        ends.append(end)
