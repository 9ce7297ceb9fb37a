"""The contract that every design of a secondary MMU keeps: a file added to `hwmodel/secondary` is under it at once.

`rules` has the rules, a function each; `tests.audit.watch` watches a run step by step for those about translations, windows, accesses and
tables; `races` and `crowds` have the traces. `tests.audit.held` knows which tables hold translations, the one thing that a new design has
to tell. `test_broken`, `test_broken_kernel`, `test_trial` and `test_pair` break designs, and the kernel, on purpose: each is caught by the
rule named.
"""
