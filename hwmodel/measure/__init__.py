"""What a run has measured: counters, the ledger of cycles, latencies; and the check that the books balance."""
