"""What every test gets: pictures without a screen, and the marker of the notebooks."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_configure(config):
    """Register the marker that `make notebooks` selects."""
    config.addinivalue_line("markers", "notebook: runs a whole notebook; part of make notebooks")


def pytest_terminal_summary(terminalreporter):
    """Say aloud what was not shown because this machine can't show it."""
    reasons = {report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ())}
    for reason in sorted(reason for reason in reasons if reason.startswith("NOT SHOWN")):
        terminalreporter.write_line(reason, red=True, bold=True)
