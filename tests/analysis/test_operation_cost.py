"""Costs of one operation: who pays, for what, and that the rows add up to the clocks of the run."""

import itertools
import random
import warnings

import pytest

import analysis
import hwmodel
import workloads
from analysis.payers import CALLER, CAUSES, ENGINES, NO_COSTS, OTHERS, PAYERS, SERVICE, WAITING, WORK
from hwmodel.machine import ConfigError
from hwmodel.op import TraceError
from tests.support import designs

CPU = hwmodel.preset("cpu-only")
WITH_ENGINES = designs.with_engines()
KINDS = ("munmap", "mprotect", "mremap", "fork", "cow", "dontneed")


def cost(machines, kind, pages, threads=4, **options):
    """The costs, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return analysis.operation_cost(machines, kind, pages, threads, progress=False, **options)


def machine(name):
    return designs.design(name).machine


def alone(given, kind, pages, threads, devices):
    """The same run by itself."""
    trace = workloads.operation(kind, pages, threads, devices)
    return hwmodel.simulate(given, trace, progress=False, warmup=trace.info["record"])


@pytest.mark.parametrize("name", ["cpu_only", *WITH_ENGINES])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_add_up_to_the_clocks(name, kind):
    """Of every agent from the operation on, payer by payer and account by account, at random sizes."""
    given, drawn = machine(name), random.Random(kind)
    pages, threads, devices = drawn.randint(1, 700), drawn.randint(1, 9), int(given.has_engines)
    found, result = cost(given, kind, pages, threads), alone(given, kind, pages, threads, devices)
    frame, served = found.frame, sum(result.serving.values())
    assert frame["cycles"].sum() == result.clocks.sum() == sum(result.ledger.values())
    assert frame.groupby("account")["cycles"].sum().to_dict() == {name: n for name, n in result.ledger.items() if n}
    by_payer = frame.groupby("payer")["cycles"].sum()
    devices_clocks = sum(int(t) for t, agent in zip(result.clocks, result.agents, strict=True) if agent.role == "device")
    assert by_payer.get(ENGINES, 0) == devices_clocks and by_payer.get(SERVICE, 0) == served
    assert by_payer[CALLER] == result.clocks[0] - result.serving.array[0].sum()
    assert (frame["cycles"] > 0).all() and set(frame["payer"]) <= set(PAYERS)
    assert frame["ns"].to_numpy() == pytest.approx(frame["cycles"].to_numpy() * 1000 / given.get("clock.mhz"))
    assert dict(zip(found.counts["counter"], found.counts["count"], strict=True)) == {n: c for n, c in result.counters.items() if c}


def test_service_for_engines_is_in_no_other_payer_s_cycles():
    """An munmap so large that a GRU's own pages are dropped too: CPU 0, which calls, serves its misses; every cycle is paid once."""
    given = hwmodel.preset("gru-2024")
    found, result = cost(given, "munmap", 1100, 2), alone(given, "munmap", 1100, 2, 1)
    by_payer, served = found.frame.groupby("payer")["cycles"].sum(), result.serving.array.sum(axis=1)
    assert by_payer[SERVICE] == served.sum() > 0 and served[0] > 0
    assert by_payer[CALLER] == result.clocks[0] - served[0]
    assert by_payer.sum() == result.clocks.sum()


@pytest.mark.parametrize("name", ["cpu_only", *WITH_ENGINES])
@pytest.mark.parametrize("kind", ["munmap", "mprotect", "fork", "dontneed"])
def test_the_caller_pays_for_its_call(name, kind):
    """What the calling CPU pays is the latency of the operation, to the cycle, if it serves no engine meanwhile."""
    given = machine(name)
    found = cost(given, kind, 20, 3)
    total = found.total.iloc[0]
    assert total["service_for_engines_ns"] == 0
    assert total["calling_cpu_ns"] == pytest.approx(total["duration_ns"])
    latency = alone(given, kind, 20, 3, int(given.has_engines)).latency(f"op.{'madvise' if kind == 'dontneed' else kind}")
    assert latency.count == 1 and total["duration_ns"] == pytest.approx(latency.ns.max)


def test_totals_are_the_costs_of_the_payers():
    found = cost({"a": CPU}, "munmap", [1, 40], [1, 2])
    costs = found.frame[~found.frame["family"].isin(NO_COSTS)]
    assert list(found.total.columns[:6]) == ["machine", "kind", "pages", "threads", "duration_ns", "cost_ns"]
    for row in found.total.to_dict("records"):
        here = costs[(costs["pages"] == row["pages"]) & (costs["threads"] == row["threads"])]
        parts = here.groupby("payer")["ns"].sum()
        assert row["cost_ns"] == pytest.approx(here["ns"].sum()) == pytest.approx(row["cost_ns_per_page"] * row["pages"])
        for payer in PAYERS:
            assert row[f"{payer.lower().replace(' ', '_')}_ns"] == pytest.approx(parts.get(payer, 0.0))
    assert set(zip(found.total["pages"], found.total["threads"], strict=True)) == set(itertools.product([1, 40], [1, 2]))


