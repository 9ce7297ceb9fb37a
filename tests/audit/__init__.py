"""The auditors: `tables` judges a machine's tables by one another, `stale` what TLBs and their like hold by the page tables.

`held` says which tables hold translations; `judge` runs a trace and says what is wrong at its end or in its midst. With the JIT off the
contract (`tests.contract.audit`) asks both after every step of a run.
"""

import warnings
from types import SimpleNamespace
from unittest import mock

from hwmodel import simulate
from hwmodel.run import Run
from tests.audit import tables
from tests.audit.stale import Stale


def findings(m, dev, design, quiet=True):
    """What is wrong with tables and translations, as text."""
    return [*tables.findings(m, dev, quiet), *Stale(design).findings(m, dev)]


def judge(machine, trace, midst=False, **options):
    """Simulate; returns the `result`, the tables `m` and `dev` as the run left them, and what was `found`.

    `midst`: look at the tables whenever the engine asks for records too (options: a small chunk), while operations are under way.
    """
    run = SimpleNamespace(found=[])
    feed, finish = Run.feed, Run.finish

    def keep(self, *rest):
        run.m, run.dev = self.m, self.dev
        return finish(self, *rest)

    def look(self, chunk):
        if midst:
            run.found += [f"at {self.m.ctl[0].now}: {text}" for text in findings(self.m, self.dev, machine.design, quiet=False)]
        feed(self, chunk)

    with mock.patch.multiple(Run, feed=look, finish=keep), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*access without a right")
        run.result = simulate(machine, trace, progress=False, **options)
    run.found += findings(run.m, run.dev, machine.design)
    return run
