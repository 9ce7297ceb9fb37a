"""What every test gets: pictures without a screen, and the marker of the notebooks."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_configure(config):
    """Register the marker that `make notebooks` selects."""
    config.addinivalue_line("markers", "notebook: runs a whole notebook; part of make notebooks")
