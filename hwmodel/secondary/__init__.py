"""The designs of secondary MMUs: one module each, found by listing the files of this folder.

`protocol.py` says what a design's module has. Designs never import one another.
"""

import importlib
import pkgutil
from types import ModuleType

from hwmodel.config.errors import ConfigError, suggestion
from hwmodel.core.ledger import Book


def names() -> tuple[str, ...]:
    """Return the names of the designs, without importing them."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if not name.startswith("_") and name != "protocol"))


def design(name: str) -> ModuleType:
    """Return the module of a design, imported at first use: its kernels import Numba."""
    if name not in names():
        raise ConfigError(f"design: there is no {name!r}{suggestion(name, names())} (designs: {', '.join(names())})")
    from hwmodel.secondary import protocol

    return protocol.complete(importlib.import_module(f"{__name__}.{name}"))


def book(name: str) -> Book:
    """Return the names of what is measured on a machine of this design."""
    return design(name).BOOK


def designs() -> dict[str, ModuleType]:
    """Return every design's module by name."""
    return {name: design(name) for name in names()}
