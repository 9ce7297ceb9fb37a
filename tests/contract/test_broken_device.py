"""Engines broken on purpose, under each design that has windows: data in flight that nobody waits for, phases that don't add up."""

import pytest

from hwmodel.core import device
from hwmodel.core.tables import RELEASE
from hwmodel.secondary import gru
from tests.audit.flight import Flights
from tests.contract.rules import books_balance, no_data_in_flight
from tests.contract.test_broken import catches, plant
from tests.support.designs import design, names

__all__ = ["plant"]
pytestmark = pytest.mark.jit_off


def of_misses_alone(original):
    """Knows of no hits in flight."""

    def last_use(m, i):
        first = m.ctl[0].agents + (i - m.ctl[0].cpus) * m.ctl[0].outstanding
        return max(m.due[r] if m.rows[r].phase == RELEASE else 0 for r in range(first, first + m.ctl[0].outstanding))

    return last_use


@pytest.mark.parametrize("broken", [of_misses_alone, lambda original: device.last_data], ids=["hits", "misses"])
def test_invalidation_that_does_not_wait_for_data_in_flight(plant, broken):
    """Neither for hits, or for misses that are resolved."""
    plant(device, "last_use", broken)
    catches(no_data_in_flight, "gru", "the callback for .* has returned")


def test_invalidation_that_waits_for_nothing(plant):
    """The callback's breach is not looked for: the frame's is found too."""
    plant(gru, "data_there", lambda original: lambda *arguments: 0)
    plant(Flights, "returned", lambda original: lambda *arguments: ())
    catches(no_data_in_flight, "gru", "its frame .* was freed")


@pytest.mark.parametrize("name", [name for name in names() if design(name).module.BOOK.phases])
def test_phases_that_do_not_add_up(plant, name):
    def late(original):
        def found(m, r, path):
            m.misses[r].mark += 1
            original(m, r, path)

        return found

    plant(device, "found", late)
    catches(books_balance, name, "phases of fault.* add up to")