def test_a_hand_computed_one():
    """An munmap of one page, with one other CPU: what section 8 of the model says of interrupts, from the machine's own costs."""
    found, costs = cost(CPU, "munmap", 1, 2), CPU.costs()
    cycles = found.frame.set_index(["payer", "account"])["cycles"]
    assert cycles[CALLER, "ipi_send"] == costs["ipi_send"]
    assert cycles[CALLER, "syscall"] == costs["syscall"]
    flushed = cycles[CALLER, "flush"] - costs["flush_fixed"]
    assert flushed % costs["flush_page"] == 0 and flushed > 0
    assert cycles[OTHERS, "ipi_respond"] == costs["ipi_respond"] + flushed, "the same pages, without the fixed cost of a range"
    assert (CALLER, "ipi_respond") not in cycles


def test_every_account_has_a_cause():
    """Of every design: work and waiting are no causes, all other families are."""
    for name in ("cpu_only", *WITH_ENGINES):
        frame = cost(machine(name), "cow", 8).frame
        no_cost = frame["family"].isin(NO_COSTS)
        assert set(frame.loc[no_cost, "cause"]) == {WORK, WAITING} and set(frame.loc[~no_cost, "cause"]) <= CAUSES.keys()


def test_interrupts_grow_with_the_cpus_and_not_with_the_pages_beyond_the_ceiling():
    ceiling = CPU.get("kernel.flush_ceiling_pages")
    found = cost(CPU, "mprotect", [ceiling, ceiling + 1, 4 * ceiling], [2, 8])
    interrupts = found.costs[found.costs["cause"] == "interrupts"].pivot_table(index="pages", columns="threads", values="ns", aggfunc="sum")
    assert (interrupts[8] > interrupts[2]).all()
    assert interrupts.loc[ceiling + 1, 8] == interrupts.loc[4 * ceiling, 8] < interrupts.loc[ceiling, 8]


@pytest.mark.parametrize("ceiling", [5, 33])
def test_steps_are_where_the_settings_put_them(ceiling):
    """And told with the source of the value; a machine of the user's has other steps."""
    given = CPU.with_(**{"kernel.flush_ceiling_pages": ceiling, "kernel.gather_pages": 512})
    found = cost(given, "munmap", [1, ceiling - 1, ceiling, ceiling + 1, 511, 512, 513])
    assert [(step.pages, step.setting) for step in found.steps(given.name)] == [
        (ceiling, "kernel.flush_ceiling_pages"), (512, "kernel.gather_pages")
    ]  # fmt: skip
    sources = [step.source for step in found.steps(given.name)]
    assert sources[1] == "set by user" and (sources[0] == "set by user") == (ceiling == 5)
    for step in found.steps(given.name):
        assert str(step.pages) in step.says


def test_no_step_is_told_that_no_run_shows():
    assert cost(CPU, "munmap", [1, 8]).steps("cpu-only") == []
    assert cost(CPU, "fork", [1, 33, 34, 64]).steps("cpu-only") == [], "a fork's flush is always full"


def test_default_pages_have_the_steps_and_their_neighbours(monkeypatch):
    asked = []

    def made(kind, pages, *rest):
        asked.append(pages)
        raise TraceError("enough")

    monkeypatch.setattr(workloads, "operation", made)
    monkeypatch.setattr("analysis.operations._traces", lambda kind, points, *rest: asked.extend(p.pages for p in points) or made(kind, 0))
    with pytest.raises(TraceError):
        analysis.operation_cost(CPU.with_(**{"kernel.flush_ceiling_pages": 77}), "munmap")
    assert {1, 76, 77, 78, 9677, 9678, 9679, 100_000} <= set(asked) and 33 not in asked


def test_machines_without_engines_have_no_device():
    found = cost({"plain": CPU, "other": machine(WITH_ENGINES[0])}, "mprotect", 4)
    engines = found.frame[found.frame["payer"] == ENGINES]
    assert set(engines["machine"]) == {"other"}
    assert found.counts.set_index(["machine", "counter"])["count"]["other", "device.accesses"] > 0


def test_threads_that_are_done_are_told():
    with pytest.warns(UserWarning, match="the first operation that found every other thread"):
        found = analysis.operation_cost(CPU, "mprotect", [4, 8], 4, busy=False, progress=False)
    assert len(found.notes) == 1
    assert found.notes[0].startswith("cpu-only: mprotect of 4 to 8 pages interrupted no other CPU, though up to 4 threads share the memory")
    assert cost(CPU, "mprotect", 8, [1, 4]).notes == (), "one thread alone interrupts nobody, and need not"
    untouched = cost(CPU, "munmap", 8, 4, touched=0)
    assert len(untouched.notes) == 1 and "ipi_respond" not in set(untouched.frame["account"])


