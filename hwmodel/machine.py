"""A machine: the common sections and those of its design, checked together, each value with its provenance.

Get one with `preset(name)` or `load(path)` and change it with `Machine.with_`.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from hwmodel import html, secondary
from hwmodel.config import files
from hwmodel.config.common import Common
from hwmodel.config.errors import ConfigError, SettingError, explained, suggestion
from hwmodel.config.files import Given
from hwmodel.config.section import CONFIDENCE, Bound, Declared, DesignSpec, Scalar, Section, Sum, cycles, declared, flat, nested
from hwmodel.output import encodable

__all__ = ["ConfigError", "Machine", "Provenance", "load", "preset", "presets"]

Checked = TypeVar("Checked", bound=Section)

PRIMARY = tuple(f"{section}." for section in Common.model_fields)
"""The prefixes of the settings of the primary MMU and its kernel: what every machine has, so `Common` says which they are."""
DEVICE = ("device.",)
"""The prefix of the settings of an engine's own data path, which a design with such a section shares with every other."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """A setting's value and where it comes from.

    Attributes
    ----------
    value : int, float, str or bool
        The value.
    unit, source, confidence : str
        The value's unit; its source; a letter of `hwmodel.config.CONFIDENCE`.
    low, high : float, "free" or None
        The range in which the truth is believed to lie, where one is known; the setting accepts its ends.
    description : str
        A description of the setting.
    """

    value: Scalar
    unit: str
    source: str
    confidence: str
    low: Bound | None
    high: Bound | None
    description: str


@dataclass(frozen=True, repr=False)
class Machine:
    """A checked configuration of the primary MMU, the kernel and one design of secondary MMU.

    Machines compare equal when name, design and all settings do; the sources of the values make no difference.

    Attributes
    ----------
    name, design, description : str
        Name of the preset or file; name of the design's module; one line about the machine.
    common : Common
        The sections that every machine has.
    spec : DesignSpec
        The design's own sections.
    """

    name: str
    design: str
    description: str = field(compare=False)
    common: Common
    spec: DesignSpec
    origins: Mapping[str, Provenance] = field(compare=False)

    def get(self, name: str) -> Any:
        """Return a setting's value, or a section, by its dotted name.

        Parameters
        ----------
        name : str
            "cpu.stlb.entries" gives a value, "cpu.stlb" the section.

        Returns
        -------
        int, float, str, bool or Section
            A cost of nothing is the word "free".
        """
        first, *rest = name.split(".")
        owner: Any = self.common if first in Common.model_fields else self.spec
        for step in (first, *rest):
            if not isinstance(owner, Section) or step not in type(owner).model_fields:
                raise ConfigError(_unknown(name, self.design, self.origins))
            owner = getattr(owner, step)
        return owner

    def flat(self) -> dict[str, Scalar]:
        """Return every setting by dotted name: the common ones, then the design's, in the order of declaration."""
        return {**dict(flat(self.common)), **dict(flat(self.spec))}

    def provenance(self) -> dict[str, Provenance]:
        """Return the provenance of every setting, in the order of `flat`."""
        return dict(self.origins)

    def rows(self) -> list[tuple[str, Scalar, str, str, str, str]]:
        """Return (name, value, unit, confidence, source, description) of every setting, for display."""
        return [(n, p.value, p.unit, p.confidence, p.source, p.description) for n, p in self.origins.items()]

    def sums(self) -> tuple[Sum, ...]:
        """Return the sums of costs that are better known than their parts, the design's own last, those of other machines included."""
        return Common.SUMS + self.spec.SUMS

    def costs(self) -> dict[str, int]:
        """Return every cost of docs/model.md section 13 that this machine has, in cycles of its clock."""
        mhz, values = self.common.clock.mhz, self.flat()
        return {
            about.cost: cycles(values[name], about.unit, mhz)  # type: ignore[arg-type]  # costs are never bool
            for name, about in _declared(self.design).items()
            if about.cost
        }

    def with_(self, **changes: Scalar) -> "Machine":
        """Return a machine with other values for some settings.

        Parameters
        ----------
        **changes : int, float, str or bool
            By dotted name, so mostly as `with_(**{"cpu.stlb.entries": 1024})`. A value that differs from the
            machine's has the source "set by user", the confidence "U" and no range.

        Returns
        -------
        Machine
            A new machine; this one is unchanged.
        """
        given = {name: Given(value, "set by user") for name, value in changes.items()}
        other = _built(self.name, self.design, self.description, {**_given(self), **given})
        same = {name: about for name, about in self.origins.items() if other.origins[name].value == about.value}
        return replace(other, origins={**other.origins, **same})

    def differences(
        self, other: "Machine", prefixes: Iterable[str] = ("cpu.", "kernel.", "memory.")
    ) -> dict[str, tuple[Scalar | None, Scalar | None]]:
        """Return the settings in which two machines differ.

        Parameters
        ----------
        other : Machine
            The other machine.
        prefixes : iterable of str
            The beginnings of the names to compare; "" compares all.

        Returns
        -------
        dict
            (this machine's value, the other's) by name; None where a machine lacks the setting.
        """
        mine, theirs, prefixes = self.flat(), other.flat(), tuple(prefixes)
        names = [name for name in {**mine, **theirs} if name.startswith(prefixes)]
        return {n: (mine.get(n), theirs.get(n)) for n in names if mine.get(n) != theirs.get(n)}

    def same_primary(self, other: "Machine | str") -> "Machine":
        """Return this machine with the clock, engine, CPUs, memory and kernel of `other`, to compare designs on equal terms.

        Parameters
        ----------
        other : Machine or str
            A machine; or the name of a preset, of a part that presets share, or of a file (.toml).
        """
        return self._taking(other, PRIMARY)

    def same_device(self, other: "Machine | str") -> "Machine":
        """Return this machine with the device of `other`: how its engines issue accesses, and how long their data take.

        Parameters
        ----------
        other : Machine or str
            As for `same_primary`; the part "coprocessor" is the device that belongs to no design.

        Raises
        ------
        ConfigError
            If `other` has no device, or this machine's design has none.
        """
        return self._taking(other, DEVICE)

    def _taking(self, other: "Machine | str", prefixes: tuple[str, ...]) -> "Machine":
        """Return this machine with another's settings that begin with one of the prefixes, sources and ranges included."""
        if isinstance(other, str) and files.is_own(other) and files.own(Path(other)).design:
            other = load(other)  # checked as a whole
        theirs = _given(other) if isinstance(other, Machine) else files.shared(other, prefixes)
        taken = {name: given for name, given in theirs.items() if name.startswith(prefixes)}
        if not taken:
            raise ConfigError(f"{other.name if isinstance(other, Machine) else Path(other).name}: has no setting {files.told(prefixes)}")
        try:
            return _built(self.name, self.design, self.description, {**_given(self), **taken})
        except ConfigError as error:
            raise ConfigError(f"{Path(other).name}: {error}" if isinstance(other, str) and files.is_own(other) else str(error)) from None

    def check_engines(self, engines: int) -> None:
        """Raise `ConfigError` if this machine can't have so many engines (device agents)."""
        self.spec.check_engines(engines)

    @property
    def has_device(self) -> bool:
        """Return whether the design has a section `device`, so that its engines can be put on another one."""
        return any(name.startswith(DEVICE) for name in self.origins)

    @property
    def has_engines(self) -> bool:
        """Return whether this machine can have engines at all, which a secondary MMU translates for."""
        try:
            self.check_engines(1)
        except ConfigError:
            return False
        return True

    def to_dict(self) -> dict[str, Any]:
        """Return name, design and settings as plain nested tables, as in a configuration file."""
        return {"name": self.name, "design": self.design, **nested(self.flat())}

    def described(self) -> dict[str, Any]:
        """Return the whole machine, sources and ranges included, as values that JSON can hold; `from_description` takes them."""
        settings = {name: [given.value, given.source, given.confidence, given.low, given.high] for name, given in _given(self).items()}
        return {"name": self.name, "design": self.design, "description": self.description, "settings": settings}

    @classmethod
    def from_description(cls, told: Mapping[str, Any]) -> "Machine":
        """Return the machine that `described` has told.

        Raises
        ------
        ConfigError
            If this version has no such design or setting, or refuses a value.
        """
        settings = {name: Given(*given) for name, given in told["settings"].items()}
        return _built(told["name"], told["design"], told["description"], settings)

    def _repr_html_(self) -> str:
        """Return a table of the user's settings, and one of the sections: how many settings, and how many of each confidence."""
        own = [(name, about.value, about.unit, about.source) for name, about in self.origins.items() if about.confidence == "U"]
        sections: dict[str, list[str]] = {}
        for name, about in self.origins.items():
            sections.setdefault(name.split(".")[0], []).append(about.confidence)
        letters = sorted({letter for known in sections.values() for letter in known})
        rows = [(name, len(known), *(known.count(letter) or None for letter in letters)) for name, known in sections.items()]
        return html.block(
            f"Machine {self.name}: {self.design}",
            html.lines(self.description),
            html.table(("set by the user", "value", "unit", "source"), own, "settings") if own else "",
            html.table(("section", "settings", *(f"of these {letter}" for letter in letters)), rows, "sections"),
            html.lines("; ".join(f"{letter}: {CONFIDENCE[letter]}" for letter in letters)),
        )

    def __repr__(self) -> str:
        changed = [f"{name}={about.value}" for name, about in self.origins.items() if about.confidence == "U"]
        listed = ", ".join(changed) if len(changed) <= 3 else f"{len(changed)} settings of the user's"
        cpus = f"{self.common.cpu.count} CPUs at {self.common.clock.mhz} MHz"
        return f"Machine({self.name}: {self.design}, {cpus}{'; ' + listed if listed else ''})"


