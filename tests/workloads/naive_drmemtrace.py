"""drmemtrace entries read one by one: what the reader must make of any bytes of one file."""

import struct

from hwmodel import op

FETCHES = {*range(10, 17), 31, 48, 49}
PREFETCHES = {*range(2, 10), *range(32, 47), 27}
SKIPPED = {18, 19, 20, 21, 23, 26, 29, 47}
PAGE = 4096


def access(kind, address, size, who, half):
    """One access, page by page; nothing at a kernel address."""
    if -half <= address <= -size:
        return []
    if not 0 <= address <= half - size:
        raise ValueError(f"non-canonical address {address % (1 << 64):#x}")
    pages = range(address // PAGE + 1, (address + size - 1) // PAGE + 1)
    return [(kind, address, who), *((kind | op.CONTINUES, page * PAGE, who) for page in pages)]


def parse(data):
    """(accesses (kind, address, thread), the system calls' numbers, (byte, reason) or None, whether it is cut short)."""
    found, calls, who, pc, end, footer, half = [], [], -1, 0, 0, False, 1 << 47
    for at in range(0, len(data) - 11, 12):
        kind, size, value = struct.unpack_from("<HHq", data, at)
        try:
            if kind in (0, 1):
                found += access(op.READ if kind == 0 else op.WRITE, value, max(size, 1), who, half)
            elif kind in FETCHES or (kind == 30 and value != pc):
                found += access(op.FETCH, value, max(size, 1), who, half)
                pc, end = value, value + size
            elif kind == 17:
                if not 1 <= size <= 8:
                    raise ValueError(f"a bundle of {size} instructions")
                if end + size * 255 >= half:
                    raise ValueError(f"non-canonical address {value % (1 << 64):#x}")
                for length in struct.pack("<q", value)[:size]:
                    found += access(op.FETCH, end, max(length, 1), who, half)
                    pc, end = end, end + length
            elif kind == 22:
                who = value
            elif kind in (25,) or (kind == 28 and size == 12):
                if not 1 <= value < 100:
                    return found, calls, (at, f"format version {value} is not known"), False
            elif kind == 28 and size == 25:
                calls.append(value)
            elif kind == 28 and size == 9 and value & 8:
                half = 1 << 48
            elif kind == 26:
                footer = True
            elif kind not in PREFETCHES | SKIPPED | {24, 28, 30}:
                raise ValueError(f"unknown type {kind if kind < 1 << 15 else kind - (1 << 16)}")
        except ValueError as error:
            return found, calls, (at, str(error)), False
    return found, calls, None, len(data) % 12 > 0 or not footer
