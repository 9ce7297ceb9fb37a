"""Files of columns read value by value: what the readers must make of any bytes.

`parse` gives the records, one row at a time and not coalesced, or ("refused", reason), or (records, "cut").
"""

import io
import json
import re
import warnings
import zipfile

import numpy as np

from hwmodel import op

NAMES = {"address": "address", "kind": "kind", "size": "size", "count": "count", "gap": "gap", "thread": "thread",
         "tid": "thread", "agent": "thread", "space": "space", "pid": "space", "asid": "space", "role": "role",
         "addr": "address", "vaddr": "address", "type": "kind", "op": "kind", "rw": "kind"}  # fmt: skip
WORDS = {
    "kind": {"r": 0, "read": 0, "load": 0, "w": 1, "write": 1, "store": 1, "i": 2, "x": 2, "fetch": 2, "ifetch": 2,
             "compute": 3, "syscall": 24, "sync": 23},
    "role": {"cpu": 0, "device": 1},
}  # fmt: skip
OWN = ["kind", "address", "count", "gap", "agent"]
OWN_KINDS = {name: kind for kind, name in op.NAMES.items()} | {"read+": 64, "write+": 65, "fetch+": 66}
BLANKS = b" \t\r"


class RefusedError(Exception):
    """The bytes are no file of columns."""


def parse(data):
    """What a file of columns says."""
    try:
        if data.startswith(b'# {"hwmodel.csv"'):
            records, cut = own_csv(data)
        else:
            rows, cut = next(table for begins, table in TABLES if data.startswith(begins))(data)
            records = records_of(rows)
    except RefusedError as error:
        return ("refused", str(error))
    return (records, "cut") if cut else records


def columns(names):
    found = [NAMES.get(name.strip().lower()) for name in names]
    if None in found or len(set(found)) < len(found) or "address" not in found:
        raise RefusedError(f"columns {names}")
    return found


