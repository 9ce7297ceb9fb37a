"""The program `hwmodel` and signals: it dies of them at once, and whatever it was doing leaves nothing half done."""

import os
import signal
import subprocess
import sys
import time

import pytest

import workloads
from tests import killing_commands
from tests.test_house import ROOT, top_imports

TRAP = """
import os, signal, sys
module, how = sys.argv[1:3]
sys.argv[1:] = sys.argv[3:]
class Lost:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
class Finder:
    def find_spec(self, name, *_):
        if name == module:
            if how == "lost":
                Lost()
            else:
                os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
import hwmodel_command
sys.exit(hwmodel_command.main())
"""
"""Sends itself a Ctrl-C when a module is imported: in the midst of it, or in a finalizer, where Python drops exceptions."""


def interrupted(module, how, out):
    """Return a conversion that a Ctrl-C meets while it imports a module."""
    command = [sys.executable, "-W", "ignore", "-c", TRAP, module, how, "convert", "sqlite", str(out)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("how", ["plain", "lost"])
@pytest.mark.parametrize("module", ["analysis", "numba", "pyarrow.csv"])
def test_no_ctrl_c_is_lost_and_none_is_an_error(tmp_path, module, how):
    """Wherever it comes, in an import before the first command too."""
    done = interrupted(module, how, tmp_path / "out.csv")
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "") and not os.listdir(tmp_path)


def test_a_ctrl_c_that_is_ignored_stays_ignored(tmp_path):
    """A shell without job control has it ignored by what it runs in the background."""
    workloads.zipf(accesses=100, pages=9).save(tmp_path / "in.hwtrace")
    program = [sys.executable, "-m", "hwmodel_command", "convert", str(tmp_path / "in.hwtrace"), str(tmp_path / "out.csv")]
    script = ["sh", "-c", 'trap "" INT; echo; exec "$@"', "sh", *program]
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        process.stdout.readline()
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
    assert process.returncode == 0 and set(os.listdir(tmp_path)) == {"in.hwtrace", "out.csv"}


def test_only_the_entry_comes_before_the_packages():
    """What takes time to import would meet a Ctrl-C as an exception."""
    assert top_imports(ROOT / "hwmodel_command.py") == {"signal", "sys"}


OFTEN = (
    "compile readers", "compare", "sweep", "study", "convert.hwtrace", "convert.csv", "convert.champsim.xz", "record lackey", "record qemu",
)  # fmt: skip
"""Of the commands that are killed: a design's kernels take a minute to compile, and one packing is written as another is."""


@pytest.mark.long
@pytest.mark.parametrize("name", OFTEN)
def test_kills_at_random_moments(tmp_path, name):
    """One with each signal; `python -m tests.killing_commands 3` does three, of every command."""
    if reason := killing_commands.COMMANDS[name].missing():
        pytest.skip(f"NOT SHOWN that {name} leaves nothing after a kill: needs {reason}")
    assert killing_commands.rounds(tmp_path, [name], kills=1, seed=4) == 4
