"""A result as bytes: NumPy's `.npz`, whose arrays need no pickle, with a head in JSON; the same result gives the same bytes."""

import io
import json
import warnings
import zipfile
import zlib
from dataclasses import asdict
from typing import Any

import numpy as np

from hwmodel import secondary
from hwmodel.config import ConfigError
from hwmodel.core.ledger import Book
from hwmodel.machine import Machine
from hwmodel.measure.tally import AgentInfo
from hwmodel.version import model_version

FORMAT = 1
HEAD = "head"
ARRAYS = ("clocks", "histograms", "phase_histograms", "phase_shares")
TALLIES = ("counters", "ledger", "serving")
NUMBERS = ("wall_seconds", "records", "references")


def to_bytes(result: Any) -> bytes:
    """Return a result and its regions."""
    parts = [result, *result.regions.values()]
    head = {
        "format": FORMAT,
        "version": model_version(),
        "machine": result.machine.described(),
        "trace": result.trace_info,
        "agents": [list(asdict(agent).values()) for agent in result.agents],
        "counts": _counted(result.book),
        "parts": [{"part": part.part} | {name: getattr(part, name) for name in NUMBERS} for part in parts],
        "regions": list(result.regions),
    }
    arrays = {HEAD: np.frombuffer(json.dumps(head).encode(), np.uint8)}
    for number, part in enumerate(parts):
        arrays |= {f"{name}.{number}": getattr(part, name) for name in ARRAYS}
        arrays |= {f"{name}.{number}": getattr(part, name).array for name in TALLIES}
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]  # its stub takes the arrays for the flag
    return file.getvalue()


def from_bytes(kind: type, data: bytes, name: str) -> Any:
    """Return the result that bytes are; `kind` is its class, `name` what messages call them.

    Raises ConfigError if they are none, or of a version that counted other things; warns if they are of another version.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        head = json.loads(arrays[HEAD].tobytes())
        if head["format"] != FORMAT:
            raise ConfigError(f"{name}: is a saved result of format {head['format']}, and this version reads {FORMAT}")
        _check_version(head, name)
        return _read(kind, head, arrays)
    except ConfigError:
        raise
    except (ValueError, KeyError, TypeError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{name}: is no saved result ({type(error).__name__})") from None


def _read(kind: type, head: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    machine, agents = Machine.from_description(head["machine"]), [AgentInfo(*agent) for agent in head["agents"]]
    parts = []
    for number, told in enumerate(head["parts"]):
        given = {array: arrays[f"{array}.{number}"] for array in (*ARRAYS, *TALLIES)}
        parts.append(kind(machine, head["trace"], agents, **given, **told))
        parts[-1].check()
    first, *regions = parts
    return first.with_regions(dict(zip(head["regions"], regions, strict=True)))


def _check_version(head: dict[str, Any], name: str) -> None:
    written, here = head["version"], model_version()
    if written == here:
        return
    if head["counts"] != _counted(secondary.book(head["machine"]["design"])):
        raise ConfigError(f"{name}: version {written} of the model wrote it, which counted other things than {here}")
    warnings.warn(f"{name}: version {written} of the model wrote it, and this is {here}", stacklevel=4)


def _counted(book: Book) -> dict[str, list[str]]:
    """Return the names of what a design counts, in the order of the arrays."""
    return {kind: list(getattr(book, kind)) for kind in ("counters", "accounts", "latencies", "phases", "paths")}
