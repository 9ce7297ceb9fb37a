"""Tests that stand between the engine and its kernels need the JIT off: where it is on, another process runs them for us.

So `pytest tests/contract` shows each of them, whatever the JIT. There they count as `long`, and those that `make test` comes to in its pass
without the JIT as `elsewhere`: that pass is enough. (In other folders the mark `jit_off` is of tests that run in both ways.)
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

import pytest

from hwmodel import jit

HERE = pathlib.Path(__file__).resolve().parent
OUTCOMES = pytest.StashKey[dict[tuple[str, str], str]]()


def of_another_process(items: list[pytest.Item]) -> list[pytest.Item]:
    """The tests of this folder that need the JIT off, where it is on."""
    return [item for item in items if not jit.JIT_OFF and item.path.is_relative_to(HERE) and item.get_closest_marker("jit_off")]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before any is deselected: a process more takes a while."""
    for item in of_another_process(items):
        if item.get_closest_marker("long") is None:
            item.add_marker("elsewhere")
            item.add_marker("long")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Report what the other process found."""
    if not of_another_process([pyfuncitem]):
        return None
    session = pyfuncitem.session
    if OUTCOMES not in session.stash:
        session.stash[OUTCOMES] = run_without_jit(session)
    module = ".".join(pyfuncitem.path.relative_to(pyfuncitem.config.rootpath).with_suffix("").parts)
    complaint = session.stash[OUTCOMES].get((module, pyfuncitem.name), "the process with the JIT off did not run it")
    if complaint:
        pytest.fail(complaint, pytrace=False)
    return True


def run_without_jit(session: pytest.Session) -> dict[tuple[str, str], str]:
    """What those of this session's tests say with the JIT off: module and name to complaint, which is empty if it passed."""
    mine = [item.nodeid for item in of_another_process(session.items)]
    root, environment = session.config.rootpath, {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(root), f"--junitxml={report}", *mine]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        if not report.exists():
            pytest.fail(f"the process with the JIT off died: {done.stdout}{done.stderr}", pytrace=False)
        cases = list(ElementTree.parse(report).iter("testcase"))
    return {(case.get("classname", ""), case.get("name", "")): complaint_of(case) for case in cases}


def complaint_of(case: ElementTree.Element) -> str:
    """The text of a test that failed, or did not run."""
    return "\n".join(f"{part.tag}: {part.text or part.get('message')}" for part in case if part.tag in ("failure", "error", "skipped"))
