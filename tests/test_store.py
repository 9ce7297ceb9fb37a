"""Compiled kernels on disk: what is damaged, or could be another user's, is not loaded; what can't be kept is compiled every time."""

import os
import pathlib
import pickle
import re
import shutil
import subprocess
import sys
import warnings

import pytest

from hwmodel.store import HEAD, Store

ROOT = pathlib.Path(__file__).resolve().parent.parent
CALLEE = """
from hwmodel.jit import part


@part
def value(x):
    return x + 1
"""
CALLER = """
from hwmodel.callee import value
from hwmodel.jit import entry


@entry
def call(x):
    return value(x)
"""
RUN = """
import resource, sys
from hwmodel.caller import call
if "full" in sys.argv:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # every file is full after 100 bytes
sys.stdout.write(f"{call(int(sys.argv[1]))} {sum(call.stats.cache_hits.values())}")
"""
NOT_KEPT = "compiled kernels are not kept, so every run compiles them: "
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def packages(tmp_path):
    """A copy of the package whose kernels are a small one and its callee, in a file of its own, that may be edited."""
    folder = tmp_path / "packages"
    shutil.copytree(ROOT / "hwmodel", folder / "hwmodel", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "hwmodel" / "__init__.py").write_text("")
    (folder / "hwmodel" / "callee.py").write_text(CALLEE)
    (folder / "hwmodel" / "caller.py").write_text(CALLER)
    return folder


def edit(packages):
    """Make the callee return another number."""
    path = packages / "hwmodel" / "callee.py"
    path.write_text(path.read_text().replace("x + 1", "x + 100"))


