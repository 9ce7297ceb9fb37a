"""A NamedTuple of tables handed from kernel to kernel as one pointer.

Numba passes a tuple of arrays by value: each table is seven machine words, at every call of every kernel, which made compiling this
project's kernels ten times slower than handing on a pointer. An entry wraps its tuples once, with `by_reference`; kernels see the same
attributes, which are arrays. With the JIT off a reference is the tuple itself.
"""

import hashlib
from typing import Any

from hwmodel.jit import numba_extension

ext = numba_extension()


def by_reference(tables: Any) -> Any:
    """Return the same tables; in compiled code, as one pointer into the frame of the entry that wraps them."""
    return tables


class Reference(ext.types.Type):
    """A pointer to a NamedTuple's value."""

    def __init__(self, tables: Any) -> None:
        self.tables = tables
        digest = hashlib.sha256(str(tables).encode()).hexdigest()[:12]  # a name is part of every symbol: keep it short
        super().__init__(name=f"{tables.instance_class.__name__}_{digest}")


@ext.register_model(Reference)
class _Model(ext.models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Reference) -> None:
        super().__init__(manager, kind, manager.lookup(kind.tables).get_value_type().as_pointer())


@ext.infer_getattr
class _Attributes(ext.AttributeTemplate):
    key = Reference

    def generic_resolve(self, kind: Reference, name: str) -> Any:
        """Return the type of a table."""
        return kind.tables[kind.tables.fields.index(name)] if name in kind.tables.fields else None


@ext.lower_getattr_generic(Reference)
def _load(context: Any, builder: Any, kind: Reference, pointer: Any, name: str) -> Any:
    return builder.load(ext.cgutils.gep_inbounds(builder, pointer, 0, kind.tables.fields.index(name)))


@ext.intrinsic
def _point(typing: Any, tables: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ext.cgutils.alloca_once_value(builder, arguments[0])

    return Reference(tables)(tables), generate


@ext.overload(by_reference, inline="always")
def _by_reference(tables):
    return lambda tables: _point(tables)
