"""Rule 11, about a design's settings: frozen, complete, and nonsense is refused by its dotted name."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hwmodel.config import DesignSpec, SettingError
from hwmodel.config.common import Common
from hwmodel.config.errors import explained
from hwmodel.config.section import CONFIDENCE, Declared, Section, declared, flat, nested
from tests.audit.watch import Broken
from tests.support.designs import Design

RULE = "spec_is_strict"


def spec_is_strict(design: Design) -> None:
    """11: `Spec` is frozen, every field has a default, a unit, a source; a value that makes no sense is refused by its name."""
    spec = design.module.Spec
    demand(issubclass(spec, DesignSpec), "Spec is no DesignSpec")
    for name, about in declared(spec):
        demand(about.default is not PydanticUndefined, f"{name} has no default")
        demand(bool(about.unit and about.source and about.description), f"{name} lacks a unit, a source or a description")
        demand(about.confidence in CONFIDENCE, f"{name} has the confidence {about.confidence!r}")
    defaults = spec()
    for section, field in fields(defaults):
        demand(is_frozen(section, field), f"{type(section).__name__}.{field} can be changed")
    optional = {name for name, field in infos(spec) if any(getattr(limit, "ge", None) == 0 for limit in field.metadata)}
    for changes, names in nonsense(dict(declared(spec)), dict(flat(defaults)), optional):
        said = refusal(spec, changes)
        demand(said.startswith(tuple(f"{name}:" for name in names)), f"{changes} gives: {said or 'no complaint'}")


def demand(holds: bool, what: str) -> None:
    """A part of the rule."""
    if not holds:
        raise Broken(RULE, what)


def fields(section: Section) -> Iterator[tuple[Section, str]]:
    """Every field of a section and of those in it."""
    for field in type(section).model_fields:
        yield section, field
        if isinstance(getattr(section, field), Section):
            yield from fields(getattr(section, field))


def infos(section: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Dotted name and pydantic's field of every setting."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from infos(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def is_frozen(section: Section, field: str) -> bool:
    """Is an assignment refused?"""
    try:
        setattr(section, field, getattr(section, field))
    except ValidationError:
        return True
    return False


def nonsense(
    settings: dict[str, Declared], values: dict[str, Any], optional: set[str]
) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """(values that make no sense, the names of which one must be blamed); `optional` ones may be 0: then they are not there."""
    for name, about in settings.items():
        for value in senseless(about, values[name], name in optional):
            yield {name: value}, (name,)
        if name.endswith("ways"):
            size = name.removesuffix("ways") + ("entries" if f"{name.removesuffix('ways')}entries" in settings else "lines")
            for entries, ways in ((12, 4), (8, 3), (4, 8)):  # three sets; ways that do not divide; more ways than entries
                yield {name: ways, size: entries}, (name, size)
    for name in ("no_such_section.entries", *(f"{name.split('.')[0]}.no_such_setting" for name in settings)):
        yield {name: 1}, (name, name.split(".")[0])


def senseless(about: Declared, value: Any, optional: bool) -> Iterator[Any]:
    """Values that no setting of this kind has."""
    yield from ("a lot", "", None, [1], float("nan"))
    if isinstance(value, bool):
        yield from (0, 1)
        return
    yield True
    is_cost = about.cost is not None
    if is_cost or not isinstance(value, str):
        yield from (-(10**9), -(1 << 70), float("inf"), 1 << 70)
    if is_cost or about.unit in ("entries", "ways", "lines", "count"):
        yield from (-1,) if optional else (0, -1)
    if not is_cost or about.unit == "cycles":
        yield 1.5


def refusal(spec: type[DesignSpec], changes: dict[str, Any]) -> str:
    """With what words a machine of these settings is refused; nothing if it is not."""
    try:
        spec.model_validate(nested(changes)).check(Common())
    except ValidationError as error:
        return str(explained(error))
    except SettingError as problem:
        return str(problem)
    return ""
