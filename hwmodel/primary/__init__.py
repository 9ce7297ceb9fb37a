"""The kernel and CPU MMU that every design shares; it leaves notices and never knows a design.

Importing one chain imports all, always in one order: their accounts and counters are numbered as they are declared.
"""

from hwmodel.primary import (  # noqa: F401
    access,
    advise,
    fault,
    fork,
    gather,
    memory,
    notify,
    protect,
    ranges,
    remap,
    shootdown,
    split,
    syscalls,
    vmas,
    zap,
)
