"""Threads and address spaces of a recording of kernel events, and their agents."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from workloads.formats.assembly import Assembly
from workloads.formats.kernel.lines import Event
from workloads.formats.kernel.survey import VCPU, Survey


@dataclass
class Space:
    """One address space.

    Parameters
    ----------
    agent : int
        The first agent in it; -1 before its first record.
    """

    agent: int = -1
    live: set[int] = field(default_factory=set)  # numbers of its threads
    ending: bool = False
    exited: bool = False
    left_out: bool = False  # there was no room for it
    device: int = -1
    host: int = -1
    vcpus: dict[str, int] = field(default_factory=dict)


@dataclass
class Task:
    """One thread.

    Parameters
    ----------
    pid : int
        The thread's number.
    space : Space
        The thread's address space.
    name : str
        The thread's name.
    """

    pid: int
    space: Space
    name: str
    agent: int = -1
    call: tuple[int, ...] = ()  # the current system call: number, arguments
    last: int = 0  # the latest completed call
    path: str = ""
    done: bool = False  # the call's operation has been recorded already
    made: int = 0  # the number of the thread made by the call
    pending: list[tuple[int, int]] = field(default_factory=list)  # (address, kind) of faults


class Tasks:
    """Threads by number.

    Parameters
    ----------
    run : Assembly
        The assembly in which agents are made.
    survey : Survey
        What the whole recording tells of its threads.
    """

    def __init__(self, run: Assembly, survey: Survey) -> None:
        self._run, self._survey = run, survey
        self._tasks: dict[int, Task] = {}

    def of(self, event: Event) -> Task:
        """Return the thread of an event; a new one belongs to its process if the event has it, otherwise it is a process of its own."""
        return self._tasks.get(event.thread) or self._new(event.thread, event.process, event.name or "process")

    def owner(self, thread: int, first: int, end: int) -> Space | None:
        """Return the address space that a range of bytes is of, with an agent; None if that is not known, or there is no room for it."""
        process = self._survey.owner(thread, first, end)
        if process is None:
            return None
        task = self._tasks.get(process) or self._new(process, process, self._survey.name(process, "process"))
        return task.space if (task.space.agent >= 0 and not task.space.exited) or self.agent(task) >= 0 else None

    def _new(self, thread: int, process: int, name: str) -> Task:
        """Add a thread that nobody was seen to make."""
        if process < 0:
            process = self._survey.process(thread)
        sibling = self._tasks.get(process)
        task = Task(thread, sibling.space if sibling else Space(), name)
        self._enter(task)
        if not sibling and process != thread:
            self._tasks[process] = Task(process, task.space, self._survey.name(process, task.name))
            task.space.live.add(process)
        return task

    def by_pid(self, pid: int) -> Task | None:
        """Return a thread by number, None if it is not known."""
        return self._tasks.get(pid)

    def knows(self, pid: int) -> bool:
        """Return whether there is such a thread."""
        return pid in self._tasks

    def has_exited(self, pid: int) -> bool:
        """Return whether a number is that of a recorded process that has exited."""
        return pid in self._tasks and self._tasks[pid].space.exited and self._tasks[pid].space.agent >= 0

    def waiting(self) -> list[Task]:
        """Return the threads with page faults that have not become records."""
        return [task for task in self._tasks.values() if task.pending]

    def root(self, name: str, pid: int = 0) -> Task:
        """Add a process that exists from the beginning, with an agent; return its thread."""
        task = Task(pid, Space(), name)
        self._enter(task)
        self.agent(task)
        return task

    def agent(self, task: Task) -> int:
        """Return the agent of a thread, made at its first record; -1 if its space is gone or there is no room for it."""
        space = task.space
        if space.exited or space.left_out:
            return -1
        if task.agent < 0:
            self._admit(task, space)
        return task.agent

    def _admit(self, task: Task, space: Space) -> None:
        if self._run.is_full():
            self._run.notes["threads_that_share_an_agent" if space.agent >= 0 else "processes_left_out"] += 1
            space.left_out, task.agent = space.agent < 0, space.agent
        elif space.agent < 0:
            space.agent = task.agent = self._run.process(task.name)
        else:
            task.agent = self._run.thread(space.agent, f"{task.name}/{task.pid}")

    def make(self, parent: Task, pid: int, shares: bool) -> None:
        """Add a thread or, if it does not share its parent's space, a process."""
        child = Task(pid, parent.space if shares else Space(), parent.name)
        if not shares:
            caller = self.agent(parent)
            agent = self._run.fork(caller, f"{parent.name}:{pid}") if caller >= 0 else -1
            child.space.left_out, child.space.agent, child.agent = agent < 0, agent, agent
        self._enter(child)

    def shares(self, task: Task, other: int) -> bool:
        """Return whether another thread shares this one's space."""
        known = self._tasks.get(other)
        return known is not None and known.space is task.space

    def replace(self, task: Task) -> None:
        """Give a thread that executes a program a new space; its old space ends if no other thread is in it."""
        if task.agent < 0 and task.space.agent < 0:
            return
        self.end(task)
        task.space, task.agent, task.call = Space(), -1, ()
        self._enter(task)

    def leave(self, task: Task, group: bool) -> None:
        """Let a thread, or all of its process, exit; the recording may report the end later."""
        task.space.ending |= group
        if not group:
            self.end(task)

    def end(self, task: Task) -> None:
        """End a thread; its space ends too if it was the last."""
        space = task.space
        space.live.discard(task.pid)
        if not space.live and not space.exited:
            space.exited = True
            if space.agent >= 0:
                self._run.exit(space.agent)

    def finish(self) -> None:
        """End the spaces whose exit has begun, at the end of the recording."""
        for space in self._spaces():
            if space.ending and not space.exited and space.agent >= 0:
                space.exited = True
                self._run.exit(space.agent)

    def device(self, space: Space, name: str) -> bool:
        """Add a device to a space, which subscribes to its notifier; return False if there is no room for one."""
        if space.device < 0 and not self._run.is_full():
            space.device = self._run.device(space.agent, name)
        return space.device >= 0

    def vcpu(self, task: Task, number: int) -> int:
        """Return the device agent of a vCPU, -1 if there is no room; the first vCPU is the subscribed device.

        A number of -1 is not known: the vCPU is the thread, whose name may have its number.
        """
        space, found = task.space, VCPU.match(task.name)
        key = f"thread {task.pid}" if number < 0 else f"vcpu{number}"
        if key not in space.vcpus:
            name = key if number >= 0 else f"vcpu{found[1] if found else len(space.vcpus)}"
            if not space.vcpus and self.device(space, name):
                self._run.rename(space.device, name)
                space.vcpus[key] = space.device
            elif not self._run.is_full():
                space.vcpus[key] = self._run.device(space.agent, name)
        return space.vcpus.get(key, -1)

    def host(self, space: Space) -> int:
        """Return the CPU agent that invalidates a space's memory from outside."""
        if space.host < 0:
            space.host = space.agent if self._run.is_full() else self._run.thread(space.agent, "host")
        return space.host

    def _enter(self, task: Task) -> None:
        before = self._tasks.get(task.pid)
        if before is not None and before is not task:  # the number is reused
            self.end(before)
        self._tasks[task.pid] = task
        task.space.live.add(task.pid)

    def _spaces(self) -> Iterator[Space]:
        return iter({id(task.space): task.space for task in self._tasks.values()}.values())
