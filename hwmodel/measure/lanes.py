"""Lanes: where events are put that are shown below one another, so that in a lane each lies within another or apart from it."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

GROUPS = {"window": "windows", "lock": "locks", "wait": "locks", "join": "joins", "kill": "kills", "retry": "retries"}
"""The kinds that have lanes of their own, since they overlap with what the agent does; by the name of the lane."""


def placed(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return the events with a `group`, a `track` in it and a `depth` in that.

    The group of an event is "" (the agent itself), "request N", or one of `GROUPS` with that. Events of a group go, in order of their
    beginnings and the longest first, into the first track where they lie within what is still open, or after it.

    Parameters
    ----------
    frame : DataFrame
        As `Timeline.frame` returns it.
    """
    frame = frame.assign(duration=frame["end_ns"] - frame["begin_ns"])
    frame = frame.sort_values(["begin_ns", "duration", "kind"], ascending=[True, False, True], kind="stable")
    lanes = ["" if lane == 0 else f"request {lane}" for lane in frame["lane"].tolist()]
    kinds = [GROUPS.get(kind, "") for kind in frame["kind"].tolist()]
    groups = [f"{lane} {kind}".strip() for lane, kind in zip(lanes, kinds, strict=True)]
    open_ends: dict[tuple[str, str], list[list[float]]] = {}
    places = np.zeros((len(frame), 2), np.int64)
    times = zip(frame["agent"], groups, frame["begin_ns"], frame["end_ns"], strict=True)
    for k, (agent, group, begin, end) in enumerate(times):
        places[k] = _place(open_ends.setdefault((agent, group), []), begin, end)
    return frame.assign(group=groups, track=places[:, 0], depth=places[:, 1])


def _place(tracks: list[list[float]], begin: float, end: float) -> tuple[int, int]:
    """Return the track and the depth of an event, and add it to the ends of what is open there."""
    for number, ends in enumerate(tracks):
        while ends and ends[-1] <= begin:
            ends.pop()
        if not ends or end <= ends[-1]:
            ends.append(end)
            return number, len(ends) - 1
    tracks.append([end])
    return len(tracks) - 1, 0