def records_of(rows):
    """Rows, as dictionaries of integers, become records."""
    agents, records = {}, []
    for number, given in enumerate(rows):
        row = {"kind": 0, "size": 1, "count": 1, "gap": 0, "thread": 0, "space": 0, "role": 0} | given
        kind, address, size, count = row["kind"], row["address"], row["size"], row["count"]
        right = kind in (0, 1, 2, 3, 23, 24) and 1 <= count < 1 << 31 and 0 <= row["gap"] < 1 << 31 and row["role"] in (0, 1)
        if kind < 3:
            crosses = address // 4096 != (address + size - 1) // 4096
            right &= 1 <= size <= 15 * 4096 and 0 <= address <= (1 << 47) - size and not (crosses and count > 1)
        agent, role = agents.setdefault((row["space"], row["thread"]), (len(agents), row["role"]))
        right &= role == row["role"] and not (role and kind in (2, 24)) and agent < 128
        if not right:
            raise RefusedError(f"row {number}: {row}")
        gap = row["gap"]
        if gap > 32767:
            records.append((0, gap, 0, 3, agent))
            gap = 0
        if kind < 3:
            records.append((address, count, gap, kind, agent))
            pages = range(address // 4096 + 1, (address + size - 1) // 4096 + 1)
            records += [(page * 4096, 1, 0, kind | 64, agent) for page in pages]
        else:
            records.append((0, 0 if kind == 23 else count, gap, kind, agent))
    return records


def csv(data):
    """Lines of text."""
    *lines, rest = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    texts = [line.decode("utf-8", "replace").rstrip("\r") for line in lines]
    header = next((i for i, text in enumerate(texts) if text.strip() and not text.startswith("#")), None)
    if header is None:
        raise RefusedError("no header")
    names = columns([name.strip().strip('"') for name in texts[header].split(",")])
    rows = [fields(line, names, WORDS) for line in lines[header + 1 :] if line.strip(BLANKS)]
    return rows, bool(rest.strip())


def fields(line, names, words):
    row = {}
    for name in names:
        if line is None:
            raise RefusedError("too few fields")
        found = re.match(rb'[ \t\r]*("?)(-?0[xX][0-9a-fA-F]+|-?[0-9]+|[A-Za-z_+]+)\1[ \t\r]*(,|$)', line)
        if not found:
            raise RefusedError(f"{name}: {line}")
        text = found[2].decode()
        if text[0].isalpha() or text[0] in "_+":
            row[name] = words.get(name, {}).get(text.lower())
        elif text[0] == "-" and name in words:
            row[name] = None
        else:
            row[name] = int(text, 16 if "x" in text.lower() else 10)
        if row[name] is None or abs(row[name]) >= 1 << 63:
            raise RefusedError(f"{name}: {text}")
        line = line[found.end() :] if found[3] else None
    if line is not None:
        raise RefusedError("too many fields")
    return row


def own_csv(data):
    """What save_csv writes."""
    *lines, rest = data.split(b"\n")
    try:
        texts = iter([line.decode("utf-8", "replace").rstrip("\r") for line in lines])
        about = json.loads(next(texts)[2:])
        agents = [op.Agent(agent["role"], int(agent["space"]), str(agent["name"])) for agent in about["agents"]]
        if about["hwmodel.csv"] > 1 or not 0 < len(agents) <= 128:
            raise ValueError
        dict(about["info"])
        prelude, wanted, skipped = [], int(about["prelude"]), 1
        while len(prelude) < wanted:
            line = next(texts)
            prelude += [tuple(map(int, record)) for record in dict(json.loads(line[2:]))["prelude"]] if line[:2] == "# " else [()]
            skipped += 1
        np.array(prelude, op.OP)
        if next(texts) != ",".join(OWN):
            raise ValueError
        total = int(about["records"])
    except (StopIteration, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RefusedError(f"its first lines: {error!r}") from None
    records = []
    for line in lines[skipped + 1 :]:
        if line.strip(BLANKS):
            row = fields(line, OWN, {"kind": OWN_KINDS})
            fits = abs(row["count"] + 0.5) < 1 << 31 and abs(row["gap"] + 0.5) < 1 << 15 and 0 <= row["agent"] < 128
            if not fits or row["kind"] not in OWN_KINDS.values():
                raise RefusedError(f"{row}")
            records.append((row["address"], row["count"], row["gap"], row["kind"], row["agent"]))
    if len(records) > total:
        raise RefusedError("more records than it should have")
    if len(records) == total:
        return records, bool(rest.strip())
    heads = [i for i, record in enumerate(records) if record[3] != op.ARG]
    if heads and len(records) - heads[-1] <= 3:
        head = records[heads[-1]]
        large = 8 <= head[3] < 64 and head[3] != op.BRK and head[1] == -1
        if len(records) - heads[-1] < 1 + op.ARGS.get(head[3], 0) + large:
            records = records[: heads[-1]]
    return records, True


def array(data):
    """(dtype, elements, whether elements are missing, bytes behind them) of an .npy; its header by NumPy itself."""
    file = io.BytesIO(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, _, dtype = read(file)
        except Exception as error:
            raise RefusedError(f"header: {error!r}") from None
    if dtype.hasobject or not 0 < dtype.itemsize <= 1 << 16 or len(shape) != 1 or shape[0] < 0:
        raise RefusedError(f"{dtype}, {shape}")
    rest = data[file.tell() :]
    whole = min(len(rest) // dtype.itemsize, shape[0])
    items = [rest[i * dtype.itemsize : (i + 1) * dtype.itemsize] for i in range(whole)]
    return dtype, items, whole < shape[0], len(rest) - shape[0] * dtype.itemsize


def value(item, dtype, offset, name):
    """One element as an integer of 64 bits."""
    if dtype.shape or not (dtype.kind in "iu" or (dtype.kind in "SU" and name in WORDS)):
        raise RefusedError(f"{name} is {dtype}")
    raw = item[offset : offset + dtype.itemsize]
    if dtype.kind in "SU":
        word = np.frombuffer(raw, dtype)[0]
        word = word.decode("latin-1") if dtype.kind == "S" else str(word)
        return WORDS[name].get(word.strip().lower(), -1)
    little = dtype.newbyteorder("<") == dtype
    number = int.from_bytes(raw, "little" if little else "big", signed=dtype.kind == "i")
    return number - (1 << 64) if number >= 1 << 63 else number


def npy(data):
    """A structured array, or addresses."""
    dtype, items, short, behind = array(data)
    if behind > 0:
        raise RefusedError("bytes behind")
    if dtype.names is None:
        value(bytes(dtype.itemsize), dtype, 0, "address")
        return [{"address": value(item, dtype, 0, "address")} for item in items], short
    names = columns(dtype.names)
    found = [(name, *dtype.fields[field][:2]) for name, field in zip(names, dtype.names, strict=True)]
    for name, kind, _ in found:
        value(bytes(dtype.itemsize), kind, 0, name)
    return [{name: value(item, kind, offset, name) for name, kind, offset in found} for item in items], short


def npz(data):
    """An array for each column."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.namelist()
            names = columns([name.removesuffix(".npy") for name in members])
            arrays = [array(archive.open(member).read()) for member in members]
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(repr(error)) from None
    if any(short or behind for _, _, short, behind in arrays) or len({len(items) for _, items, _, _ in arrays}) > 1:
        raise RefusedError("lengths differ")
    for name, (dtype, _, _, _) in zip(names, arrays, strict=True):
        value(bytes(dtype.itemsize), dtype, 0, name)
    columns_ = [[value(item, dtype, 0, name) for item in items] for name, (dtype, items, _, _) in zip(names, arrays, strict=True)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns_, strict=True)], False


def parquet(data):
    """What pyarrow makes of it."""
    from pyarrow import parquet as pq

    try:
        with pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True) as file:
            names = columns(file.schema_arrow.names)
            table = file.read(use_threads=False)
            if table.num_rows != file.metadata.num_rows:
                raise RefusedError("rows are missing")
            kinds = [str(field.type) for field in table.schema]
            rows = [dict(zip(names, row.values(), strict=True)) for row in table.to_pylist()]
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(repr(error)) from None
    for name, kind in zip(names, kinds, strict=True):
        text = "string" in kind and name in WORDS
        if not text and not re.fullmatch(r"u?int\d+", kind):
            raise RefusedError(f"{name} is {kind}")
        for row in rows:
            if row[name] is None:
                raise RefusedError(f"{name} is empty")
            row[name] = WORDS[name].get(row[name].strip().lower(), -1) if text else row[name]
    return rows, False


TABLES = ((b"\x93NUMPY", npy), (b"PK\x03\x04", npz), (b"PAR1", parquet), (b"", csv))
