"""CPUs that an event is sent to: bitmaps, lists, or arrays of bytes from tools that can't print these."""

import re

MASK = re.compile(r":\s+(?:\[FAILED TO PARSE\]\s+)?cpumask=(?:ARRAY\[([0-9a-f, ]*)\]|(\S+))(.*)")
BITMAP = re.compile(r"[0-9a-f]{1,8}(?:,[0-9a-f]{8})*")
"""Hexadecimal words of 32 CPUs, most significant first."""
NUMBER = r"(?:0|[1-9]\d{0,4})"
LIST = re.compile(rf"{NUMBER}(?:-{NUMBER})?(?:,{NUMBER}(?:-{NUMBER})?)*")
"""CPUs and ranges of them, in ascending order."""


def targets(found: re.Match[str], lists: bool) -> int:
    """Return the number of CPUs that a match of MASK has; `lists` decides where they may be a list or a bitmap."""
    if found[1] is not None:
        return sum(int(byte, 16).bit_count() for byte in found[1].split(","))
    return len(listed_cpus(found[2])) if is_list(found[2], lists) else bitmap(found[2]).bit_count()


def is_list(text: str, lists: bool) -> bool:
    """Return whether CPUs are a list rather than a bitmap; `lists` decides where they may be either. ValueError if they are neither."""
    may_be_list, may_be_bitmap = LIST.fullmatch(text) is not None, BITMAP.fullmatch(text) is not None
    if not may_be_list and not may_be_bitmap:
        raise ValueError
    return may_be_list and (lists or not may_be_bitmap)


def listed_cpus(text: str) -> list[int]:
    """Return the CPUs of a list; ValueError if they do not ascend."""
    cpus = list[int]()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if (cpus and int(first) <= cpus[-1]) or int(last or first) < int(first):
            raise ValueError
        cpus += range(int(first), int(last or first) + 1)
    return cpus


def bitmap(text: str) -> int:
    """Return the CPUs of a bitmap, a bit each."""
    return int(text.replace(",", ""), 16)


class Masks:
    """Whether CPUs that interrupts are sent to are lists: most texts tell, and a CPU sends none to itself."""

    def __init__(self) -> None:
        self._lists = self._bitmaps = 0
        self._sure = ""
        self._lengths = set[int]()

    def note(self, text: str, cpu: int) -> None:
        """Note the text of an event, sent by a CPU."""
        found = MASK.match(text)
        mask = found[2] if found else None
        if mask is None:
            return
        if is_list(mask, False):
            self._sure = "list"
        elif not is_list(mask, True):
            self._sure = self._sure or "bitmap"
        else:
            self._lengths.add(len(mask))
            self._lists += cpu >= 0 and bitmap(mask) >> cpu & 1
            self._bitmaps += cpu in listed_cpus(mask)

    def are_lists(self) -> bool:
        """Return whether a text that may be either is a list; bitmaps are all as long as the machine has CPUs."""
        if self._sure:
            return self._sure == "list"
        return self._lists > self._bitmaps or (len(self._lengths) > 1 and not self._bitmaps)
