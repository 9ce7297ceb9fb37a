"""pyarrow: the one home of its import, which is slow and so waits until it is needed."""

from typing import Any


def arrow() -> Any:
    """Return the library, with its CSV and its Parquet.

    It imports pandas itself as soon as it meets an array, in compiled code that drops a KeyboardInterrupt: the run would go on after a
    Ctrl-C. So pandas is there before.
    """
    import pandas  # noqa: F401
    import pyarrow.csv
    import pyarrow.parquet

    return pyarrow
