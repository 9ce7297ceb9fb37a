"""The rules of this house for its documents, and for the tests of the rules that docs/model.md states."""

import ast
import pathlib
import re

import pytest

from tests.test_house import ROOT, TESTS, name, tree

OF_RULES = [path for path in TESTS if path.parent.name in ("model", "races") and path.name.startswith("test_")]
"""The tests of the rules of docs/model.md, by calculation and by race."""


@pytest.mark.parametrize("document", ["model.md", "deviations.md"])
def test_rules_and_deviations_have_short_lines(document):
    """A rule whose line is a paragraph can't be read, nor merged."""
    lines = (ROOT / "docs" / document).read_text(encoding="utf-8").split("\n")
    assert [number for number, line in enumerate(lines, 1) if len(line) > 120] == []


def section_of(path: pathlib.Path) -> int:
    """The section of docs/model.md whose rules a file checks, by the number in its name."""
    number = re.match(r"test_(\d\d)_", path.name)
    assert number, f"{name(path)}: call it test_NN_..., by the section of docs/model.md that has its rules"
    return int(number[1])


def test_each_section_of_the_model_names_its_tests():
    """Whoever changes a rule finds its tests from the text, and whoever breaks a test finds its rule."""
    _, *sections = re.split(r"(?m)^## (\d+)\. ", (ROOT / "docs" / "model.md").read_text(encoding="utf-8"))
    told, found = {}, {}
    for number, section in zip(sections[::2], sections[1::2], strict=True):
        named = re.search(r"(?m)^\*Tests:\* (?:.+\n)+", section)
        told[int(number)] = set(re.findall(r"`([^`]+)`", named[0])) if named else set()
    for path in OF_RULES:
        found.setdefault(section_of(path), set()).add(name(path))
    assert told == found


@pytest.mark.parametrize("path", OF_RULES, ids=name)
def test_tests_of_rules_say_which(path):
    said = ast.get_docstring(tree(path)) or ""
    assert "docs/model.md" in said, f"{name(path)}: name the rules of docs/model.md that it checks"
    assert re.search(rf"(?<![\d.]){section_of(path)}(?!\d)", said), f"{name(path)} names no rule of its section"


def test_deviations_keep_their_numbers():
    """Numbers are kept when a deviation is closed: each is there once, and only the closed ones are in the last group."""
    text = (ROOT / "docs" / "deviations.md").read_text(encoding="utf-8")
    open_ones, closed = text.split("\n## Closed\n")
    entries = re.compile(r"(?m)^- \*\*(\d+)\.\*\* (Closed: )?")
    numbers = [int(number) for number, _ in entries.findall(text)]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert not any(mark for _, mark in entries.findall(open_ones)) and all(mark for _, mark in entries.findall(closed))


def test_the_design_that_the_guide_shows_is_one_that_runs():
    """The code of docs/architecture.md, chapter "To add", is the one on trial under the contract."""
    code = (ROOT / "tests" / "contract" / "trial" / "shared.py").read_text(encoding="utf-8")
    shown = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert f"```python\n{code[code.index('class Spec') :].rstrip()}\n```" in shown
