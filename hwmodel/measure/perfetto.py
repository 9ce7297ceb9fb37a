"""Events in Chrome's trace-event format (JSON), which Perfetto reads too: an agent is a process, a lane a thread."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hwmodel.measure.lanes import placed

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 6
"""Of a microsecond: a time is rounded to the picosecond, so that what lies within another also does in the file."""


def to_bytes(frame: "pd.DataFrame", agents: Sequence[str]) -> bytes:
    """Return a trace of events as the format has it: complete events ("X"), instants ("i") where one takes no time, and names ("M").

    Parameters
    ----------
    frame : DataFrame
        As `Timeline.frame` returns it.
    agents : sequence of str
        All labels, in order: the processes.
    """
    at = placed(frame)
    numbers = {agent: 1 + k for k, agent in enumerate(agents)}
    places = list(zip(at["agent"], at["group"], at["track"].tolist(), strict=True))
    threads = {place: 1 + k for k, place in enumerate(sorted(set(places), key=lambda p: (numbers[p[0]], p[1], p[2])))}
    said = [_named("process_name", numbers[agent], 0, agent) for agent in agents]
    said += [_named("thread_name", numbers[agent], tid, _lane(group, track)) for (agent, group, track), tid in threads.items()]
    for event, place in zip(at.to_dict("records"), places, strict=True):
        said.append(_event(event, numbers[place[0]], threads[place]))
    told = {"omitted": frame.attrs.get("omitted", {})}
    return json.dumps({"traceEvents": said, "displayTimeUnit": "ns", "otherData": told}, separators=(",", ":")).encode()


def _lane(group: str, track: int) -> str:
    return f"{group or 'agent'}{f' ({track + 1})' if track else ''}"


def _named(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}


def _event(event: dict[str, Any], pid: int, tid: int) -> dict[str, Any]:
    begin, end = (round(event[name] / 1000, DIGITS) for name in ("begin_ns", "end_ns"))
    detail = event["detail"]
    name = f"{event['kind']}: {detail}" if detail else event["kind"]
    about = {"detail": detail} if detail else {}
    if event["address"] is not None and event["address"] == event["address"]:
        about |= {"address": f"{int(event['address']):#x}", "pages": int(event["pages"])}
    common = {"name": name, "cat": event["kind"], "pid": pid, "tid": tid, "ts": begin, "args": about}
    if end > begin:
        return common | {"ph": "X", "dur": round(end - begin, DIGITS)}
    return common | {"ph": "i", "s": "t"}
