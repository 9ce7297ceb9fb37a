"""Verdicts by hand: who wins, by how much, and when nobody does."""

import pandas as pd
import pytest

from analysis.metrics import METRICS
from analysis.overhead import Overhead
from analysis.points import Point
from analysis.uncertainty import Uncertainty
from analysis.verdicts import DRAWN, basis, verdicts


def overheads_of(costs):
    """Overheads of so many ns per access."""
    return [Overhead("a machine", int(1000 * ns), 0, 1, 1, 1000, 1.0, {}) for ns in costs]


def point(machine, overheads, window=8, configured=True):
    """A point whose overheads are so many ns per access, a seed each."""
    return Point(machine, window, configured, None, None, dict(enumerate(overheads_of(overheads))))


def said(*points):
    return [str(verdict) for verdict in verdicts(points)]


def test_the_factor_is_of_the_larger_to_the_smaller_seed_by_seed():
    verdict, *more = verdicts([point("A", [10, 20, 30]), point("B", [5, 4, 10])])
    assert not more and (verdict.first, verdict.second, verdict.winner) == ("A", "B", "B")
    assert str(verdict) == "B by 3.0x [2.0 to 5.0]"
    assert said(point("B", [5, 4, 10]), point("A", [10, 20, 30])) == ["B by 3.0x [2.0 to 5.0]"], "whoever stands first"


def test_one_seed_has_no_interval():
    assert said(point("A", [3.0]), point("B", [450.0])) == ["A by 150x"]


@pytest.mark.parametrize(
    ("dependent", "text"),
    [
        (([1, 1], [3, 3]), "A by 2.0x [2.0 to 2.0]; 3.0x [3.0 to 3.0] with dependent accesses"),
        (([2, 2], [1, 1]), "undecided: the sign changes with the window "
                           "(A by 2.0x [2.0 to 2.0] with 8 in flight; B by 2.0x [2.0 to 2.0] with dependent accesses)"),
        (([1, 2], [2, 1]), "undecided: the sign changes with the seed (dependent accesses)"),
        (([104, 104], [100, 100]), "A by 2.0x [2.0 to 2.0] with 8 in flight; no difference of 5 % otherwise"),
    ],
)  # fmt: skip
def test_both_windows_have_to_agree(dependent, text):
    own = point("A", [4, 4]), point("B", [8, 8])
    chained = (point(name, costs, 1, False) for name, costs in zip("AB", dependent, strict=True))
    assert said(*own, *chained) == [text]


@pytest.mark.parametrize(
    ("far", "text"),
    [
        (([3], [6]), "A by 2.0x [2.0 to 2.0]; 2.0x [2.0 to 2.0] with dependent accesses"),
        (([6], [6.1]), "A by 2.0x [2.0 to 2.0]; 2.0x [2.0 to 2.0] with dependent accesses"),
        (([6], [3]), "undecided: the sign changes with how long data take (A by 2.0x [2.0 to 2.0] with 8 in flight; "
                     "A by 2.0x [2.0 to 2.0] with dependent accesses; B by 2.0x with dependent accesses and data in 1,000 ns)"),
    ],
)  # fmt: skip
def test_a_verdict_that_flips_with_the_latency_is_none(far, text):
    """At an end of its range, with dependent accesses and one seed; a difference that does not count is no flip."""
    near = [2], [4]
    chained = [
        point(name, costs, 1, False)._replace(ends={2: first, 1000: last})
        for name, costs, (first,), (last,) in zip("AB", ([1, 1], [2, 2]), map(overheads_of, near), map(overheads_of, far), strict=True)
    ]
    assert said(point("A", [4, 4]), point("B", [8, 8]), *chained) == [text]


def test_what_is_not_above_nothing_has_no_ratio():
    assert said(point("A", [-2, -3]), point("B", [4, 4])) == ["A by 6.5 ns per access [6.0 to 7.0]"]
    assert said(point("A", [0.5]), point("B", [0])) == ["B by 0.5 ns per access"]
    assert said(point("A", [0, 0]), point("B", [0, 0])) == ["no difference of 5 %"]
    assert said(point("A", [20.9]), point("B", [20])) == ["no difference of 5 %"]
    assert said(point("A", [21.2]), point("B", [20])) == ["B by 1.06x"]


