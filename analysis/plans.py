"""The runs of an experiment, planned before any of them begins: machines, workloads, points and seeds; and parts of them."""

from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.axes import Axes, check_axes, identity, lacking
from analysis.batches import Job
from analysis.drawable import OF
from analysis.replicates import Replica
from analysis.traces import Source
from hwmodel.machine import ConfigError, Machine
from hwmodel.version import model_version

if TYPE_CHECKING:
    from hwmodel.trace import Trace


class Row(NamedTuple):
    """A run of an experiment: what it is of, and the job that gives its figures; a region is a row of its own."""

    about: dict[str, Any]
    job: Job


class Plan(NamedTuple):
    """The runs of an experiment, checked: in the order of the frame."""

    rows: list[Row]
    traces: "list[Trace]"
    notes: list[str]
    workloads: dict[str, dict[str, Any]]


def part_of(plan: Plan, shard: tuple[int, int]) -> Plan:
    """Return the part of a plan that a shard runs: every n-th run from the k-th on."""
    if not (isinstance(shard, tuple) and len(shard) == 2 and all(type(number) is int for number in shard) and 0 <= shard[0] < shard[1]):
        raise ConfigError(f"shard: must be (k, n), part k from 0 on of n, not {shard!r}")
    if shard == (0, 1):
        return plan
    jobs = list(dict.fromkeys(row.job for row in plan.rows))
    own = set(jobs[shard[0] :: shard[1]])
    if not own:
        raise ConfigError(f"shard: {len(jobs)} runs have no part {shard[0]} of {shard[1]}")
    told = f"Part {shard[0]} of {shard[1]}: {len(own)} of {len(jobs)} runs."
    return plan._replace(rows=[row for row in plan.rows if row.job in own], notes=[*plan.notes, told])


def planned(machines: dict[str, Machine], sources: dict[str, Source], axes: Axes, seeds: list[int], stream: dict[str, Any]) -> Plan:
    """Return every run, its machine and trace checked."""
    made = [source for source in sources.values() if source.made]
    check_axes(axes, machines, [source.takes for source in made], {name for source in made for name in source.names})
    variants = {label: [m.with_(**axes.settings(point, label, m)) for point in axes.points] for label, m in machines.items()}
    replicas, rows = _replicas(variants, sources, axes, seeds, stream), []
    traces: dict[int, tuple[int, Trace]] = {}
    for name, variant in variants.items():
        for label, by_point in replicas.items():
            for machine, point, by_seed in zip(variant, axes.points, by_point, strict=True):
                for seed, replica in by_seed.items():
                    trace = replica.of(machine)
                    number, _ = traces.setdefault(id(trace), (len(traces), trace))
                    about = dict(zip(OF, (name, machine.design, label, seed, model_version()), strict=True)) | point
                    rows.append(Row(about, Job(machine, number)))
    notes = (lacking(axes, machines) if len(machines) > 1 else []) + _without_chance(sources, replicas, seeds)
    told = {label: by_point[0][seeds[0]] for label, by_point in replicas.items()}
    notes += [replica.note if len(told) == 1 else f"{label}: {replica.note}" for label, replica in told.items() if replica.note]
    infos = {label: {"name": replica.plain.name, **replica.plain.info} for label, replica in told.items()}
    return Plan(rows, [trace for _, trace in traces.values()], notes, infos)


def _replicas(
    variants: dict[str, list[Machine]], sources: dict[str, Source], axes: Axes, seeds: list[int], stream: dict[str, Any]
) -> dict[str, list[dict[int, Replica]]]:
    """Return the traces by workload, point and seed; points that differ in settings alone share theirs."""
    found: dict[str, list[dict[int, Replica]]] = {}
    for label, source in sources.items():
        used = [source.used(axes.parameters(point)) for point in axes.points]
        same: dict[tuple[Any, ...], list[int]] = {}
        for number, parameters in enumerate(used):
            same.setdefault(identity(parameters.values()), []).append(number)
        found[label] = [{} for _ in used]
        for numbers in same.values():
            those = dict.fromkeys(variant[number] for variant in variants.values() for number in numbers)
            made = dict(zip(seeds, source.replicas(used[numbers[0]], seeds, those, stream), strict=True))
            for number in numbers:
                found[label][number] = made
    return found


def _without_chance(sources: dict[str, Source], replicas: dict[str, list[dict[int, Replica]]], seeds: list[int]) -> list[str]:
    """Return a sentence on workloads that are the same for each seed; refuse several seeds if all are."""
    fixed = [label for label, source in sources.items() if not source.is_random(replicas[label][0][seeds[0]])]
    if len(seeds) == 1 or not fixed:
        return []
    if len(fixed) == len(sources):
        raise ConfigError(f"seeds: nothing is random in {fixed[0]}: it is not offloaded, and no function that takes a seed makes it")
    return [f"Nothing is random in {', '.join(fixed)}: one and the same run stands for each seed."]
