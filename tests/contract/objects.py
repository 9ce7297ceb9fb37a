"""What a kernel's machine code calls, read from the cache on disk: compiling it afresh to look would take minutes."""

from typing import Any

import numba
import numpy as np

from hwmodel.jit import KernelCache

COUNTING = (b"NRT_incref", b"NRT_decref")
"""The symbols that code which counts references calls; Numba never inlines them."""


def object_code(kernel: Any) -> list[bytes]:
    """The object code of every signature of a kernel that its cache has."""
    if isinstance(kernel._cache, KernelCache):
        stored = [kernel._cache.stored(signature, kernel.targetctx) for signature in kernel.signatures]
    else:
        files = kernel._cache._cache_file
        stored = [files._load_data(name) for name in files._load_index().values()]
    libraries = [reduced[0] for reduced in stored if reduced]
    return [data[0] for _, kind, data in libraries if kind == "object"]


def counts_references(kernel: Any) -> bool:
    """Does any of it count references?"""
    code = object_code(kernel)
    assert code, f"nothing is cached of {kernel}"
    return any(symbol in piece for piece in code for symbol in COUNTING)


def keeps(tables: Any, n: int) -> Any:
    """What an ordinary kernel does that must count: it hands on an array of a tuple."""
    kept = tables[0]
    for k in range(n):
        if kept[k] > n:
            kept = tables[1]
    return kept


def ordinary_kernel(folder: Any) -> Any:
    """It, compiled as Numba does by default and cached in a folder."""
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
    try:
        kernel = numba.njit(cache=True)(keeps)
    finally:
        numba.config.CACHE_DIR = before
    kernel((np.arange(3), np.arange(3)), 2)
    return kernel
