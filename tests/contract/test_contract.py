"""Every design keeps the contract; each rule is told in `rules`."""

import pytest

from hwmodel import jit
from tests.audit import held
from tests.contract import rules
from tests.contract.specs import spec_is_strict
from tests.designs import Design, design, names

needs_jit = pytest.mark.skipif(jit.JIT_OFF, reason="about compiled kernels")


def named(rule) -> str:
    return rule.__name__


@pytest.fixture(params=names())
def subject(request) -> Design:
    return design(request.param)


def test_a_design_has_a_preset(subject):
    assert subject.machine.design == subject.name


def test_the_auditor_knows_what_a_design_holds(subject):
    assert subject.name in held.OF_DESIGN, f"say in tests/audit/held.py which tables of {subject.name} hold translations"


@pytest.mark.jit_off
@pytest.mark.parametrize("rule", rules.AUDITED, ids=named)
def test_step_by_step(subject, rule):
    rule(subject)


@pytest.mark.parametrize("rule", [*rules.EITHER, spec_is_strict], ids=named)
def test_rules(subject, rule):
    rule(subject)


@needs_jit
@pytest.mark.as_shipped
@pytest.mark.parametrize("rule", rules.COMPILED, ids=named)
def test_compiled(subject, rule):
    rule(subject)


@needs_jit
def test_an_ordinary_kernel_counts_references(tmp_path):
    """What rule 8 looks for is there where it should be: in a kernel compiled as Numba does by default."""
    assert rules.objects.counts_references(rules.objects.ordinary_kernel(tmp_path))
