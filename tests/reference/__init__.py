"""The oracle: the same machine as `hwmodel`, in plain Python, written from docs/model.md alone."""

from tests.reference.machine import TWINS, DeadlockError, LivelockError, Outcome, TooLateError, simulate
from tests.reference.memory import OutOfMemoryError

__all__ = ["TWINS", "DeadlockError", "LivelockError", "OutOfMemoryError", "Outcome", "TooLateError", "simulate"]
