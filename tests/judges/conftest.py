"""Judges from outside: where the tools are missing it is said loudly, and in CI it is a failure."""

import os
import shutil

import pytest

LOUD = "NOBODY JUDGES THE MODEL HERE"


@pytest.fixture(scope="session")
def valgrind():
    """The path of valgrind; a C compiler is there too."""
    missing = [tool for tool in ("valgrind", "cc") if shutil.which(tool) is None]
    if missing:
        reason = f"{LOUD}: missing {' and '.join(missing)}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return shutil.which("valgrind")


def pytest_terminal_summary(terminalreporter):
    """A skip is a dot among dots otherwise."""
    reasons = {report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()) if LOUD in str(report.longrepr)}
    for reason in reasons:
        terminalreporter.section("the judges did not sit", sep="#", red=True)
        terminalreporter.line(reason)
