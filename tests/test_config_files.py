"""Configuration files: what they may say, and what each refusal says."""

import pytest

from hwmodel.config.section import AS_2008
from hwmodel.machine import load, preset
from tests.support.configs import gru, machine, refusal, write

__all__ = ["gru", "machine"]


def test_a_file_extends_a_preset(tmp_path, gru):
    machine = load(write(tmp_path, """
        extends = ["gru-2008"]
        description = "a small one"
        cpu.count = 2
        tlb.entries = { value = 256, source = "measured", confidence = "V", low = 200, high = 300 }
        [tgh]
        invalidate_ns = { value = 2000 }
    """))  # fmt: skip
    assert (machine.name, machine.design, machine.description) == ("mine", "gru", "a small one")
    assert gru.differences(machine, ("",)).keys() == {"cpu.count", "tlb.entries", "tgh.invalidate_ns"}
    about = machine.provenance()
    assert (about["cpu.count"].source, about["cpu.count"].confidence) == ("set in mine.toml", "U")
    assert about["tgh.invalidate_ns"].source == "set in mine.toml" and about["tgh.invalidate_ns"].low is None
    assert about["tlb.entries"].source == "measured" and about["tlb.entries"].high == 300
    assert about["tlb.ways"] == gru.provenance()["tlb.ways"]


def test_later_extensions_win(tmp_path, gru):
    machine = load(write(tmp_path, 'name = "fast"\nextends = ["gru-2008", "primary-2024"]\n'))
    assert machine.name == "fast" and machine.design == "gru"
    assert machine.common == preset("kvm-ept-2024").common and machine.spec == gru.spec


def test_a_design_alone_gets_the_defaults(tmp_path, gru):
    machine = load(str(write(tmp_path, 'design = "gru"\n[tlb]\nways = 2\n')))
    assert machine.get("tlb.ways") == 2 and machine.with_(**{"tlb.ways": 4}).flat() == gru.flat()
    assert machine.provenance()["tlb.entries"].source == AS_2008


def test_what_a_machine_says_can_be_loaded_again(tmp_path, machine):
    def toml(table: dict, path: str = "") -> str:
        values = {k: repr(v) for k, v in table.items() if type(v) is not dict}
        values = {key: value.lower() if value in ("True", "False") else value for key, value in values.items()}
        rows = [f"{key} = {value}" for key, value in values.items()]
        parts = [toml(v, f"{path}{k}.") for k, v in table.items() if type(v) is dict]
        return "\n".join([f"[{path[:-1]}]" if path else "", *rows, *parts])

    again = load(write(tmp_path, toml(machine.to_dict())))
    assert again == machine and again.to_dict() == machine.to_dict()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("cpu = [", "mine.toml: "),
        ("\x00", "mine.toml: "),
        ("cpu.count = 4", "mine.toml: design: is missing"),
        ('design = "gruu"', "mine.toml: design: there is no 'gruu'; did you mean gru?"),
        ("design = 3", "mine.toml: design: must be a text, not 3"),
        ('extends = "gru-2008"', "mine.toml: extends: must be a list of names, not 'gru-2008'"),
        ('extends = ["gru-2009"]', "mine.toml: extends: there is no 'gru-2009'; did you mean gru-2008?"),
        ('design = "gru"\ncpu = 4', "mine.toml: cpu: is a section, not a setting"),
        ('design = "gru"\ncpu.cont = 4', "mine.toml: cpu.cont: design gru has no such setting; did you mean cpu.count"),
        ('design = "gru"\ncpu.count = {valu = 4}', "mine.toml: cpu.count.valu: design gru has no such setting"),
        ('design = "gru"\ncpu.count = 1979-05-27', "mine.toml: cpu.count: must be a valid integer, not"),
        ('extends = ["gru-2008"]\ntgh.page_ns = 0', "mine.toml: tgh.page_ns: a cost of 0 is written free"),
        ('design = "kvm_ept"\nextends = ["gru-2008"]', "mine.toml: tlb.entries: design kvm_ept has no such setting"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named(tmp_path, text, line):
    assert refusal(load, write(tmp_path, text)).startswith(line)


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ('sorce = ""', "unknown key 'sorce'; did you mean source?"),
        ('confidence = "X"', "confidence: must be a letter of V, S, M, E, U, not 'X'"),
        ('confidence = ["V"]', "confidence: must be a letter of V, S, M, E, U, not ['V']"),
        ("source = 3", "source: must be a text, not 3"),
        ('source = ""', "source: must be a text, not ''"),
        ('low = "3"', "low and high: must be numbers, or free, not '3'"),
        ("low = 5", "4 is not between low (5) and high (None)"),
        ("high = 3", "4 is not between low (None) and high (3)"),
    ],
)
def test_what_is_said_about_a_value_is_checked(tmp_path, entry, line):
    path = write(tmp_path, f'extends = ["gru-2008"]\ncpu.count = {{ value = 4, {entry} }}')
    assert refusal(load, path).startswith(f"mine.toml: cpu.count: {line}")


def test_a_file_that_is_not_text_or_not_there(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe")
    assert refusal(load, tmp_path / "mine.toml").startswith("mine.toml: ")
    assert refusal(load, tmp_path / "absent.toml").startswith("absent.toml: ")