def test_every_pair_has_one_and_who_has_no_overhead_has_none():
    points = [point("A", [1]), point("B", [2]), point("C", [4]), point("D", [])]
    assert [(verdict.first, verdict.second) for verdict in verdicts(points)] == [("A", "B"), ("A", "C"), ("B", "C")]


def test_other_windows_are_named():
    undecided = said(point("A", [1, 4], 8), point("B", [2, 2], 64))
    assert undecided == ["undecided: the sign changes with the seed (8 and 64 in flight)"]


def test_what_verdicts_rest_on_is_said():
    assert basis([point("A", [1])]).startswith("Verdicts rest on one seed: no interval;")
    assert basis([point("A", [1, 2])]).startswith("Verdicts rest on 2 seeds ([minimum and maximum]); no other setting is varied")
    varied = point("A", [1])._replace(ends=dict(zip((2, 1000), overheads_of([1, 2]), strict=True)))
    assert "no interval, and on data that take 2 and 1,000 ns; no other setting" in basis([varied])
    assert "95 % bootstrap interval" in basis([point("A", range(1, 11))])


def draws(**figures):
    """Draws by hand: the overhead of each machine."""
    rows = [{"draw": i, "machine": name, METRICS[0].name: each[i]} for name, each in figures.items() for i in range(len(each))]
    return Uncertainty(pd.DataFrame(rows), pd.DataFrame(index=range(len(rows) // len(figures))), METRICS[0], ())


@pytest.mark.parametrize(
    ("drawn", "winner", "text"),
    [
        ({"A": [1.0] * 20, "B": [4.0] * 20}, "A",
         "A by 2.0x; A is cheaper than B in 100 % of 20 draws (83.9 to 100 %); ratio 0.25 (0.25 to 0.25)"),
        ({"A": [1.0] * 12 + [9.0] * 8, "B": [3.0] * 20}, "",
         "undecided: costs may be elsewhere in their ranges (A by 2.0x; A is cheaper than B in 60 % of 20 draws (38.7 to 78.1 %); "
         "ratio 0.333 (0.333 to 3))"),
        ({"A": [8.0] * 20, "B": [4.0] * 20}, "",
         "undecided: costs may be elsewhere in their ranges (A by 2.0x; B is cheaper than A in 100 % of 20 draws (83.9 to 100 %); "
         "ratio 0.5 (0.5 to 0.5))"),
        ({"A": [4.0] * 20, "B": [4.0] * 20}, "",
         "undecided: costs may be elsewhere in their ranges (A by 2.0x; A and B cost the same in all 20 draws)"),
    ],
)  # fmt: skip
def test_draws_have_to_agree_with_the_machines_own_values(drawn, winner, text):
    (verdict,) = verdicts([point("A", [4]), point("B", [8])], draws(**drawn))
    assert verdict.winner == winner and str(verdict) == text


def test_draws_do_not_decide_what_the_runs_do_not():
    own = [point("A", [4]), point("B", [8]), point("A", [2], 1, False), point("B", [1], 1, False)]
    (verdict,) = verdicts(own, draws(A=[1.0] * 20, B=[4.0] * 20))
    assert verdict.winner == "" and str(verdict).startswith("undecided: the sign changes with the window")
    assert str(verdict).endswith("; A is cheaper than B in 100 % of 20 draws (83.9 to 100 %); ratio 0.25 (0.25 to 0.25)")


def test_draws_are_numbers_of_a_table():
    (verdict,) = verdicts([point("A", [4]), point("B", [8])], draws(A=[1.0] * 15 + [16.0] * 5, B=[4.0] * 20))
    assert {name: verdict.numbers[name] for name in DRAWN} == {
        "draws": 20, "first_cheaper": 0.75, "ratio_low": 0.25, "ratio_median": 0.25, "ratio_high": 4,
    }  # fmt: skip
    (bare,) = verdicts([point("A", [4]), point("B", [8])])
    assert not set(DRAWN) & set(bare.numbers)


def test_the_basis_says_how_many_draws():
    assert "one seed: no interval, and on 20 draws of every uncertain cost with one seed: a ratio's band" in basis([point("A", [1])], 20)
