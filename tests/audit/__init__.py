"""The auditors: `tables` judges a machine's tables by one another, `stale` what TLBs and their like hold by the page tables.

`held` says which tables hold translations, `uses` which accesses a step completed. `judge` runs a trace and says what is wrong at its end
or in its midst; with the JIT off `watch` asks all of them after every step of a run, for `tests.contract` and `tests.races`.
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


def kept(machine, trace, at_end=None, **options):
    """Simulate; returns the `result`, and the tables `m` and `dev` as the run left them; `at_end` sees these before books are checked."""
    run = SimpleNamespace()
    finish = Run.finish

    def keep(self, *rest):
        run.m, run.dev = self.m, self.dev
        if at_end:
            at_end(self.m, self.dev)
        return finish(self, *rest)

    with mock.patch.object(Run, "finish", keep), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*access without a right")
        run.result = simulate(machine, trace, progress=False, **options)
    return run


def judge(machine, trace, midst=False, **options):
    """Simulate as `kept` does; says too what was `found`.

    `midst`: look at the tables whenever the engine asks for records too (options: a small chunk), while operations are under way.
    """
    found, feed = [], Run.feed

    def look(self, chunk):
        if midst:
            found.extend(f"at {self.m.ctl[0].now}: {text}" for text in findings(self.m, self.dev, machine.design, quiet=False))
        feed(self, chunk)

    with mock.patch.object(Run, "feed", look):
        run = kept(machine, trace, **options)
    run.found = found + findings(run.m, run.dev, machine.design)
    return run
