"""Record a program as a trace, with one of the tools in `workloads.recorders`."""

import functools
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hwmodel.arguments import is_shown
from hwmodel.op import Agent, TraceError, TraceWarning, count_references
from hwmodel.output import is_replaced
from hwmodel.trace import Trace
from workloads.formats.passes import Pass
from workloads.recorders import lackey, qemu

TOOLS = {"qemu": qemu, "lackey": lackey}
"""The recording tools, in the order in which "auto" tries them."""


def record(
    command: Sequence[str],
    out: str | os.PathLike[str] | None = None,
    *,
    tool: str = "auto",
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    progress: bool | None = None,
) -> Trace:
    """Run a program under a tool that records its accesses, system calls and operations on memory.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments. It has this process's input and output. It makes tens of millions of references
        a second with qemu, less than one million with lackey.
    out : path, optional
        Trace file to write, by custom ``.hwtrace``; written completely or not at all. A pipe or a device gets the records as they
        arrive, and they can't be read again from the trace. None keeps the trace in memory (16 bytes a record).
    tool : str
        ``"qemu"`` (QEMU's user mode with a plugin of ours: threads are agents), ``"lackey"`` (valgrind: threads share one
        agent, every run records the same) or ``"auto"``: qemu if it and a C compiler are installed and the plugin can be built,
        else lackey.
    cwd, env : optional
        Working directory and environment of the program.
    progress : bool, optional
        Show how many references have been recorded; by default on a terminal or in a notebook, from the third second on.

    Returns
    -------
    Trace
        `info` has the command, its exit status (negative: the signal that killed it), the tool, and the tool's own info.

    Raises
    ------
    TraceError
        If the tool is not installed or the program can't be started.

    Warns
    -----
    TraceWarning
        If the recording ends before the program does; or if "auto" had to take lackey: what is lost with it, and why.
    """
    command = [os.fspath(part) for part in command]
    if not command:
        raise TraceError("nothing to record: the command is empty")
    taken, loss = _choose(tool)
    name = os.path.join(cwd or "", command[0]) if os.sep in command[0] else command[0]
    if shutil.which(name, path=(env or os.environ).get("PATH")) is None:
        raise TraceError(f"cannot record {command[0]!r}: no such program")
    if loss:
        warnings.warn(f"recording with {taken}, {loss}", TraceWarning, stacklevel=2)
    trace = _Recording(TOOLS[taken].Recorder(command, cwd, env), command[0], is_shown(progress))
    if out is not None:
        trace.save(out)
        if is_replaced(out):
            return Trace.load(out)
        return Trace(trace.agents, functools.partial(_gone, out), trace.prelude, trace.info, os.fspath(out), *trace.sizes)
    chunks = list(trace.chunks())
    return Trace(trace.agents, functools.partial(iter, chunks), trace.prelude, trace.info)


class _Recording(Trace):
    """A trace that is read once, while its program runs; agents, prelude and info are complete at the end."""

    def __init__(self, running: Pass, name: str, progress: bool) -> None:
        super().__init__([Agent("cpu", 0, name)], functools.partial(self._records, running))
        self.sizes = 0, 0
        self._progress = progress

    def _records(self, running: Pass) -> Iterator[np.ndarray]:
        from tqdm import tqdm

        with tqdm(desc="recording", unit=" references", unit_scale=True, disable=not self._progress, leave=False, delay=2) as bar:
            for chunk in running.chunks():
                self.agents = tuple(running.agents)
                references = count_references(chunk)
                self.sizes = self.sizes[0] + chunk.size, self.sizes[1] + references
                bar.update(references)
                yield chunk
        self.agents = tuple(running.agents)
        self.prelude, self.info = running.finish()


def _gone(out: str | os.PathLike[str]) -> Iterator[np.ndarray]:
    raise TraceError(f"{os.fspath(out)}: the records went there as they came and can't be read again")


def _choose(tool: str) -> tuple[str, str]:
    """Return the name of the tool that records; if "auto" can't take the better one, what is lost with it, and why."""
    if tool == "auto":
        reasons = {name: _unusable(name) for name in TOOLS}
        usable = [name for name, reason in reasons.items() if not reason]
        if not usable:
            raise TraceError(f"recording needs one of {'; '.join(reasons.values())}")
        loss = f"{lackey.LOSS}; QEMU records threads and is faster, but needs {reasons['qemu']}"
        return usable[0], loss if usable[0] == "lackey" else ""
    if tool not in TOOLS:
        raise TraceError(f"no tool {tool!r} to record with; there are auto, {', '.join(TOOLS)}")
    if reason := TOOLS[tool].missing():
        raise TraceError(f"recording needs {reason}")
    return tool, ""


def _unusable(name: str) -> str:
    """Return the reason why a tool cannot be used here; empty if it can."""
    reason = TOOLS[name].missing()
    if name == "qemu" and not reason:
        try:
            qemu.plugin()
        except (TraceError, OSError) as error:
            return str(error)
    return reason
