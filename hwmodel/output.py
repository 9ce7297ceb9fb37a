"""Files that exist complete or not at all, whatever ends the process that writes them; all files are written here.

Data goes into a file without a name (Linux's O_TMPFILE), which replaces the old file at the end: a killed process leaves nothing.
Where there are no such files, the new file has a name, `PREFIX` and random digits, and a lock for as long as its writer lives;
the next writer in that folder removes the files of dead writers.
"""

import contextlib
import errno
import fcntl
import io
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from typing import BinaryIO

Path = str | os.PathLike[str]

PREFIX = ".hwmodel-writing-"
BUFFER = 1 << 18
UNNAMED = getattr(os, "O_TMPFILE", 0)
OPEN_FILES = re.compile(r"/proc/\d+(/task/\d+)?/fd")


@contextlib.contextmanager
def whole(path: Path, mode: int = 0o666, told: Callable[[str], object] = lambda name: None) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` at the end; after an error, or a kill, `path` is unchanged.

    Parameters
    ----------
    path : path
        Of a symbolic link, the target is replaced. An existing file keeps its mode and, where that is allowed, its owner.
        A pipe, a terminal or another device is not replaced but written directly.
    mode : int
        The mode of a new file, less the umask.
    told : callable
        Called with the name of a file beside `path` before that file is made, so that it can be removed should this process be killed.

    Raises
    ------
    OSError
        If `path` can't be written; the message names `path`.
    """
    name = os.fspath(path)
    target = _target(name)
    if target is None:
        with _file(_named_by(name, os.open, name, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY), name) as file:
            yield file
        return
    folder = _folder(name, target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{name}: there is no folder {folder}")
    old = os.stat(target) if os.path.exists(target) else None
    descriptor, temporary = _named_by(name, _temporary, folder, 0o600 if old else mode, told)
    try:
        with _file(os.dup(descriptor), name) as file:
            yield file
        if old is not None:
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, old.st_uid, old.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
        if temporary is None:
            temporary = _named_by(name, _linked, descriptor, folder, told)
        _named_by(name, os.replace, temporary, target)
        temporary = None
    finally:
        if temporary is not None:
            os.unlink(temporary)
        os.close(descriptor)


def is_replaced(path: Path) -> bool:
    """Return whether `path` is, or would be, a file that `whole` replaces and can be read afterwards; raise OSError as `whole` does."""
    return _target(os.fspath(path)) is not None


def check(path: Path) -> None:
    """Raise OSError if `path` can't be written; called before the work, not after it."""
    name = os.fspath(path)
    if os.path.isdir(name) or not os.path.basename(name):
        raise IsADirectoryError(f"{name or 'an empty name'}: a folder, not a file to write")
    target = _target(name)
    if target is not None:
        check_folder(_folder(name, target))
    elif not os.access(name, os.W_OK):
        raise PermissionError(f"{name}: no permission to write there")


def check_folder(folder: Path) -> None:
    """Raise OSError if no file can be written to a folder, which may have to be made."""
    name = os.fspath(folder)
    if not name:
        raise FileNotFoundError("the name of the folder to write to is empty")
    there = name
    while not os.path.exists(there):
        there = os.path.dirname(there) or os.curdir
    if not os.path.isdir(there):
        raise NotADirectoryError(f"{there}: not a folder, so nothing can be written there")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"{there}: no permission to write there")


def encodable(text: str) -> str:
    """Return a text that any file can hold: a path's byte that is no character (in Python a lone surrogate) is written `\\udcff`."""
    return text.encode(errors="backslashreplace").decode()


class _Output(io.FileIO):
    """A file whose errors name it: the system's error of a full disk names no file."""

    shown = ""

    def write(self, data) -> int:  # type: ignore[no-untyped-def, override]
        """Write bytes; name the file in an error."""
        return _named_by(self.shown, super().write, data)


def _file(descriptor: int, name: str) -> io.BufferedWriter:
    raw = _Output(descriptor, "wb")
    raw.shown = name
    return io.BufferedWriter(raw, BUFFER)


def _named_by(name, function, *arguments):  # type: ignore[no-untyped-def]
    """Call a function; let an error of the system name the file as the user named it."""
    try:
        return function(*arguments)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, name) from None


def _target(name: str) -> str | None:
    """Return the file to replace, after all links; None: no regular file, or one that a process has open, is written directly."""
    try:
        mode = os.stat(name).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return os.path.realpath(name)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if stat.S_ISBLK(mode):
        raise OSError(f"{name}: a disk, not a file to write")
    return os.path.realpath(name) if stat.S_ISREG(mode) and not _is_open_file(name) else None


def _folder(name: str, target: str) -> str:
    """Return the folder of a target, as the user named it where possible."""
    return os.path.dirname(target) if os.path.islink(name) else os.path.dirname(name) or os.curdir


def _is_open_file(name: str) -> bool:
    """Return whether a path leads to an open file of a process: /dev/stdout, /dev/fd/63."""
    while os.path.islink(name):
        folder = os.path.dirname(name)
        if OPEN_FILES.fullmatch(os.path.realpath(folder)):
            return True
        name = os.path.join(folder, os.readlink(name))
    return False


def _temporary(folder: str, mode: int, told: Callable[[str], object]) -> tuple[int, str | None]:
    """Return (descriptor, name or None) of a new file, locked."""
    _remove_left(folder)
    if UNNAMED and os.path.isdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the file system has no unnamed files, or a named one fails below too
            descriptor = os.open(folder, UNNAMED | os.O_RDWR, mode)
            _lock(descriptor)
            return descriptor, None
    while True:
        name = _name(folder, told)
        descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
        _lock(descriptor)
        if os.fstat(descriptor).st_nlink:  # no other writer removed it as a dead writer's before it was locked
            return descriptor, name
        os.close(descriptor)


def _linked(descriptor: int, folder: str, told: Callable[[str], object]) -> str:
    """Give a file without a name a temporary one; return that name."""
    name = _name(folder, told)
    os.link(f"/proc/self/fd/{descriptor}", name, src_dir_fd=descriptor)  # given a src_dir_fd, Python follows the link
    return name


def _name(folder: str, told: Callable[[str], object]) -> str:
    name = os.path.join(os.path.abspath(folder), PREFIX + secrets.token_hex(8))
    told(name)
    return name


def _lock(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # some network file systems have no locks: nothing is removed there
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _remove_left(folder: str) -> None:
    """Remove the files that dead writers have left in a folder."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for path in [entry.path for entry in entries if entry.name.startswith(PREFIX) and entry.is_file(follow_symlinks=False)]:
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)
                finally:
                    os.close(descriptor)
