"""A trace: agents and their records (`stream`), the check of them (`check`), the file they are kept in (`file`).

The record itself is in `hwmodel.op`.
"""

from hwmodel.trace.stream import Trace, validate

__all__ = ["Trace", "validate"]
