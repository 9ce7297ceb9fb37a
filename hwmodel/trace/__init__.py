"""A trace: agents and their records (`stream`), the check of the records (`check`), the file that stores them (`file`).

The record itself is in `hwmodel.op`.
"""

from hwmodel.trace.stream import Trace, validate

__all__ = ["Trace", "validate"]
