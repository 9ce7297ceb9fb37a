"""Configuration: frozen, validated sections with units in the names, and presets that name their sources."""

from hwmodel.config.errors import ConfigError, SettingError
from hwmodel.config.section import (
    CONFIDENCE,
    FREE,
    Cycles,
    DesignSpec,
    Nanoseconds,
    Scalar,
    Section,
    Sum,
    associativity,
    cost_cycles,
    cost_ns,
    optional_size,
    setting,
    size,
)

__all__ = [
    "CONFIDENCE",
    "FREE",
    "ConfigError",
    "Cycles",
    "DesignSpec",
    "Nanoseconds",
    "Scalar",
    "Section",
    "SettingError",
    "Sum",
    "associativity",
    "cost_cycles",
    "cost_ns",
    "optional_size",
    "setting",
    "size",
]
