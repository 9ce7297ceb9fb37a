"""The rules in which one Linux differs from another: switches in one row of data, by the name of the policy (docs/model.md 13.1).

A kernel asks for a switch, never for a name; changing the policy compiles nothing.
"""

import numpy as np

from hwmodel.core.tables import table

POLICY = table("vma_locks", "munmap_downgrades", "dontneed_frees_tables")
"""A fault takes the mmap lock only if its VMA is write-locked (CONFIG_PER_VMA_LOCK, since Linux 6.4); munmap lets readers in once its VMAs
are cut (mmap_write_downgrade, since 4.20); MADV_DONTNEED frees the page tables that it has emptied (CONFIG_PT_RECLAIM, since 6.14)."""
POLICIES: dict[str, dict[str, int]] = {"linux-6": {"vma_locks": 1, "munmap_downgrades": 1, "dontneed_frees_tables": 1}}
"""The switches of each policy, by its name."""


def policy_row(name: str) -> np.ndarray:
    """Return a policy's table of one row."""
    row = np.zeros(1, POLICY)
    for switch in POLICY.names:
        row[switch] = POLICIES[name][switch]
    return row
