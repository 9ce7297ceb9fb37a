"""Writing files so that a reader never sees half of one, or one without the other."""

import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping

Writer = Callable[[str], object]


def text(path: str, content: str) -> None:
    """Write text, UTF-8."""
    pathlib.Path(path).write_text(content, encoding="utf-8")


def write_all(writers: Mapping[str | os.PathLike[str], Writer]) -> list[str]:
    """Write several files of one folder; on any error none of them is touched.

    Parameters
    ----------
    writers : mapping of path to callable
        Each is called with the path of a temporary file to write. All paths have the same parent, which is made if
        it is not there.

    Returns
    -------
    list of str
        The paths.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """
    paths = [pathlib.Path(path) for path in writers]
    for path in paths:
        check_file(path)
    folder = paths[0].parent
    made = _missing(folder)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = tempfile.mkdtemp(prefix=".writing-", dir=folder)
    try:
        for path, write in zip(paths, writers.values(), strict=True):
            write(os.path.join(temporary, path.name))
        for path in paths:
            os.replace(os.path.join(temporary, path.name), path)
    except BaseException:
        for new in made:
            shutil.rmtree(new, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return [str(path) for path in paths]


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Raise OSError if no file can be written to a folder that may have to be made: before the work, not after it."""
    if not os.fspath(folder):
        raise FileNotFoundError("the name of the folder to write to is empty")
    path = pathlib.Path(folder)
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{there}: not a folder, so nothing can be written there")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"{there}: no permission to write there")


def check_file(path: str | os.PathLike[str]) -> None:
    """Raise OSError if a file can't be written, as `check_folder`."""
    if os.path.isdir(path) or not os.path.basename(path):
        raise IsADirectoryError(f"{os.fspath(path) or 'an empty name'}: a folder, not a file to write")
    check_folder(os.path.dirname(path) or os.curdir)


def _missing(folder: pathlib.Path) -> list[pathlib.Path]:
    """The topmost folder that is not there yet, if any."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    return missing[-1:]
