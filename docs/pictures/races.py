"""The two races of docs/races.md, run and drawn: `python docs/pictures/races.py` writes the pictures beside this file."""

import pathlib

import hwmodel
from hwmodel import Agent, Events, Result, Trace, op

FOLDER = pathlib.Path(__file__).resolve().parent
PAGE = 0x10000 << 12
"""The address of the page that both sides are about."""
SHOWN = ("phase", "window", "notice", "flush", "ipi", "operation", "retry", "kill")
"""The kinds of events that the pictures have."""
AGENTS = [Agent("cpu", 0, "thread"), Agent("device", 0, "device")]


def race(machine: str, before: int, populate: bool) -> Result:
    """Run a thread that gives a page up while a device, which has not used it yet, reads it.

    Parameters
    ----------
    machine : str
        The name of a preset.
    before : int
        Instructions of the thread before its madvise(MADV_DONTNEED).
    populate : bool
        Whether the page is there from the beginning.
    """
    thread = [(0, before, 0, op.COMPUTE, 0), *op.paged_unit(op.MADVISE, PAGE, 1, [(0, op.DONTNEED)], 0)]
    device = [(PAGE, 1, 0, op.READ, 1)]
    there = op.mmap_unit(PAGE, 1, 3, agent=0, populate=populate)
    return hwmodel.simulate(machine, Trace.from_records(AGENTS, [*thread, *device], there), events=Events())


def gru() -> Result:
    """Run race 1: an invalidation kills a drop-in that the handler has begun."""
    return race("gru-2008", before=2300, populate=True)


def kvm() -> Result:
    """Run race 2: the sequence number has moved between the look at the page and the lock."""
    return race("kvm-ept-2008", before=34500, populate=False)


RACES = {"race-gru": (gru, None), "race-kvm": (kvm, (14_900.0, 19_200.0))}
"""The races, by the name of the picture, and the time that it shows, in ns."""


def main() -> None:
    """Write a picture of each race."""
    import matplotlib.pyplot as plt

    for name, (run, window) in RACES.items():
        figure, ax = plt.subplots(figsize=(13, 3.4), layout="constrained")
        run().events.plot(ax, kinds=SHOWN, window_ns=window)
        figure.savefig(FOLDER / f"{name}.png", dpi=110, metadata={"Software": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
