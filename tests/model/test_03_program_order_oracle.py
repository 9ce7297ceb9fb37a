"""The oracle's gate, by hand (docs/model.md 3.2, 3.3 b)."""

from tests.model.cases import CPU, booked, compute, run


def test_the_gate_holds_back_who_runs_ahead():
    slow = [compute(10**5, 0) for _ in range(4)]
    fast = [compute(1, 1) for _ in range(8)]
    outcome, _ = run("cpu-only", [CPU, CPU], slow + fast, engine__lookahead_records=4)
    # blocks of 2 records: agent 1 enters block 2 when agent 0 enters block 1, and block 3 when agent 0 is done
    assert booked(outcome, 1) == {"gate_wait": 4 * 10**5 - 2, "instruction": 8}
