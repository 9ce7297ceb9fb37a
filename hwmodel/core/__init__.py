"""The base of every chain of steps: the tables, the ledger and its counters, clocks, locks, program order, queues of records."""