def presets() -> tuple[str, ...]:
    """Return the names of the presets."""
    return files.names()


@functools.cache
def preset(name: str) -> Machine:
    """Return one of the machines that come with the project; `presets()` lists their names.

    Parameters
    ----------
    name : str
        For example "gru-2008".

    Returns
    -------
    Machine
        The preset sets every setting and names its source.
    """
    draft = files.packaged(name)
    return _built(name, draft.design, draft.description, draft.settings)


def load(path: str | Path) -> Machine:
    """Return the machine that a TOML file describes.

    Parameters
    ----------
    path : str or Path
        The file. `extends = ["gru-2008"]` begins from a preset, `design = "cpu_only"` from the defaults of a design; then
        the settings, plain (`tlb.entries = 256`) or as `{value, source, confidence, low, high}`.

    Returns
    -------
    Machine
        Named after the file if that gives no `name`.
    """
    path = Path(path)
    draft = files.own(path)
    if not draft.design:
        known = ", ".join(secondary.names())
        raise ConfigError(f"{path.name}: design: is missing, and no preset is extended (designs: {known})")
    try:
        return _built(draft.name or encodable(path.stem), draft.design, draft.description, draft.settings)
    except ConfigError as error:
        raise ConfigError(f"{path.name}: {error}") from None


