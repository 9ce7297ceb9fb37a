"""A kernel broken on purpose, under each design: its tables no longer agree, and the contract says so."""

import pytest

from hwmodel.parts import radix
from hwmodel.primary import access, fork, frames
from hwmodel.secondary import _kvm_tables
from tests.contract.rules import never_stale, tables_agree
from tests.contract.test_broken import catches, forgets_nothing, plant
from tests.support import designs

__all__ = ["plant"]
pytestmark = pytest.mark.jit_off


def leaves_the_parent_s_page_writable(original):
    def shared(m, child, pte, vpn, pages):
        parent = m.spaces[0].root  # the traces' only one
        radix.put(m, parent, vpn, 1 if pages == 1 else 2, pte)
        return original(m, child, pte, vpn, pages)

    return shared


def leaves_the_child_s_page_writable(original):
    return lambda m, child, pte, vpn, pages: original(m, child, pte, vpn, pages) | pte & 2


def notes_its_neighbour(original):
    """The reverse map has the page before for a page of the other space."""
    return lambda m, pfn, space, vpn: original(m, pfn, space, vpn - (space > 0))


@pytest.mark.parametrize("name", designs.names())
@pytest.mark.parametrize(
    ("owner", "kernel", "broken", "words"),
    [
        (fork, "shared", leaves_the_parent_s_page_writable, "may be written in private"),
        (fork, "shared", leaves_the_child_s_page_writable, "may be written in private"),
        (frames, "mapped", notes_its_neighbour, "the reverse map lacks frame"),
        (frames, "drop", forgets_nothing, "references, but"),
        (radix, "free_node", forgets_nothing, "is reached 0 times and free 0 times"),
    ],
)
def test_tables(plant, name, owner, kernel, broken, words):
    plant(owner, kernel, broken)
    catches(tables_agree, name, words)


def test_a_table_of_the_ept_that_is_lost(plant):
    plant(_kvm_tables, "drop_table", forgets_nothing)
    catches(tables_agree, "kvm_ept")


def test_another_frame_in_a_guest_s_huge_entry(plant):
    def one_further(original):
        return lambda m, i, small, vpn, huge, pfn, rights: original(
            m, i, small, vpn, huge, pfn + huge * (i >= m.ctl[0].cpus), rights
        )  # fmt: skip

    plant(access, "fill_levels", one_further)
    catches(never_stale, "kvm_ept", "TLB of vCPU")
