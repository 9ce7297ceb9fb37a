"""How every kernel of the project is compiled and cached: the only file that imports numba or names its flags.

`part` is a kernel that only kernels call: inlined, compiled without reference counting, so it can't allocate.
`routine` is a larger one off the hot path: compiled once and called, not copied into each caller.
`entry` is a kernel that Python calls: compiled once per state type and kept on disk.

The disk cache lives in a folder named by a hash of every Python file of the three packages, of the versions of Numba,
llvmlite, NumPy and Python, of the flags and of the CPU: Numba's own cache looks at one file only and serves stale code
after an edit in a callee of another file. A cost or a size is therefore always data, never a global.
"""

import hashlib
import os
import pathlib
import platform
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import TypeVar

import llvmlite
import llvmlite.binding
import numba
import numpy
import platformdirs
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

Kernel = TypeVar("Kernel", bound=Callable)

CHECKED = os.environ.get("HWMODEL_CHECKED") == "1"
"""With HWMODEL_CHECKED=1 kernels check array bounds and divisors: so the test suite runs."""
JIT_OFF = bool(numba.config.DISABLE_JIT)
FLAGS = {"nogil": True, "boundscheck": CHECKED, "error_model": "python" if CHECKED else "numpy", "_nrt": False}
INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""For kernels that Python never calls: half the time to compile them went into the means of calling them from there."""
PACKAGES = ("hwmodel", "workloads", "analysis")


def cache_key() -> str:
    """The name of the cache folder: changes with anything that may change compiled code."""
    digest = hashlib.sha256()
    for version in (numba.__version__, llvmlite.__version__, numpy.__version__, sys.version, platform.machine()):
        digest.update(version.encode())
    digest.update(repr(FLAGS).encode())
    digest.update(llvmlite.binding.get_host_cpu_name().encode())
    digest.update(llvmlite.binding.get_host_cpu_features().flatten().encode())
    root = pathlib.Path(__file__).resolve().parent.parent
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def cache_dir() -> str:
    """The folder of this version's compiled kernels; HWMODEL_CACHE moves its parent."""
    parent = os.environ.get("HWMODEL_CACHE") or platformdirs.user_cache_dir("hwmodel")
    return os.path.join(parent, cache_key())


CACHE_DIR = cache_dir()


class InnerLibrary(JITCodeLibrary):
    """The code of one inner kernel, kept as it was lowered until an entry links it.

    Numba optimises and assembles every function together with all that it calls, before the next one does the same again: with kernels in
    ten layers that took minutes. Here only an entry is optimised and assembled, once, with everything it reaches.
    """

    _linked = None

    @property
    def codegen(self) -> SimpleNamespace:
        """The code generator; there is no machine code yet in which to set an environment."""
        return SimpleNamespace(set_env=lambda name, environment: None)

    def finalize(self) -> None:
        """Leave the kernel as it is."""
        self._finalized = True

    def _reached(self) -> dict:
        found, waiting = {}, [self]
        while waiting:
            library = waiting.pop()
            if library not in found:
                found[library] = None
                waiting += library._linking_libraries if isinstance(library, InnerLibrary) else []
        return found

    def _get_module_for_linking(self):
        if self._linked is None:
            self._linked = self._final_module.clone()
            for library in self._reached():
                if library is not self:
                    inner = isinstance(library, InnerLibrary)
                    module = library._final_module if inner else library._get_module_for_linking()
                    self._linked.link_in(module, preserve=True)
            for function in self._linked.functions:
                if not function.is_declaration and function.linkage == llvmlite.binding.Linkage.external:
                    function.linkage = "linkonce_odr"
        return self._linked


class InnerCompiler(Compiler):
    """Compiles a kernel into an `InnerLibrary`."""

    def __init__(self, typing, target, library, *rest) -> None:
        if library is None:
            library = InnerLibrary(target.codegen(), "inner")
            library.enable_object_caching()
        super().__init__(typing, target, library, *rest)


def inner(function: Kernel, **flags: bool) -> Kernel:
    """Compile a kernel that has no machine code of its own; Python may not call it (but its `py_func`)."""
    kernel = numba.njit(**FLAGS, **INNER, **flags, pipeline_class=InnerCompiler)(function)
    if not JIT_OFF:

        def refuse(*arguments, **keywords):
            raise TypeError(f"{function.__module__}.{function.__name__} is an inner kernel: Python calls its py_func")

        compiled = kernel.compile
        # Numba compiles a callee once for each constant that it is handed: 374 kernels instead of 255
        kernel.compile = lambda signature: compiled(tuple(numba.types.unliteral(kind) for kind in signature))
        kernel._insert = lambda *overload: None  # nothing to be found by a call from Python
        kernel._compile_for_args = refuse
    return kernel


def part(function: Kernel) -> Kernel:
    """Compile a kernel that only kernels call."""
    return inner(function, forceinline=True)


def routine(function: Kernel) -> Kernel:
    """Compile a kernel of the rare path, which its callers call.

    Said aloud, because a kernel that does not say takes the flag over from the one that is being compiled when it is first met: all
    were inlined into each other, 26,000 instructions became 110,000, and most of the time to compile was spent on them.
    """
    return inner(function, forceinline=False)


def entry(function: Kernel) -> Kernel:
    """Compile a kernel that Python calls, once per state type, cached on disk."""
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, CACHE_DIR
    try:
        return numba.njit(**FLAGS, cache=True)(function)
    finally:
        numba.config.CACHE_DIR = before


def numba_extension() -> SimpleNamespace:
    """Numba's extension interface, for `hwmodel.byref`."""
    from numba.core import cgutils, types
    from numba.core.datamodel import models
    from numba.core.typing.templates import AttributeTemplate
    from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, overload, register_model

    return SimpleNamespace(
        AttributeTemplate=AttributeTemplate, cgutils=cgutils, infer_getattr=infer_getattr, intrinsic=intrinsic,
        lower_getattr_generic=lower_getattr_generic, models=models, overload=overload, register_model=register_model, types=types,
    )  # fmt: skip
