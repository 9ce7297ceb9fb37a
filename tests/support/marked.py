"""A process that is to be killed, and all that it starts: found by a mark in the environment, which no other process has."""

import os
import pathlib
import subprocess
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
MARK = "HWMODEL_TESTED"


class Marked:
    """A process in a session of its own, with a mark that its children inherit.

    Parameters
    ----------
    command : list of str
        What to run, in `folder`.
    folder : path
        Its working directory.
    errors : file, optional
        Where its messages go; nowhere by default.
    environment : str
        Variables that it gets besides this process's.
    """

    def __init__(self, command, folder, errors=subprocess.DEVNULL, **environment):
        self.mark = uuid.uuid4().hex
        own = os.environ | {MARK: self.mark, "PYTHONPATH": str(ROOT)} | environment
        places = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": errors, "cwd": folder}
        self.process = subprocess.Popen(command, env=own, start_new_session=True, **places)

    def alive(self):
        """Command lines of the processes that have the mark and have not ended."""
        found = {}
        for path in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self.mark}".encode() in (path / "environ").read_bytes().split(b"\0"):
                    found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def left(self):
        """What there still is of it; empty in the end."""
        return list(self.alive().values())

    def kill(self, number):
        """Send a signal; return what is left after two seconds."""
        self.process.send_signal(number)
        until = time.monotonic() + 2
        while self.left() and time.monotonic() < until:
            self.process.poll()
            time.sleep(0.02)
        left = self.left()
        self.process.kill()
        self.process.wait()
        return left