@functools.cache
def _declared(design: str) -> dict[str, Declared]:
    """Return the declaration of every setting of a machine of this design, in order."""
    return {**dict(declared(Common)), **dict(declared(secondary.design(design).Spec))}


def _built(name: str, design: str, description: str, given: Mapping[str, Given]) -> Machine:
    known = _declared(design)
    for setting in given:
        if setting not in known:
            raise ConfigError(_unknown(setting, design, known))
    values = nested({setting: _plain(entry.value) for setting, entry in given.items()})
    shared = {section: values.pop(section) for section in Common.model_fields if section in values}
    common, spec = _validated(Common, shared), _validated(secondary.design(design).Spec, values)
    _check(spec, common)
    settled = {**dict(flat(common)), **dict(flat(spec))}
    origins = {setting: _provenance(value, known[setting], given.get(setting)) for setting, value in settled.items()}
    return Machine(name, design, description, common, spec, origins)


def _given(machine: Machine) -> dict[str, Given]:
    """Return a machine's settings as a file would give them."""
    return {name: Given(p.value, p.source, p.confidence, p.low, p.high) for name, p in machine.origins.items()}


def _validated(section: type[Checked], values: dict[str, Any]) -> Checked:
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise explained(error) from None


def _check(spec: DesignSpec, common: Common) -> None:
    try:
        spec.check(common)
    except SettingError as problem:
        raise ConfigError(str(problem)) from None


def _provenance(value: Scalar, about: Declared, given: Given | None) -> Provenance:
    said: Given | Declared = about if given is None else given
    low, high = said.low, said.high
    if given is not None and given.confidence != "U" and low is None and high is None:
        low, high = about.low, about.high  # a preset need not repeat the range of the declaration
    return Provenance(value, about.unit, said.source, said.confidence, low, high, about.description)


def _plain(value: Any) -> Any:
    """Return a value, a NumPy scalar (sweeps bring them) converted to Python's type."""
    return value.item() if isinstance(value, np.generic) else value


def _unknown(name: str, design: str, known: Iterable[str]) -> str:
    known = tuple(known)
    if any(other.startswith(f"{name}.") for other in known):
        return f"{name}: is a section, not a setting"
    former = secondary.design(design).Spec.FORMER
    if name in former:
        return f"{name}: is a setting no more; {former[name]} is in its place"
    return f"{name}: design {design} has no such setting{suggestion(name, known)}"
