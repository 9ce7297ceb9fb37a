"""Machines, files of settings and refusals, for the tests of configuration."""

import pathlib

import pytest

from hwmodel.config import ConfigError
from hwmodel.machine import Machine, preset, presets


@pytest.fixture(params=presets())
def machine(request) -> Machine:
    return preset(request.param)


@pytest.fixture
def gru() -> Machine:
    return preset("gru-2008")


def write(folder: pathlib.Path, text: str) -> pathlib.Path:
    """A file of settings, mine.toml."""
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(action, *args, **kwargs) -> str:
    """The one line with which a configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        action(*args, **kwargs)
    line = str(caught.value)
    assert "\n" not in line
    return line
