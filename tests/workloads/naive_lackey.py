"""Lackey's accesses read line by line with a regular expression, calls left out: what the reader must make of any text."""

import re

from hwmodel import op

ACCESS = re.compile(rb"(I | L| S| M|I) ([0-9a-f]{1,12}),([0-9]+)\r?")
BLOCK = re.compile(rb"SB [0-9a-f]{1,12}\r?")
KINDS = {b"I ": op.FETCH, b"I": op.FETCH, b" L": op.READ, b" S": op.WRITE, b" M": op.WRITE}
LONGEST = 15 * 4096


def parse(data):
    """(accesses (kind, address, 0), None or the number of the line that is garbled, whether it is cut within a line)."""
    found = []
    *lines, rest = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if line.startswith((b"==", b"--", b"**", b"SYSCALL[", b" -->")) or not line.strip() or BLOCK.fullmatch(line):
            continue
        access = ACCESS.fullmatch(line)
        length = int(access[3]) if access else 0
        if access is None or not 1 <= length <= LONGEST or int(access[2], 16) + length > 1 << 47:
            return found, number, False
        kind, address = KINDS[access[1]], int(access[2], 16)
        found.append((kind, address, 0))
        pages = range((address >> 12) + 1, (address + length - 1 >> 12) + 1)
        found += [(kind | op.CONTINUES, page << 12, 0) for page in pages]
    return found, None, bool(rest) and b"](59) " not in rest
