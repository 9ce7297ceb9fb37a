"""ChampSim's instructions read word by word: what the reader must make of any bytes."""

import struct

from hwmodel import op

LAYOUTS = {64: ((2, 4), (4, 8), None), 96: ((3, 7), (7, 11), 11)}
"""By size: words that are stores, words that are loads, the word of the address space."""


def parse(data, size):
    """(accesses (kind, address, space), None or (byte, reason) where it stops, whether bytes are left over)."""
    stores, loads, asid = LAYOUTS[size]
    found = []
    for at in range(0, len(data) - size + 1, size):
        words = struct.unpack_from(f"<{size // 8}q", data, at)
        branch, taken = data[at + 8], data[at + 9]
        slots = [(op.FETCH, words[0])]
        slots += [(op.READ, words[i]) for i in range(*loads)] + [(op.WRITE, words[i]) for i in range(*stores)]
        if branch > 1 or taken > 1:
            return found, (at, f"branch flags {branch}, {taken} are not 0 or 1"), False
        strange = [address for _, address in slots if not -(1 << 47) <= address < 1 << 47]
        if strange:
            return found, (at, f"non-canonical address {strange[0] % (1 << 64):#x}"), False
        if words[0] == 0:
            return found, (at, "its ip is 0"), False
        space = 0 if asid is None else words[asid] & 0xFFFF
        found += [(kind, address, space) for kind, address in slots if address > 0]
    return found, None, len(data) % size > 0
