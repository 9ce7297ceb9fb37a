"""The measurements of a run: counters, the ledger of cycles, latencies; and the check that the books balance."""
