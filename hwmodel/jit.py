"""How every kernel of the project is compiled and cached: the only file that imports numba or names its flags.

`part` is a kernel that only kernels call: inlined, compiled without reference counting, so it can't allocate.
`routine` is a larger one off the hot path: compiled once and called, not copied into each caller.
`entry` is a kernel that Python calls: compiled once per state type and kept on disk.
An index is never negative in any of them: `a[-1]` is `a[a.size - 1]` (`index_of`).

The disk cache lives in a folder named by a hash of every Python file of the three packages, of the versions of Numba,
llvmlite, NumPy and Python, of the flags and of the CPU: Numba's own cache looks at one file only and serves stale code
after an edit in a callee of another file. It also falls back to `__pycache__`, so `KernelCache` replaces it altogether.
A cost or a size is always data, never a global.
"""

import functools
import hashlib
import os
import pathlib
import pickle
import platform
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

import llvmlite
import llvmlite.binding
import numba
import numpy
import platformdirs

from hwmodel.store import Store

try:
    from numba.core.codegen import JITCodeLibrary
    from numba.core.compiler import Compiler, CompileResult
    from numba.core.dispatcher import Dispatcher
    from numba.core.options import DefaultOptions
    from numba.core.serialize import dumps
    from numba.np import arrayobj

    PRIVATE = {
        JITCodeLibrary: ("_final_module", "_linking_libraries", "_finalized", "_get_module_for_linking", "finalize",
                         "enable_object_caching", "has_dynamic_globals"),
        Compiler: ("library",),
        CompileResult: ("_reduce", "_rebuild"),
        Dispatcher: ("_cache", "_insert", "_compile_for_args", "compile", "load_overload", "save_overload"),
        arrayobj: ("fix_integer_index",),
        DefaultOptions: ("no_cpython_wrapper", "no_cfunc_wrapper", "forceinline", "_nrt"),
        numba.types: ("unliteral",),
    }  # fmt: skip
    """Names that are not part of Numba's interface and are used here all the same."""
except ImportError as lacking:
    raise ImportError(f"hwmodel can't use Numba {numba.__version__}; pyproject.toml says which versions it can ({lacking})") from None

Kernel = TypeVar("Kernel", bound=Callable)

CHECKED = os.environ.get("HWMODEL_CHECKED") == "1"
"""With HWMODEL_CHECKED=1 kernels check array bounds and divisors; the test suite runs that way."""
JIT_OFF = bool(numba.config.DISABLE_JIT)
FLAGS = {"nogil": True, "boundscheck": CHECKED, "error_model": "python" if CHECKED else "numpy", "_nrt": False}
INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""For kernels that Python never calls: half the time to compile them went into the means of calling them from Python."""
PACKAGES = ("hwmodel", "workloads", "analysis")


def lacking() -> list[str]:
    """Return the names of `PRIVATE` that this version of Numba does not have."""
    found = []
    for owner, names in PRIVATE.items():
        functions = [getattr(base, name, None) for base in getattr(owner, "__mro__", ()) for name in ("__init__", "compile")]
        codes = [function.__code__ for function in functions if hasattr(function, "__code__")]
        known = {name for code in codes for name in code.co_names + code.co_varnames}  # names that methods set, call or are given
        found += [f"{owner.__name__}.{name}" for name in names if not hasattr(owner, name) and name not in known]
    return found


if lacks := lacking():
    raise ImportError(f"hwmodel can't use Numba {numba.__version__}; pyproject.toml says which versions it can (no {', '.join(lacks)})")


IN_RANGE = arrayobj.fix_integer_index


def index_of(context: Any, builder: Any, kind: Any, index: Any, size: Any) -> Any:
    """Return an index into an array as it is, in a kernel: there none counts from the end, and to ask took an eighth of a run.

    Where bounds are checked a negative one is an error, like any that is too large. Other functions, which count references to arrays as
    Numba's do unless told otherwise, keep Python's meaning.
    """
    if context.enable_nrt:
        return IN_RANGE(context, builder, kind, index, size)
    return context.cast(builder, index, kind, numba.types.intp)


arrayobj.fix_integer_index = index_of


def cache_key() -> str:
    """Return the name of the cache folder, which changes with anything that may change compiled code."""
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
    """Return the folder of this version's compiled kernels; HWMODEL_CACHE moves its parent."""
    parent = os.environ.get("HWMODEL_CACHE") or platformdirs.user_cache_dir("hwmodel")
    return os.path.join(parent, cache_key())


CACHE_DIR = cache_dir()
STORE = Store(CACHE_DIR)


