"""The rules of this house for its kernels: chains, their tables, and the numbers of what they measure."""

import ast
import graphlib
import importlib
import pathlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator

import numba
import numpy as np
import pytest

from hwmodel import jit
from tests.test_house import KERNELS, PACKAGES, ROOT, SOURCES, module_name, name, tree


def chains() -> dict[str, ast.Module]:
    """The chains that others call, by the names of their files."""
    found = {path.stem: tree(path) for path in SOURCES if path.parent == ROOT / "hwmodel" / "primary"}
    return {stem: module for stem, module in found.items() if ways_in(module)}


def ways_in(module: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in module.body if isinstance(node, ast.FunctionDef) and re.fullmatch("call(_.*)?", node.name)]


def test_no_chain_can_be_called_while_it_is_in_progress():
    """A row has one place for what a chain was called with."""
    graph = {}
    for stem, module in chains().items():
        calls = [node.func for node in ast.walk(module) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
        graph[stem] = {ast.unparse(call.value) for call in calls if re.fullmatch("call(_.*)?", call.attr)}
    assert set(graph) >= {"fault", "split", "notify", "shootdown", "gather", "zap", "ranges"}
    assert graph["fault"] >= {"split", "notify", "shootdown"}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("chain", chains())
def test_a_call_of_a_chain_says_whether_there_is_nothing_to_do(chain):
    for function in ways_in(chains()[chain]):
        returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
        assert isinstance(function.body[-1], ast.Return) and all(node.value for node in returns), f"{chain}.{function.name}"


def kernels() -> dict[str, set[str]]:
    """Every kernel, "hwmodel.core.clock.spend", and the functions that it calls or hands on."""
    calls = {}
    for path in SOURCES:
        here = module_name(path)
        module = tree(path)
        known = {alias.asname or alias.name: f"{node.module}.{alias.name}"
                 for node in ast.walk(module) if isinstance(node, ast.ImportFrom) for alias in node.names}  # fmt: skip
        known |= {node.name: f"{here}.{node.name}" for node in module.body if isinstance(node, ast.FunctionDef)}
        for node in module.body:
            if isinstance(node, ast.FunctionDef) and {ast.unparse(d) for d in node.decorator_list} & KERNELS:
                calls[f"{here}.{node.name}"] = {
                    ".".join([known.get(first, first), *rest])
                    for first, *rest in (ast.unparse(leaf).split(".") for leaf in ast.walk(node)
                                         if isinstance(leaf, ast.Name | ast.Attribute))
                }  # fmt: skip
    return calls


def test_kernels_do_not_recurse():
    """Numba keeps recursive kernels on disk with a call to nowhere: the second process that loads one crashes."""
    calls = kernels()
    order = graphlib.TopologicalSorter({kernel: called & calls.keys() for kernel, called in calls.items()})
    order.prepare()


def test_columns_are_not_methods_of_records():
    """With the JIT off `row.sum` is numpy's method, not our column."""
    for package in PACKAGES:
        root = importlib.import_module(package)
        for found in pkgutil.walk_packages(root.__path__, f"{package}."):
            module = importlib.import_module(found.name)
            for value in vars(module).values():
                if isinstance(value, np.dtype) and value.names:
                    taken = [column for column in value.names if hasattr(np.record, column)]
                    assert not taken, f"{found.name}: {taken}"


@pytest.mark.parametrize("first", ["engine", "build", "core.locks", "primary.zap", "secondary._gru_driver", "secondary._kvm_walk"])
def test_names_are_numbered_alike_whatever_is_imported_first(first):
    """Numbers of accounts and counters are constants of compiled kernels, which other processes load."""
    listing = "from hwmodel.secondary import *; print([[*b.accounts, *b.counters, *b.latencies] for b in map(book, names())])"
    run = [sys.executable, "-c"]
    found, usual = (subprocess.run([*run, f"{how}{listing}"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
                    for how in (f"import hwmodel.{first}; ", ""))  # fmt: skip
    assert found == usual


def columns_read(path: pathlib.Path) -> Iterator[tuple[str, str]]:
    """(owner, column) of all that is read and not only written: ("row", "clock"), and ("rows[]", "clock") for `m.rows[i].clock`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            is_item = isinstance(node.value, ast.Subscript)
            owner = ast.unparse(node.value.value if is_item else node.value).split(".")[-1]
            yield f"{owner}[]" if is_item else owner, node.attr
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and isinstance(node.slice, ast.Constant):
            yield ast.unparse(node.value).split(".")[-1] + "[]", node.slice.value


ITS_NAMES = {
    "CTL": "ctl ctl[]", "COSTS": "costs own costs[]", "QUEUED": "op arg queue[]", "FAULTED": "fault faults[]",
    "SPLITTING": "splitting splits[]", "NOTIFYING": "notice notices[]", "FLUSHED": "flush flushes[]", "CALL": "call calls[]",
    "SPAN": "span spans[]", "UNMAP": "unmapping unmaps[]", "GATHER": "batch gathers[]", "REQUESTED": "q other requests[]",
    "CONTEXT": "context contexts[]", "GMS": "gms gms[]", "VM": "vm vms[]", "VCPU": "vcpu vcpus[]",
    "WALKED": "q requests[]", "UNKNOWN": "unknown unknown[]",
}  # fmt: skip
"""What kernels call a row of a table that has its name to itself."""


def declared_tables() -> dict[str, np.dtype]:
    """Return the row types that the modules of hwmodel declare, by name."""
    modules = [importlib.import_module(name(path)[:-3].replace("/", ".")) for path in SOURCES if path.is_relative_to(ROOT / "hwmodel")]
    found = {(key, id(value)): value for module in modules for key, value in vars(module).items() if isinstance(value, np.dtype)}
    return {key: value for (key, _), value in found.items() if value.names and {value[c] for c in value.names} == {np.dtype(np.int64)}}


def test_every_column_is_read():
    """A column that nobody reads is not state. Some tables' rows go by names of their own; the machine and modules have no columns."""
    read = {pair for path in SOURCES if path.is_relative_to(ROOT / "hwmodel") for pair in columns_read(path)}
    taken = {owner for names in ITS_NAMES.values() for owner in names.split()}
    others = {path.stem for path in SOURCES} | {"m", "self", "machine"} | taken
    for table_name, table in declared_tables().items():
        own = ITS_NAMES.get(table_name, "").split()
        known = {column for owner, column in read if (owner in own if own else owner not in others)}
        unread = sorted(set(table.names) - known)
        assert not unread, f"{table_name} has columns that nobody reads: {unread}"


def third(a, k):
    return a[k]


@pytest.mark.as_shipped
@pytest.mark.skipif(jit.JIT_OFF, reason="about compiled kernels")
def test_no_index_of_a_kernel_is_negative():
    """Python's meaning of a[-1] is left out of kernels, and of nothing else; where bounds are checked it is an error."""
    numbers = np.arange(5)
    assert numba.njit(third)(numbers, -1) == 4
    if jit.CHECKED:
        with pytest.raises(IndexError):
            jit.entry(third)(numbers, -1)
    else:
        assert jit.entry(third)(numbers[1:], -1) == 0  # one before the first
