"""QEMU execlog's text parsed by regular expressions and nothing else."""

import re

from hwmodel import op

USE = re.compile(r"(load|store), 0x([0-9a-f]+)")
USES = r", (?:load|store), 0x[0-9a-f]{1,16}|,(?! ?(?:load|store),)[^,\r\n\0]*>[^,\r\n\0]*"
LINE = re.compile(rf'(\d{{1,4}}), 0x([0-9a-f]{{1,16}}), 0x[0-9a-f]{{1,8}}, "[^"\n\0]*"((?:{USES})*)\r?', re.ASCII)


def parse(data):
    """(accesses as (kind, address, CPU), number of the garbled line or 0, whether it is cut short)."""
    found = []
    lines = data.decode("latin-1").split("\n")
    for number, text in enumerate(lines[:-1], 1):
        line = LINE.fullmatch(text)
        accesses = line and [(op.FETCH, int(line[2], 16)), *_folded(line[3])]
        if accesses and all(address < op.USER_END for _, address in accesses):
            found += [(kind, address, int(line[1])) for kind, address in accesses]
        elif text.encode("latin-1").strip():
            return found, number, False
    return found, 0, bool(lines[-1])


def _folded(text):
    """Loads and stores; a load and a store of one address right behind it are a store."""
    out = []
    for word, address in USE.findall(text):
        kind, address = (op.READ if word == "load" else op.WRITE), int(address, 16)
        if kind == op.WRITE and out and out[-1] == (op.READ, address):
            out.pop()
        out.append((kind, address))
    return out
