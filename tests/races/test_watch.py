"""The watch itself: it is silent on random traces, and speaks up when a design forgets what it has to do (all without the JIT)."""

import warnings

import pytest

from hwmodel import op as o
from hwmodel import simulate
from hwmodel.jit import JIT_OFF
from hwmodel.secondary import _kvm_notifier
from hwmodel.secondary import gru as gru_design
from tests import designs
from tests.races.scenes import CPU, DEVICE, access, advise, compute, gru, kvm, mapped, play, sync
from tests.races.watch import watched
from tests.random_traces import random_case

pytestmark = [pytest.mark.jit_off, pytest.mark.skipif(not JIT_OFF, reason="kernels that are compiled cannot be watched")]


@pytest.mark.parametrize("design", designs.with_engines())
@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 100), marks=pytest.mark.long)], ids=["some", "more"])
def test_random_traces(design, seeds):
    for seed in seeds:
        machine, trace = random_case(5000 + seed, design, 60)
        with watched(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*access without a right")
            simulate(machine, trace, progress=False)


def kill_nothing(m, c, notice):
    """A GRU without a kill bit."""


def drop_nothing(m, b, space, *pages):
    """A GRU that ignores invalidations."""


def zap_nothing(m, ept, first, last):
    """A KVM that leaves sptes."""
    return 0


def flush_nothing(m, i):
    """A vCPU that keeps its translations."""


GRU_SCENE = [*advise(o.DONTNEED, 200, 1), access(o.READ, 1, 165, 1)]
KVM_SCENE = [access(o.READ, 1), sync(1), compute(200, 0), *advise(o.DONTNEED), compute(1000, 1)]


@pytest.mark.parametrize(
    ("module", "name", "forgetful"),
    [
        (gru_design, "kill", kill_nothing), (gru_design.tlb, "drop_range", drop_nothing),
        (_kvm_notifier, "clear", zap_nothing), (_kvm_notifier, "empty_guest", flush_nothing),
    ],
    ids=["kill bit", "TGH", "zap", "kick"],
)  # fmt: skip
def test_a_design_that_forgets_is_found_out(monkeypatch, module, name, forgetful):
    scene = (gru(), [CPU, DEVICE], KVM_SCENE if module is _kvm_notifier else GRU_SCENE, mapped(3))
    if module is _kvm_notifier:
        scene = (kvm(), *scene[1:])
    play(*scene)
    monkeypatch.setattr(module, name, forgetful)
    if name == "drop_range":
        scene[2][-1] = access(o.READ, 1, 0, 1)
    with pytest.raises(AssertionError, match="is not mapped, but a device has frame"):
        play(*scene)
