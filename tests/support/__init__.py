"""Helpers of many tests: random traces, the comparison of kernels with the oracle, the designs, broken files."""
