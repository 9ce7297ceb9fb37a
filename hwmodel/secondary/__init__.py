"""The designs of secondary MMUs: one module each, found by listing the files of this folder.

A design's module has `Spec` and the kernels that docs/model.md sections 10 and 11 describe. Designs never import one
another.
"""

import importlib
import pkgutil
from types import ModuleType

from hwmodel.config.errors import ConfigError, suggestion
from hwmodel.core.ledger import Book


def names() -> tuple[str, ...]:
    """Return the names of the designs, without importing them."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")))


def design(name: str) -> ModuleType:
    """Return the module of a design, imported at first use: its kernels import Numba."""
    if name not in names():
        raise ConfigError(f"design: there is no {name!r}{suggestion(name, names())} (designs: {', '.join(names())})")
    return importlib.import_module(f"{__name__}.{name}")


def book(name: str) -> Book:
    """Return the names of what is measured on a machine of this design."""
    return design(name).BOOK


def designs() -> dict[str, ModuleType]:
    """Return every design's module by name."""
    return {name: design(name) for name in names()}
