"""The only import of pyarrow: the import is slow, and so is delayed until pyarrow is needed."""

from typing import Any


def arrow() -> Any:
    """Return pyarrow, with its CSV and Parquet modules.

    pyarrow itself imports pandas at its first array, in compiled code that drops a KeyboardInterrupt: the run would go on after a
    Ctrl-C. So pandas is imported before.
    """
    import pandas  # noqa: F401
    import pyarrow.csv
    import pyarrow.parquet

    return pyarrow