def test_a_store_computes_nothing_again(tmp_path, monkeypatch):
    path = tmp_path / "points"
    first = cost(CPU, "munmap", [1, 2], 2, store=path)
    ran = []
    monkeypatch.setattr("analysis.runs.simulate_all", lambda *args, **parts: ran.append(args))
    again = cost(CPU, "munmap", [1, 2], 2, store=path)
    assert not ran and again.frame.equals(first.frame) and again.total.equals(first.total)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kind": "mumap"}, TraceError, r"kind must be .*, not 'mumap'; did you mean munmap\?"),
        ({"pages": 0}, TraceError, r"pages must be in \[1, 67108864\], not 0"),
        ({"pages": []}, ConfigError, r"pages: must be whole numbers, at least one, not \[\]"),
        ({"pages": "8"}, ConfigError, "pages: must be whole numbers, at least one, not '8'"),
        ({"pages": [1, 2.5]}, ConfigError, "pages: must be whole numbers, at least one, not .*"),
        ({"pages": [1, 1]}, ConfigError, r"pages: one of \[1, 1\] comes twice"),
        ({"threads": 0}, TraceError, "threads must be at least 1, not 0"),
        ({"threads": 129}, TraceError, r"threads \+ devices must be in \[1, 128\], not 129"),
        ({"threads": True}, ConfigError, "threads: must be whole numbers, at least one, not True"),
        ({"devices": 1}, ConfigError, "devices: cpu-only has no engines, so it can't have 1; leave devices out, or give 0"),
        ({"touched": 2}, TraceError, r"touched must be in \[0, 1\], not 2"),
        ({"workers": 0}, ConfigError, "workers: must be at least 1, not 0"),
        ({"machines": "cpu-onyl"}, ConfigError, ".*cpu-onyl.*did you mean cpu-only.*"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        analysis.operation_cost(**{"machines": "cpu-only", "kind": "munmap", "pages": 8, "progress": False} | arguments)


def test_a_plot_of_what_was_not_run_is_refused():
    found = cost(CPU, "munmap", [1, 8], [1, 2])
    with pytest.raises(ConfigError, match=r"^pages: 4 has not been run; it is one of 1, 8$"):
        found.plot(pages=4)
    with pytest.raises(ConfigError, match=r"^threads: 3 has not been run; it is one of 1, 2$"):
        found.plot(threads=3)
    with pytest.raises(ConfigError, match=r"^by: must be cause or payer, not 'family'$"):
        found.plot(by="family")
    assert repr(found) == "<OperationCost of munmap on cpu-only: 2 numbers of pages, 2 of threads>"


@pytest.mark.parametrize("by", ["cause", "payer"])
def test_the_picture(by):
    """A panel for each machine over pages, and one over CPUs; units at every axis, steps marked with their source, the total above all."""
    machines = {"one": CPU.with_(**{"kernel.flush_ceiling_pages": 5}), "<two> $x$": machine(WITH_ENGINES[0])}
    found = cost(machines, "munmap", [1, 4, 5, 6, 64], [1, 4])
    figure = found.plot(by=by)
    assert len(figure.axes) == 4
    for axes, name in zip(figure.axes, [*machines, *machines], strict=True):
        assert name in axes.get_title(loc="left") and axes.get_xscale() == axes.get_yscale() == "log"
        assert axes.get_xlabel().startswith(("pages", "threads"))
        *parts, whole, called = axes.lines[: 2 + (len(CAUSES) if by == "cause" else len(PAYERS))]
        total = found.total[(found.total["machine"] == name) & (found.total["threads"] == 4)]
        if axes.get_xlabel().startswith("pages"):
            assert list(whole.get_ydata()) == list(total["cost_ns"]) and list(called.get_ydata()) == list(total["duration_ns"])
            assert sum(sum(line.get_ydata()) for line in parts) == pytest.approx(total["cost_ns"].sum())
    assert figure.axes[0].get_ylabel() == "time of all agents together"
    figure.canvas.draw()
    units = {text.get_text().split()[1] for text in figure.axes[0].get_yticklabels()}
    assert units <= {"ns", "µs", "ms", "s"} and units
    marked = [text.get_text() for text in figure.axes[0].texts]
    assert marked == ["5"]
    notes = " ".join(text.get_text() for text in figure.texts)
    assert "one: above 5 pages a flush drops all translations (kernel.flush_ceiling_pages: set by user)" in notes
