"""The auditor of a machine's tables: `judge` runs a trace and says what is wrong with them, at its end or in its midst."""

import importlib
import warnings
from types import SimpleNamespace
from unittest import mock

from tests.audit.tables import findings as table_findings
from tests.audit.tlbs import tlb_findings

simulation = importlib.import_module("hwmodel.simulate")  # the package's attribute of this name is the function


def findings(m, dev, quiet=True):
    """What is wrong with tables and TLBs, as text."""
    return table_findings(m, dev, quiet) + tlb_findings(m, dev)


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
            run.found += [f"at {m.ctl[0].now}: {text}" for text in findings(m, run.dev, quiet=False)]
        return read(m, *rest)

    with mock.patch.multiple(simulation, drive=keep, read=look), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*access without a right")
        run.result = simulation.simulate(machine, trace, progress=False, **options)
    run.found += findings(run.m, run.dev)
    return run
