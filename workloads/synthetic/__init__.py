"""Seeded generators: streams in constant memory, the same records however they are cut and wherever one starts."""

from workloads.synthetic.chase import pointer_chase
from workloads.synthetic.churn import unmap_churn
from workloads.synthetic.patterns import sequential, uniform, zipf
from workloads.synthetic.programs import bfs, gups, hash_join, spmv
from workloads.synthetic.ring import producer_consumer
from workloads.synthetic.strides import strided
from workloads.synthetic.workingsets import phases

__all__ = [
    "bfs",
    "gups",
    "hash_join",
    "phases",
    "pointer_chase",
    "producer_consumer",
    "sequential",
    "spmv",
    "strided",
    "uniform",
    "unmap_churn",
    "zipf",
]
