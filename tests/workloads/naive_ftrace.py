"""The naive twin of `workloads.formats.kernel.lines`: cutting at fixed texts; and what a garbled line can at most have told."""

import re

from workloads.formats.kernel import parsers as f

TOLD_BY_NAME = {f.ENTER: 1, f.LEAVE: 1, f.IPI: 2, f.GUEST_FAULT: 0}
"""How many of an event's first numbers its line may tell by a name instead."""


def numbers_in(line):
    """Everything in a line that may be a number, read in every way that it may be meant."""
    found = set()
    for text in re.findall(r"-?[0-9a-fA-F]+", line.replace("0x", " ")):
        digits = text.lstrip("-")
        readings = {int(digits, 16)} | ({int(digits)} if digits.isdigit() else set())
        found |= readings | {-value for value in readings} | {value - (1 << 64) for value in readings if value >> 63}
    return found


def tells(line, event):
    """Whether a line has the thread and all numbers of an event that was read from it."""
    there = numbers_in(line)
    numbers = event.numbers[TOLD_BY_NAME.get(event.kind, 0) :]
    numbers = numbers[1:] if event.kind == f.GUEST_FAULT and numbers[0] == -1 else numbers  # the older layout names no vCPU
    numbers = numbers[:2] if event.kind == f.FAULT else numbers  # the third is user or kernel, by the event's name
    return event.thread in there and all(number in there for number in numbers)


def events(text):
    """(kind, numbers, thread) of every known event of a text, for the events that the fixtures have."""
    found = []
    for line in text.splitlines():
        if line.startswith(("#", "cpus=")) or not line.strip():
            continue
        left, right = line.split("] ", 1)
        thread = int(left.split("[")[0].split("(")[0].strip().replace("-", " ").replace("/", " ").split()[-1])
        words = right.split()
        at = next(i for i, word in enumerate(words) if word.endswith(":") and word[0].isdigit() and "." in word)
        name, fields = words[at + 1], words[at + 2 :]
        short = name.split(":")[-2] if name.endswith(":") and name.count(":") > 1 else name.rstrip(":")
        event = one(short, fields, " ".join(words[at + 1 :]))
        if event:
            found.append((*event, thread))
    return found


def one(name, fields, whole):
    """One event from its name and words."""
    values = {word.replace("=", ":").split(":")[0]: word.replace("=", ":").split(":")[1] for word in fields if "=" in word or ":" in word}
    if "(" in name:  # sys_mmap(addr: ...
        return call(name[4:].split("(")[0], [word.strip(",()") for word in whole.split()[1:] if not word.endswith(":")])
    if fields[:1] == ["->"]:
        return f.LEAVE, (f.CALLS.get(name[4:], f.OTHER), signed(fields[1]))
    if name == "sys_enter":
        return f.ENTER, (int(fields[1]), *(int(word.strip("(),"), 16) for word in fields[2:]))
    if name == "sys_exit":
        return f.LEAVE, (int(fields[1]), int(fields[3]))
    if name.startswith("sys_enter_"):
        return call(name[10:], [word.strip(",") for word in fields[1::2]])
    if name.startswith("sys_exit_"):
        return f.LEAVE, (f.CALLS.get(name[9:], f.OTHER), signed(fields[0]))
    if name.startswith("page_fault"):
        return f.FAULT, (int(values["address"], 16), int(values["error_code"], 16), int(name == "page_fault_user"))
    if name == "tlb_flush":
        return f.FLUSH, (int(values["pages"]), int(fields[-1].strip("()")))
    if name == "ipi_send_cpu":
        return f.IPI, (1, 0)
    if name == "kvm_unmap_hva_range":
        return f.UNMAP, (int(fields[4], 16), int(fields[6], 16))
    if name == "task_newtask":
        return f.NEW_TASK, (int(values["pid"]), int(values["clone_flags"], 16))
    if name == "sched_process_fork":
        return f.FORKED, (int(values["child_pid"]),)
    if name == "sched_process_exec":
        return f.EXEC, ()
    return (f.ENDED, (int(values["pid"]),)) if name == "sched_process_exit" else None


def call(name, arguments):
    """The beginning of a call."""
    return f.ENTER, (f.CALLS.get(name, f.OTHER), *(int(text, 16) for text in arguments))


def signed(text):
    """A result."""
    value = int(text, 16)
    return value - (1 << 64) if value >> 63 else value
