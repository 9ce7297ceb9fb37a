"""A second way of merging the records of devices, in plain Python: every run is the list of its records until all have been seen."""

from hwmodel import op

MOST_GAP = (1 << 15) - 1
ENDING = {kind for kind in op.NAMES if kind >= op.MMAP} - {op.ARG, op.SYSCALL}


def merged(records, first_device, unit, bytes, limit):
    """The records, of which those of agents from `first_device` on are merged as `unit` and `bytes` say."""
    places, open_runs = [], {}
    for record in records:
        address, count, gap, kind, agent = record
        if agent < first_device:
            if kind in ENDING:
                open_runs = {}
            places.append(record)
            continue
        about = (address // 4096, kind & ~op.CONTINUES)
        place, run = open_runs.get(agent, (0, None))
        if run and fits(run, about, count, gap) and len(places) - place < limit:
            run.append(record)
        else:
            open_runs[agent] = (len(places), [record])
            places.append(open_runs[agent][1])
    return [told(place, unit, bytes) if isinstance(place, list) else place for place in places]


def fits(run, about, count, gap):
    """Whether a record may join the run's."""
    address, _, _, kind, _ = run[0]
    total, gaps = sum(record[1] for record in run) + count, sum(record[2] for record in run) + gap
    return about == (address // 4096, kind & ~op.CONTINUES) and total <= op.MOST_COUNT and gaps <= MOST_GAP


def told(run, unit, bytes):
    """The record of a run."""
    lines = {record[0] // 64 for record in run}
    moved = sum(record[1] for record in run) * bytes
    accesses = 1 if unit == "page" else max(len(lines), -(-moved // 64))
    address, _, _, kind, agent = run[0]
    return (address, accesses, sum(record[2] for record in run), kind & ~op.CONTINUES, agent)
