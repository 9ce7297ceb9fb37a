"""What a calculation by hand needs: machines in which nothing takes time but what a test names, tiny traces, and the ptes at the end."""

import functools
import warnings

from hwmodel import op
from hwmodel.core.tables import AWAY, HUGE, LAZY, NONE, PFN, ZERO, A, D, P, W
from hwmodel.core.tables import X as EXECUTE
from hwmodel.op import Agent, mmap_unit, paged_unit
from hwmodel.trace import Trace
from tests.audit.tables import chain
from tests.races.scenes import built, dotted, leaf, once
from tests.support import designs

CPU, DEVICE = "cpu", "device"
PAGE = 0x10000
"""First of the pages that small mappings have; all of them have one page table."""
HUGE_PAGE = 0x80000
"""First of the pages of mappings that may have huge pages: a multiple of 512."""
LETTERS = {"P": P, "W": W, "A": A, "D": D, "H": HUGE, "Z": ZERO, "N": NONE, "L": LAZY, "X": EXECUTE, "M": AWAY}
RW, R, X, RWX, NO = 3, 1, 5, 7, 0
THP = dict(kernel__thp="always")
FILE, SHARED_FILE, SHARED, HUGETLB = op.PRIVATE_FILE, op.SHARED_FILE, op.SHARED, op.HUGETLB


def machine(design="cpu_only", **settings):
    """A machine of one CPU whose costs are all nothing; settings as a__b. A nanosecond is a cycle."""
    base = designs.design(design).machine
    free = {name: "free" for name in base.flat() if name.endswith(("_ns", "_cycles"))}
    plain = {"clock.mhz": 1000, "cpu.count": 1, "kernel.fault_around_pages": 1}
    plain |= {"driver.interrupt_cpu": 0, "gru.chiplets": 1} if design == "gru" else {}
    return built(base.name, tuple((free | plain | dotted(settings)).items()))


@functools.cache
def cost_settings(design):
    """The setting of each cost that a machine of the design has: the one that changes it."""
    base, found = designs.design(design).machine, {}
    for name in base.flat():
        if name.endswith(("_ns", "_cycles")):
            changed = base.with_(**{name: 123_457}).costs()
            (cost,) = [cost for cost, cycles in base.costs().items() if changed[cost] != cycles]
            found[cost] = name
    return found


def play(machine, roles, records, prelude=()):
    """Run a trace; roles are roles or (role, space)."""
    agents = [Agent(*(role if isinstance(role, tuple) else (role, 0)), f"agent {i}") for i, role in enumerate(roles)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*access without a right")
        return once(machine, Trace.from_records(agents, list(records), list(prelude)))


def flat(records):
    """Records that are given one by one or in lists, one after the other."""
    return [record for item in records for record in (item if isinstance(item, list) else [item])]


def run_of(prelude, *records, roles=(CPU,), design="cpu_only", **settings):
    """The run of some records, one by one or in lists, in which nothing takes time but what the settings say."""
    return play(machine(design, **settings), roles, flat(records), prelude)


def clocked(prelude, *records, roles=(CPU, CPU), **settings):
    """The run of two CPUs that compute an instruction a cycle."""
    return run_of(prelude, *records, roles=roles, cpu__instruction_cycles=1, **settings)


def waited(run, account="order_wait"):
    """Cycles of each agent in an account."""
    return list(run.result.ledger.by_agent(account).values())


def flags(run, page=PAGE, space=0):
    """The flags of a page's leaf, by their letters; empty if it has none."""
    entry, _ = leaf(run.m, int(run.m.spaces["root"][space]), page)
    return "".join(letter for letter, bit in LETTERS.items() if entry & bit)


def frame(run, page=PAGE, space=0):
    """The frame of a page."""
    entry, inside = leaf(run.m, int(run.m.spaces["root"][space]), page)
    return (int(entry) >> PFN) + inside


def references(run, page=PAGE, space=0):
    """How many refer to a page's frame."""
    return int(run.m.frames[frame(run, page, space)].refs)


def tables_in_use(run):
    """Page-table pages that are not free."""
    ctl = run.m.ctl[0]
    return int(ctl.node_top) - len(chain(run.m.nodes, 0, ctl.node_free, int(ctl.node_top)))


# records


def memory(pages=8, prot=RW, mapping=op.PRIVATE, page=PAGE, file=0, agent=0, populate=False, offset=0):
    """A mapping, of a prelude or of the trace; a file's number follows from the kind."""
    file = file or int(mapping in (op.SHARED, op.PRIVATE_FILE, op.SHARED_FILE))
    return mmap_unit(page << 12, pages, prot, mapping, file, offset, agent=agent, populate=populate)


def big(prot=RW, mapping=op.PRIVATE, **more):
    """A mapping of 2 MiB that may be a huge page."""
    return memory(512, prot, mapping, HUGE_PAGE, **more)


def access(kind, page=PAGE, agent=0, count=1, gap=0):
    """A record of accesses to a page."""
    return page << 12, count, gap, kind, agent


def read(page=PAGE, agent=0, count=1, gap=0):
    """Reads of a page."""
    return access(op.READ, page, agent, count, gap)


def fetch(page=PAGE, agent=0, count=1, gap=0):
    """Fetches from a page."""
    return access(op.FETCH, page, agent, count, gap)


def write(page=PAGE, agent=0, count=1, gap=0):
    """Writes to a page."""
    return access(op.WRITE, page, agent, count, gap)


def sync(agent=0):
    """All agents wait for each other."""
    return 0, 0, 0, op.SYNC, agent


def compute(count, agent=0):
    """So many instructions."""
    return 0, count, 0, op.COMPUTE, agent


def advise(advice, pages=1, page=PAGE, agent=0):
    """madvise."""
    return paged_unit(op.MADVISE, page << 12, pages, [(0, advice)], agent)


def protect(prot, pages=1, page=PAGE, agent=0):
    """mprotect."""
    return paged_unit(op.MPROTECT, page << 12, pages, [(0, prot)], agent)


def unmap(pages=1, page=PAGE, agent=0):
    """munmap."""
    return paged_unit(op.MUNMAP, page << 12, pages, (), agent)


def remap(to, pages=1, page=PAGE, agent=0, size=0):
    """mremap to another place, of the same size if none is given."""
    return paged_unit(op.MREMAP, page << 12, pages, [(to << 12, size or pages)], agent)


def fork(child=1, agent=0):
    """fork."""
    return 0, child, 0, op.FORK, agent


def leave(agent=0):
    """The end of an address space."""
    return 0, 0, 0, op.EXIT, agent
