"""Every cost of the model is booked where, and as often as, a calculation by hand has it: what kernel and oracle could get wrong alike.

Section 13 of docs/model.md.
"""

import importlib
import pathlib

import pytest

from hwmodel.machine import preset, presets
from tests.model import cpu_costs, device_costs, operation_costs
from tests.model.books import title

OF_DESIGNS = [importlib.import_module(f"tests.model.{path.stem}") for path in sorted(pathlib.Path(__file__).parent.glob("test_*.py"))
              if path.stem != __name__.rpartition(".")[2]]  # fmt: skip
"""The tests of a design may have its costs, as COSTS."""
CASES = [
    *cpu_costs.CPUS, *cpu_costs.FAULTS, *operation_costs.MAPPING, *operation_costs.PAGES, *operation_costs.FLUSHES,
    *operation_costs.INTERRUPTS, *operation_costs.NOTICES, *device_costs.GRUS, *device_costs.KVMS,
    *(case for module in OF_DESIGNS for case in getattr(module, "COSTS", ())),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=title)
def test_a_cost(case):
    case.check()


def test_every_cost_is_calculated():
    missing = {cost for name in presets() for cost in preset(name).costs()} - {case.cost for case in CASES if case.books}
    assert not missing, f"no calculation by hand of {', '.join(sorted(missing))}"
