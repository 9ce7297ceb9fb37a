"""What compiles when: another size or cost compiles nothing, a second process nothing at all, an edited kernel is never stale."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tomllib

import numba
import pytest

from tests.support import designs

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("hwmodel", "workloads", "analysis")
DECLARED = """
import json, sys
import numpy as np
from hwmodel import feed, machine, secondary
from hwmodel.build import build
from hwmodel.op import OP
from hwmodel.op import Agent, mmap_unit
preset = machine.preset("cpu-only")
m, _, _ = build(preset, secondary.design("cpu_only"), (Agent("cpu", 0, "main"),))
feed.declare(m, 0, np.array(mmap_unit(1 << 20, 4, 3), OP), 0)
print(json.dumps([int(m.vmas[0].last), sum(feed.declare.stats.cache_hits.values())]))
"""
"""Declares one mapping, and says where it ends, as a function of another file has it, and whether the kernel was on disk."""
KEYS = """
import json, pathlib, sys
from hwmodel import jit
keys = {"": jit.cache_key()}
for path in map(pathlib.Path, sys.argv[1:]):
    text = path.read_bytes()
    path.write_bytes(text[:-1] + b" ")  # one byte: the last line's end
    keys[str(path)] = jit.cache_key()
    path.write_bytes(text)
keys["again"] = jit.cache_key()
print(json.dumps(keys))
"""
"""Says the name of the cache folder, and what it would be with one byte changed in each of the files."""


def python(*arguments, folder=ROOT, **environment):
    """What a process of its own says, as JSON, with the packages that are in `folder`."""
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=inherited | {"PYTHONPATH": str(folder)} | environment,
        capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def copy(tmp_path):
    """A copy of the packages that may be edited."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.hwtrace"))
    return tmp_path


@pytest.mark.as_shipped
@pytest.mark.parametrize("design", designs.names())
def test_what_compiles(design):
    """A first process may have to compile, but nothing for the other machine and the larger trace; a second finds all on disk."""
    said = python("-m", "tests.support.compiling", design)
    assert said["kept"] == ["kernel.policy"], "every other setting has another value the second time"
    assert said["then"] == []
    others = [f"hwmodel.secondary.{other}.run" for other in designs.names() if other != design]
    assert {name: n for name, (n, _, _) in said["entries"].items() if n != 1} == dict.fromkeys(others, 0)
    again = python("-m", "tests.support.compiling", design)
    assert again["first"] == again["then"] == []
    assert all((hits, misses) == (n, 0) for n, hits, misses in again["entries"].values()), again["entries"]


def test_the_cache_folder_is_named_after_every_file(copy):
    files = [str(path) for package in PACKAGES for path in sorted((copy / package).rglob("*.py"))]
    keys = python("-c", KEYS, *files, folder=copy)
    assert len(files) > 60 and keys.pop("again") == keys[""]
    assert len(set(keys.values())) == 1 + len(files)


def test_a_file_more_is_another_cache_folder(copy):
    said = "import json; from hwmodel import jit; print(json.dumps(jit.cache_key()))"
    before = python("-c", said, folder=copy)
    (copy / "workloads" / "more.py").write_text("")
    assert python("-c", said, folder=copy) != before


def test_bounds_checks_have_a_cache_folder_of_their_own():
    said = "import json; from hwmodel import jit; print(json.dumps(jit.CACHE_DIR))"
    checked, shipped = (python("-c", said, HWMODEL_CHECKED=value, HWMODEL_CACHE="here") for value in ("1", "0"))
    assert checked != shipped and {os.path.dirname(checked), os.path.dirname(shipped)} == {"here"}


def test_an_edited_callee_is_never_stale(copy):
    def declared():
        return python("-c", DECLARED, folder=copy, HWMODEL_CACHE=str(copy / "cache"))

    end = (1 << 20 >> 12) + 4
    assert declared() == [end, 0]
    assert declared() == [end, 1]
    vmas = copy / "hwmodel" / "primary" / "vmas.py"
    text = vmas.read_text()
    assert text.count("= space, first, last, prot, mapping") == 1
    vmas.write_text(text.replace("= space, first, last, prot, mapping", "= space, first, last + 7, prot, mapping"))
    assert declared() == [end + 7, 0]
    vmas.write_text(text)
    assert declared() == [end, 1]


@pytest.mark.parametrize("gone", ["numba.core.compiler.CompileResult._reduce", "numba.core.options.DefaultOptions.forceinline",
                                  "numba.core.serialize.dumps", "numba.core.dispatcher.Dispatcher.compile"])  # fmt: skip
def test_a_numba_that_lacks_what_is_used_is_refused_in_one_line(gone):
    """What is private may be gone in any version: better said at the import than by a kernel that does something else."""
    owner, _, name = gone.rpartition(".")
    module = owner if owner.endswith("serialize") else owner.rpartition(".")[0]
    program = f"import numba, {module}\ndel {owner}.{name}\nimport hwmodel.jit"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"ImportError: hwmodel can't use Numba {numba.__version__}; pyproject.toml says which") and name in said, said


def test_this_numba_is_one_that_pyproject_toml_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (bounds,) = [line.removeprefix("numba>=") for line in project["dependencies"] if line.startswith("numba>=")]
    low, high = ([int(part) for part in bound.split(".")] for bound in bounds.split(",<"))
    assert low <= [int(part) for part in numba.__version__.split(".")[:2]] < high
