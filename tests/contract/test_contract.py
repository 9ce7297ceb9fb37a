"""Every design keeps the contract; each rule is told in `rules`."""

import functools

import pytest

from hwmodel import jit
from tests.audit import held
from tests.audit.watch import Audit
from tests.contract import rules
from tests.contract.specs import spec_is_strict
from tests.contract.traces import random_cases
from tests.support.designs import Design, design, names

needs_jit = pytest.mark.skipif(jit.JIT_OFF, reason="about compiled kernels")


def named(rule) -> str:
    return rule.__name__


@pytest.fixture(params=names())
def subject(request) -> Design:
    return design(request.param)


def test_a_design_has_a_preset(subject):
    assert subject.machine.design == subject.name


def test_the_auditor_knows_what_a_design_holds(subject):
    assert subject.name in held.OF_DESIGN


@functools.cache
def found(name: str) -> dict[str, Exception]:
    """What is found step by step, by rule: all are looked for in one pass."""
    return rules.step_by_step(design(name), *(rule.__name__ for rule in rules.AUDITED), at_once=False).found


@pytest.mark.jit_off
@pytest.mark.parametrize("rule", rules.AUDITED, ids=named)
def test_step_by_step(subject, rule):
    if rule.__name__ in found(subject.name):
        raise found(subject.name)[rule.__name__]


@pytest.mark.jit_off
def test_nobody_runs_ahead_too_far(subject):
    rules.nothing_else_changes_results(subject)


@pytest.mark.long
@pytest.mark.jit_off
def test_step_by_step_at_length(subject):
    rules.audited(Audit(subject, [rule.__name__ for rule in rules.AUDITED]), random_cases(subject, range(5000, 5100), 60))


@pytest.mark.parametrize("rule", [*rules.EITHER, spec_is_strict], ids=named)
def test_rules(subject, rule):
    if not (jit.JIT_OFF and rule is rules.nothing_else_changes_results):  # which is tried above
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
