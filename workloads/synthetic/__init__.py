"""Seeded generators: streams in constant memory, with the same records wherever a stream is cut or started."""

from workloads.synthetic.balloons import balloon
from workloads.synthetic.barriers import mprotect_toggle
from workloads.synthetic.chase import pointer_chase
from workloads.synthetic.churn import unmap_churn
from workloads.synthetic.gru import gather_scatter, gru_block_copy
from workloads.synthetic.halo import mpi_halo
from workloads.synthetic.hugepages import huge_pages
from workloads.synthetic.ksm import ksm_merging
from workloads.synthetic.machines import live_migration, vm_boot_and_serve
from workloads.synthetic.numa import numa_migration
from workloads.synthetic.patterns import sequential, uniform, zipf
from workloads.synthetic.programs import bfs, gups, hash_join, spmv
from workloads.synthetic.ring import producer_consumer
from workloads.synthetic.snapshots import fork_snapshots
from workloads.synthetic.strides import strided
from workloads.synthetic.swap import swap_pressure
from workloads.synthetic.workingsets import phases

__all__ = [
    "balloon",
    "bfs",
    "fork_snapshots",
    "gather_scatter",
    "gru_block_copy",
    "gups",
    "hash_join",
    "huge_pages",
    "ksm_merging",
    "live_migration",
    "mpi_halo",
    "mprotect_toggle",
    "numa_migration",
    "phases",
    "pointer_chase",
    "producer_consumer",
    "sequential",
    "spmv",
    "strided",
    "swap_pressure",
    "uniform",
    "unmap_churn",
    "vm_boot_and_serve",
    "zipf",
]
