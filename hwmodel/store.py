"""Compiled kernels on disk, in files that no other user can have written, each with a checksum.

A loaded kernel is run, so a folder that another user owns or may write is not used, nor is a file that has changed since it was written.
Where the folder can't be used, nothing is kept, and one warning says so: no other folder takes its place.
"""

import fcntl
import hashlib
import os
import stat
import time
import warnings

from hwmodel.output import whole

MAGIC = b"hwmodel kernel 1\n"
HEAD = len(MAGIC) + hashlib.sha256().digest_size
SUFFIX = ".kernel"
OTHERS = stat.S_IWGRP | stat.S_IWOTH
PATIENCE, PAUSE = 600.0, 0.1  # seconds


class Store:
    """The files of a folder, by name.

    Parameters
    ----------
    folder : str
        Made, for this user only, when a file is first kept; so is the folder's parent.
    """

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(folder)
        self._loads = self._saves = True
        self._turns: int | None = None

    def load(self, name: str) -> bytes | None:
        """Return the data saved under a name; None if there are none, or if they can't be trusted."""
        path = self._path(name)
        try:
            if not self._is_ours():
                return None
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                about, data = os.fstat(file.fileno()), file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._loads = False
            self._do_without(path, error)
            return None
        if not stat.S_ISREG(about.st_mode) or _whose(about):
            self.drop(name, "could have been written by another user")
        elif not data.startswith(head := self._head(name, data[HEAD:])):
            self.drop(name, "is damaged")
        else:
            return data[len(head) :]
        return None

    def save(self, name: str, data: bytes) -> None:
        """Keep data under a name, if possible."""
        path = self._path(name)
        try:
            if self._is_made():
                with whole(path, mode=0o600) as file:
                    file.write(self._head(name, data))
                    file.write(data)
        except OSError as error:
            self._do_without(path, error)

    def drop(self, name: str, why: str) -> None:
        """Remove a file that can't be used, with a warning that says why."""
        path = self._path(name)
        warnings.warn(f"{path} {why}: it is removed and compiled anew", RuntimeWarning, stacklevel=2)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._do_without(path, error)

    def has(self, prefix: str) -> bool:
        """Return whether a name that begins with `prefix` has been saved."""
        try:
            return any(name.startswith(prefix) and name.endswith(SUFFIX) for name in os.listdir(self.folder))
        except OSError:
            return False

    def begin(self, name: str) -> None:
        """Wait while another process makes the file of this name; `end` must follow."""
        try:
            if self._is_made():
                if self._turns is None:
                    self._turns = os.open(os.path.join(self.folder, "turns"), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
                until = time.monotonic() + PATIENCE
                while not self._has_turn(name) and time.monotonic() < until:  # not for ever: the other process may have been stopped
                    time.sleep(PAUSE)
        except OSError as error:
            self._do_without(self.folder, error)

    def end(self, name: str) -> None:
        """Let other processes make the file of this name."""
        if self._turns is not None:
            fcntl.lockf(self._turns, fcntl.LOCK_UN, 1, _place(name))

    def _has_turn(self, name: str) -> bool:
        try:
            fcntl.lockf(self._turns, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(name))  # type: ignore[arg-type]
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a file system without locks: each process makes its own
            pass
        return True

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name + SUFFIX)

    def _head(self, name: str, data: bytes) -> bytes:
        """Return the bytes before the data: a checksum of the data and of the folder and name of their file."""
        place = f"{os.path.basename(self.folder)}/{name}".encode()
        return MAGIC + hashlib.sha256(place + b"\0" + data).digest()

    def _is_ours(self) -> bool:
        """Return whether the files of the folder can be trusted; raise OSError if there is no folder."""
        if not self._loads:
            return False
        parent = os.path.dirname(self.folder)
        for path, about in ((parent, os.stat(parent)), (self.folder, os.stat(self.folder))):
            shared = path == parent and about.st_mode & stat.S_ISVTX  # /tmp: other users can't touch our files in it
            if reason := "" if shared else _whose(about):
                self._loads = False
                self._say(f"{path} {reason}")
        return self._loads

    def _is_made(self) -> bool:
        """Return whether files can be kept; make the folder if it does not exist; raise OSError if that fails."""
        if self._loads and self._saves:
            os.makedirs(os.path.dirname(self.folder), 0o700, exist_ok=True)
            os.makedirs(self.folder, 0o700, exist_ok=True)
        return self._saves and self._is_ours()

    def _do_without(self, path: str, error: OSError) -> None:
        self._say(f"{error.filename or path}: {error.strerror or error}")

    def _say(self, reason: str) -> None:
        if self._saves:
            self._saves = False
            warnings.warn(f"compiled kernels are not kept, so every run compiles them: {reason}", RuntimeWarning, stacklevel=2)


def _whose(about: os.stat_result) -> str:
    """Return why a file or folder is not this user's alone; empty if it is."""
    if about.st_uid != os.geteuid():
        return f"belongs to another user (number {about.st_uid})"
    return "may be written by other users (chmod go-w takes that from them)" if about.st_mode & OTHERS else ""


def _place(name: str) -> int:
    """Return the byte of the file of turns that stands for a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
