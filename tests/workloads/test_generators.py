"""What holds for every generator that the package offers, whoever wrote it: a new one is included as soon as it is exported."""

import inspect
import itertools
import json
import re
import tracemalloc

import numpy as np
import pytest

import workloads
from hwmodel import op
from hwmodel.op import TraceError
from hwmodel.trace import validate
from workloads import synthetic

SMALL = {"accesses": 25_000, "scale": 7, "rows": 400, "build": 600, "probe": 1000, "grain": 10}
"""Arguments that make a generator quick; those that it does not have are left out, the others are as by default."""
ROUNDS = {"mpi_halo": {"pages": 16, "per_page": 8}}
"""The same for those that have long rounds."""
LONG = 300_000
"""Accesses in which every generator has drawn something."""
GENERATORS = [getattr(synthetic, name) for name in synthetic.__all__]
SEEDED = [generate for generate in GENERATORS if "seed" in inspect.signature(generate).parameters]


def small(generate, **others):
    known = inspect.signature(generate).parameters
    arguments = SMALL | ROUNDS.get(generate.__name__, {}) | others
    return generate(**{name: value for name, value in arguments.items() if name in known})


def records(trace, size=1 << 18):
    return np.concatenate(list(trace.chunks(size)))


def each(generators):
    return pytest.mark.parametrize("generate", generators, ids=lambda generate: generate.__name__)


@each(GENERATORS)
def test_traces_are_valid(generate):
    validate(small(generate))


@each(GENERATORS)
def test_sizes_are_known(generate):
    trace = small(generate)
    ops = records(trace)
    assert len(trace) == ops.size > 0
    assert trace.references == op.count_references(ops) > 0


@each(GENERATORS)
@pytest.mark.parametrize("size", [1, 7, 100])
def test_records_are_the_same_however_they_are_cut(generate, size):
    trace = small(generate)
    whole = records(trace)
    assert records(trace, size).tobytes() == whole.tobytes()
    assert records(small(generate)).tobytes() == whole.tobytes()


@each(GENERATORS)
def test_records_after_an_interrupted_look_are_the_same(generate):
    trace = small(generate)
    whole = records(trace)
    next(iter(trace.chunks(7)))
    assert records(trace).tobytes() == whole.tobytes()


@each([generate for generate in GENERATORS if "accesses" in inspect.signature(generate).parameters])
def test_a_trace_without_end_takes_no_more_memory_as_it_goes_on(generate):
    chunks = small(generate, accesses=1 << 45).chunks()
    tracemalloc.start()
    try:
        held = [tracemalloc.get_traced_memory()[0] for chunk in itertools.islice(chunks, 20)]
    finally:
        tracemalloc.stop()
    assert max(held[10:]) < max(held[:10]) + 300_000


@each(SEEDED)
def test_another_seed_gives_another_trace(generate):
    def all_of(seed):
        trace = small(generate, seed=seed, accesses=LONG)
        return trace.prelude.tobytes() + records(trace).tobytes()

    assert len({all_of(seed) for seed in (0, 1, 2**40)}) == 3


@each(SEEDED)
def test_seeds_are_not_negative(generate):
    with pytest.raises(TraceError, match="seed must be at least 0, not -1"):
        small(generate, seed=-1)


@each([generate for generate in GENERATORS if "devices" in inspect.signature(generate).parameters])
def test_devices_take_part(generate):
    trace = small(generate, cpus=2, devices=3)
    validate(trace)
    devices = {number for number, agent in enumerate(trace.agents) if agent.role == "device"}
    ops = records(trace)
    assert len(devices) >= 3 and devices <= set(ops["agent"][ops["kind"] <= op.WRITE].tolist())


@each(GENERATORS)
def test_accesses_are_to_mapped_memory(generate):
    """Of the prelude, if the trace maps nothing itself."""
    trace = small(generate)
    ops = records(trace)
    if np.isin(ops["kind"], [op.READ, op.WRITE, op.SYNC, op.COMPUTE]).all():
        begins = trace.prelude["address"][trace.prelude["kind"] == op.MMAP]
        ends = begins + (trace.prelude["count"][trace.prelude["kind"] == op.MMAP].astype(np.int64) << op.PAGE_SHIFT)
        addresses = ops["address"][ops["kind"] <= op.WRITE]
        assert ((addresses[:, None] >= begins) & (addresses[:, None] < ends)).any(axis=1).all()


@each(GENERATORS)
def test_a_trace_says_where_it_is_from(generate):
    info = small(generate).info
    assert info["program"] == generate.__name__
    assert json.loads(json.dumps(info)) == info


@each(GENERATORS)
def test_help_describes_every_parameter(generate):
    """In the order of the signature: also those that `workloads.synthetic.parameters` supplies, once each."""
    described = re.findall(r"(?m)^(\w.*) : .+\n    \S", inspect.getdoc(generate).partition("Parameters\n---")[2])
    parameters = inspect.signature(generate).parameters
    assert [name for entry in described for name in entry.split(", ")] == list(parameters)
    assert all(parameter.annotation is not parameter.empty for parameter in parameters.values())
    assert re.search("\n\nReturns\n---.*\n\nRaises\n---", inspect.getdoc(generate), re.DOTALL)


@each(GENERATORS)
def test_arguments_in_order_are_those_of_the_signature(generate):
    known = {name: parameter.default for name, parameter in inspect.signature(generate).parameters.items()}
    values = known | {name: value for name, value in (SMALL | ROUNDS.get(generate.__name__, {})).items() if name in known}
    assert records(generate(*values.values())).tobytes() == records(generate(**values)).tobytes()
    with pytest.raises(TypeError, match=rf"{generate.__name__}\(\) got an unexpected keyword argument 'knots'"):
        generate(knots=1)
    with pytest.raises(TypeError, match=rf"{generate.__name__}\(\) too many positional arguments"):
        generate(*values.values(), 1)


@each(GENERATORS)
def test_shared_arguments_are_checked(generate):
    known = inspect.signature(generate).parameters
    bad = {"accesses": 0, "pages": 0, "writes": 1.5, "cpus": 0, "devices": -1, "grain": 0}
    for name, value in bad.items():
        if name in known:
            with pytest.raises(TraceError, match=rf"{name} must be .*, not {value}"):
                small(generate, **{name: value})


@each(GENERATORS)
def test_generators_are_offered_at_the_door(generate):
    assert getattr(workloads, generate.__name__) is generate and generate.__name__ in workloads.__all__
    assert inspect.signature(generate).return_annotation is not inspect.Signature.empty