class InnerLibrary(JITCodeLibrary):
    """The code of one inner kernel, kept as it was lowered until an entry links it.

    Numba optimises and assembles every function together with all that it calls, before the next one does the same again: with kernels in
    ten layers that took minutes. Here only an entry is optimised and assembled, once, with everything it reaches.
    """

    _linked = None

    @property
    def codegen(self) -> SimpleNamespace:
        """Return a code generator that sets no environment: there is no machine code yet in which to set one."""
        return SimpleNamespace(set_env=lambda name, environment: None)

    def finalize(self) -> None:
        """Leave the kernel as it was lowered."""
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
    """Compile a kernel that has no machine code of its own; Python may call only its `py_func`."""
    kernel = numba.njit(**FLAGS, **INNER, **flags, pipeline_class=InnerCompiler)(function)
    if not JIT_OFF:

        def refuse(*arguments, **keywords):
            raise TypeError(f"{function.__module__}.{function.__name__} is an inner kernel: Python calls its py_func")

        compiled = kernel.compile
        # Numba compiles a callee once for each constant that it is handed: 374 kernels instead of 255
        kernel.compile = lambda signature: compiled(tuple(numba.types.unliteral(kind) for kind in signature))
        kernel._insert = lambda *overload: None  # a call from Python must find nothing
        kernel._compile_for_args = refuse
    return kernel


def part(function: Kernel) -> Kernel:
    """Compile a kernel that only kernels call."""
    return inner(function, forceinline=True)


def routine(function: Kernel) -> Kernel:
    """Compile a kernel of the rare path, which its callers call.

    The flag is explicit, because a kernel without it inherits the flag of the kernel that is being compiled when Numba first meets it:
    all were inlined into each other, 26,000 instructions became 110,000, and most of the time to compile was spent on them.
    """
    return inner(function, forceinline=False)


@functools.cache
def _digest(path: str) -> bytes:
    return hashlib.sha256(pathlib.Path(path).read_bytes()).digest()


class KernelCache:
    """The compiled code of one kernel on disk, in place of Numba's cache of a dispatcher.

    Parameters
    ----------
    function : callable
        The kernel, in Python.
    """

    def __init__(self, function: Callable) -> None:
        if function.__closure__:
            raise TypeError(f"{function.__qualname__}: a kernel's values are arguments, not a closure's")
        self._name = f"{function.__module__}.{function.__qualname__}".replace("<", "").replace(">", "")
        self._source = _digest(function.__code__.co_filename)  # the file may lie outside the three packages
        self._turns: list[str] = []
        self.cache_path = STORE.folder

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return the code compiled for a signature, or None; then it is this process's turn to compile it."""
        target.refresh()
        name = self._file(signature, target.codegen())
        found = self._load(name, signature, target)
        if found is None:
            STORE.begin(name)
            self._turns.append(name)
            found = self._load(name, signature, target)  # another process may have compiled it meanwhile
        return found

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Save the code compiled for a signature."""
        if not any(not lifted.can_cache for lifted in compiled.lifted) and not compiled.library.has_dynamic_globals:
            STORE.save(self._file(signature, compiled.codegen), dumps((signature, compiled._reduce())))

    def end_turns(self) -> None:
        """Let other processes compile this kernel: it has been compiled, or can't be."""
        while self._turns:
            STORE.end(self._turns.pop())

    def stored(self, signature: Any, target: Any) -> Any:
        """Return the code on disk for a signature, as it was reduced, or None if there is none."""
        data = STORE.load(self._file(signature, target.codegen()))
        kept, reduced = pickle.loads(data) if data else (None, None)
        return reduced if kept == signature else None

    def enable(self) -> None:
        """Do nothing: the cache is always enabled."""

    def disable(self) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing: a kernel that has changed has another folder."""

    def _load(self, name: str, signature: Any, target: Any) -> Any:
        data = STORE.load(name)
        if data is None:
            return None
        try:
            kept, reduced = pickle.loads(data)
            return CompileResult._rebuild(target, *reduced) if kept == signature else None
        except Exception as error:  # whatever the error is, compiling the kernel anew helps
            STORE.drop(name, f"can't be loaded ({type(error).__name__})")
            return None

    def _file(self, signature: Any, codegen: Any) -> str:
        digest = hashlib.sha256(self._source)
        digest.update(repr((signature, codegen.magic_tuple())).encode())
        return f"{self._name}-{digest.hexdigest()[:20]}"


def entry(function: Kernel) -> Kernel:
    """Compile a kernel that Python calls, once per state type, cached on disk."""
    kernel = numba.njit(**FLAGS)(function)
    if not JIT_OFF:
        kernel._cache, compiled = KernelCache(function), kernel.compile

        def compile(signature):
            try:
                return compiled(signature)
            finally:
                kernel._cache.end_turns()

        kernel.compile = compile
    return kernel


def numba_extension() -> SimpleNamespace:
    """Return Numba's extension interface, for `hwmodel.byref`."""
    from numba.core import cgutils, types
    from numba.core.datamodel import models
    from numba.core.typing.templates import AttributeTemplate
    from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, overload, register_model

    return SimpleNamespace(
        AttributeTemplate=AttributeTemplate, cgutils=cgutils, infer_getattr=infer_getattr, intrinsic=intrinsic,
        lower_getattr_generic=lower_getattr_generic, models=models, overload=overload, register_model=register_model, types=types,
    )  # fmt: skip