def start(packages, *arguments, **environment):
    inherited = {name: value for name, value in os.environ.items() if name not in ("NUMBA_DISABLE_JIT", "HWMODEL_CACHE", "XDG_CACHE_HOME")}
    return subprocess.Popen(
        [sys.executable, "-B", "-c", RUN, "5", *arguments], cwd=packages, env=inherited | {"PYTHONPATH": str(packages)} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def call(packages, *arguments, **environment):
    """(the kernel's result, whether it was on disk, what was said)."""
    process = start(packages, *arguments, **environment)
    out, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    value, hits = out.split()
    return int(value), int(hits) == 1, [line for line in said.splitlines() if "Warning" in line]


def compiled(folder):
    """Every file of compiled code below a folder."""
    return sorted(path for path in folder.rglob("*") if path.suffix in (".nbi", ".nbc", ".kernel"))


def a_file(tmp_path):
    (tmp_path / "file").write_text("in the way")
    return {"HWMODEL_CACHE": str(tmp_path / "file")}, r"file/[0-9a-f]{20}.*: Not a directory"


def below_a_file(tmp_path):
    (tmp_path / "file").write_text("in the way")
    return {"HWMODEL_CACHE": str(tmp_path / "file" / "cache")}, "Not a directory"


def no_such_home(_):
    return {"HOME": "/proc/nope"}, "/proc/nope.*: No such file or directory"


def nowhere(_):
    return {"HWMODEL_CACHE": "/proc/nope"}, "/proc/nope: No such file or directory"


def a_folder_for_all(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    return {"HWMODEL_CACHE": str(tmp_path / "cache")}, r"/cache may be written by other users \(chmod go-w"


UNUSABLE = [a_file, below_a_file, no_such_home, nowhere, a_folder_for_all]


@pytest.mark.parametrize("unusable", UNUSABLE, ids=lambda function: function.__name__)
def test_where_nothing_can_be_kept_nothing_is_stale(packages, tmp_path, unusable):
    environment, reason = unusable(tmp_path)
    first = call(packages, **environment)
    edit(packages)
    second = call(packages, **environment)
    assert [first[:2], second[:2]] == [(6, False), (105, False)]
    for *_, said in (first, second):
        assert len(said) == 1 and re.search(re.escape(NOT_KEPT) + ".*" + reason, said[0]), said
    assert compiled(tmp_path) == []


def test_on_a_full_disk_a_run_goes_on(packages, tmp_path):
    value, was_kept, said = call(packages, "full", HWMODEL_CACHE=str(tmp_path / "cache"))
    assert (value, was_kept) == (6, False)
    assert len(said) == 1 and re.search(re.escape(NOT_KEPT) + r".*\.kernel: File too large", said[0]), said
    assert compiled(tmp_path) == []


def test_what_is_kept_is_found_and_is_nobody_else_s(packages, tmp_path):
    environment = {"HWMODEL_CACHE": str(tmp_path / "deep" / "cache")}
    before = os.umask(0)
    try:
        assert call(packages, **environment) == (6, False, [])
    finally:
        os.umask(before)
    assert call(packages, **environment) == (6, True, [])
    (kernel,) = compiled(tmp_path)
    assert [path.stat().st_mode & 0o777 for path in (kernel, kernel.parent, kernel.parent.parent)] == [0o600, 0o700, 0o700]
    edit(packages)
    assert call(packages, **environment) == (105, False, [])


def damaged(whole):
    """The contents of a file after various accidents."""
    middle, sizes = len(whole) // 2, (0, 1, HEAD - 1, HEAD, len(whole) - 1)
    yield from (whole[:size] for size in sizes)
    yield from (whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :] for at in (0, HEAD - 1, HEAD, middle, len(whole) - 1))
    yield whole + b"\0"


def test_a_damaged_file_is_removed_and_compiled_anew(packages, tmp_path):
    environment = {"HWMODEL_CACHE": str(tmp_path / "cache")}
    call(packages, **environment)
    kernel = compiled(tmp_path)[0]
    whole = kernel.read_bytes()
    for data in (b"", whole[: len(whole) // 2], whole[: len(whole) // 2] + b"\0" + whole[len(whole) // 2 + 1 :]):
        kernel.write_bytes(data)
        value, was_kept, said = call(packages, **environment)
        assert (value, was_kept) == (6, False)
        assert len(said) == 1 and f"{kernel} is damaged: it is removed and compiled anew" in said[0]
        assert call(packages, **environment) == (6, True, [])


def test_what_is_whole_but_no_kernel_is_compiled_anew(packages, tmp_path):
    environment = {"HWMODEL_CACHE": str(tmp_path / "cache")}
    call(packages, **environment)
    (kernel,) = compiled(tmp_path)
    Store(kernel.parent).save(kernel.stem, pickle.dumps("no kernel"))
    value, was_kept, said = call(packages, **environment)
    assert (value, was_kept) == (6, False) and len(said) == 1 and "can't be loaded (ValueError)" in said[0], said
    assert call(packages, **environment) == (6, True, [])


@needs_root
@pytest.mark.parametrize("what", ["folder", "parent", "file"])
def test_what_another_user_owns_is_not_loaded(packages, tmp_path, what):
    environment = {"HWMODEL_CACHE": str(tmp_path / "cache")}
    call(packages, **environment)
    kernel = compiled(tmp_path)[0]
    path = {"folder": kernel.parent, "parent": kernel.parent.parent, "file": kernel}[what]
    os.chown(path, 65534, 65534)
    value, was_kept, said = call(packages, **environment)
    assert (value, was_kept) == (6, False) and len(said) == 1, said
    refused = f"{NOT_KEPT}{path} belongs to another user (number 65534)"
    assert (f"{path} could have been written by another user" if what == "file" else refused) in said[0]
    assert compiled(tmp_path) == [kernel] and (kernel.stat().st_uid == 0)


def test_what_others_could_write_is_not_even_unpickled(packages, tmp_path):
    environment = {"HWMODEL_CACHE": str(tmp_path / "cache")}
    call(packages, **environment)
    (kernel,) = compiled(tmp_path)

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "run"),)

    Store(kernel.parent).save(kernel.stem, pickle.dumps(Evil()))
    for path, mode in ((kernel.parent, 0o720), (kernel.parent, 0o702), (kernel.parent.parent, 0o770), (kernel, 0o602)):
        before = path.stat().st_mode
        path.chmod(mode)
        assert call(packages, **environment)[0] == 6 and not (tmp_path / "run").exists()
        if path.exists():
            path.chmod(before)


def test_processes_that_start_together_compile_once(packages, tmp_path):
    together = [start(packages, HWMODEL_CACHE=str(tmp_path / "cache")) for _ in range(3)]
    results = [process.communicate(timeout=600)[0].split() for process in together]
    assert sorted(results) == [["6", "0"], ["6", "1"], ["6", "1"]]


def test_every_accident_is_noticed(tmp_path):
    store = Store(str(tmp_path / "cache" / "version"))
    store.save("kernel", b"code" * 100)
    path = tmp_path / "cache" / "version" / "kernel.kernel"
    whole = path.read_bytes()
    assert store.load("kernel") == b"code" * 100 and store.has("ker") and not store.has("kern.el")
    for data in damaged(whole):
        path.write_bytes(data)
        with pytest.warns(RuntimeWarning, match="is damaged"):
            assert store.load("kernel") is None
        assert not path.exists() and store.load("kernel") is None
        store.save("kernel", b"code" * 100)
    for place in (path.with_name("other.kernel"), tmp_path / "cache" / "other" / "kernel.kernel"):  # a kernel under another's name
        place.parent.mkdir(exist_ok=True, mode=0o700)
        place.write_bytes(whole)
        place.chmod(0o600)
        with pytest.warns(RuntimeWarning, match="is damaged"):
            assert Store(str(place.parent)).load(place.stem) is None


def test_a_folder_that_can_be_read_only_is_read(tmp_path, monkeypatch):
    store = Store(str(tmp_path / "cache" / "version"))
    store.save("kernel", b"code")

    def whole(path, mode):
        raise OSError(30, "Read-only file system", path)

    monkeypatch.setattr("hwmodel.store.whole", whole)
    with pytest.warns(RuntimeWarning, match=r"not kept.*other\.kernel: Read-only file system"):
        store.save("other", b"code")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.save("other", b"code")
        store.begin("other")
        store.end("other")
        assert store.load("kernel") == b"code" and store.load("other") is None
