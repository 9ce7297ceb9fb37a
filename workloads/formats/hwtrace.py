"""Trace files, as `Trace.load` reads and `Trace.save` writes them."""

from hwmodel.trace import Trace
from workloads.formats.writer import Writer, whole

WRITER = Writer("hwtrace", (".hwtrace",), whole(Trace.save), packed=False)
