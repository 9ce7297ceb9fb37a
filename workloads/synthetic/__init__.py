"""Seeded generators: streams in constant memory, the same records however they are cut and wherever one starts."""

from workloads.synthetic.churn import unmap_churn
from workloads.synthetic.patterns import sequential, uniform, zipf

__all__ = ["sequential", "uniform", "unmap_churn", "zipf"]
