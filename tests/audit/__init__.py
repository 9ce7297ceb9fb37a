"""The auditors: `tables` judges a machine's tables by one another, `stale` what TLBs and their like hold by the page tables.

`held` says which tables hold translations; `judge` runs a trace and says what is wrong at its end or in its midst. With the JIT off the
contract (`tests.contract.audit`) asks both after every step of a run.
"""

import importlib
import warnings
from types import SimpleNamespace
from unittest import mock

from tests.audit import tables
from tests.audit.stale import Stale

simulation = importlib.import_module("hwmodel.simulate")  # the package's attribute of this name is the function


def findings(m, dev, design, quiet=True):
    """What is wrong with tables and translations, as text."""
    return [*tables.findings(m, dev, quiet), *Stale(design).findings(m, dev)]


def judge(machine, trace, midst=False, **options):
    """Simulate; returns the `result`, the tables `m` and `dev` as the run left them, and what was `found`.

    `midst`: look at the tables whenever the engine asks for records too (options: a small chunk), while operations are under way.
    """
    run = SimpleNamespace(found=[])
    drive, read = simulation.drive, simulation.read

    def keep(m, dev, *rest):
        run.dev = dev
        run.m = drive(m, dev, *rest)
        return run.m

    def look(m, *rest):
        if midst:
            run.found += [f"at {m.ctl[0].now}: {text}" for text in findings(m, run.dev, machine.design, quiet=False)]
        return read(m, *rest)

    with mock.patch.multiple(simulation, drive=keep, read=look), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*access without a right")
        run.result = simulation.simulate(machine, trace, progress=False, **options)
    run.found += findings(run.m, run.dev, machine.design)
    return run
