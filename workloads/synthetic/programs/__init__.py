"""Kernels of real programs, which run and emit the loads and stores of their arrays."""

from workloads.synthetic.programs.join import hash_join
from workloads.synthetic.programs.matrix import spmv
from workloads.synthetic.programs.randomaccess import gups
from workloads.synthetic.programs.search import bfs

__all__ = ["bfs", "gups", "hash_join", "spmv"]
