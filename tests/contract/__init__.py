"""The contract that every design of a secondary MMU keeps: a file added to `hwmodel/secondary` is under it at once.

`rules` has the rules, a function each; `audit` watches a run step by step for those about stale translations; `tests.audit.held` knows
which tables hold translations, the one thing that a new design has to tell.
"""
