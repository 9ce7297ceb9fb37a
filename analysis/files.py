"""Write several files of a folder: all are complete before the first takes its place, and an error leaves none.

A process that is killed just then may leave some of them new and others old, each whole.
"""

import contextlib
import functools
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hwmodel.output import check, whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Writer = Callable[[Any], object]


def text(file: Any, content: str) -> None:
    """Write text as UTF-8; lone surrogates, which UTF-8 cannot encode, are written as `\\udc80`."""
    file.write(content.encode(errors="backslashreplace"))


def csv(file: Any, frame: "pd.DataFrame", **options: Any) -> None:
    """Write a table as CSV, in UTF-8 like `text`."""
    frame.to_csv(file, errors="backslashreplace", **options)


def table(file: Any, frame: "pd.DataFrame") -> None:
    """Write a table as CSV without its index, each fraction with ten digits."""
    csv(file, frame, index=False, float_format="%.10g")


def parquet(file: Any, frame: "pd.DataFrame") -> None:
    """Write a table as Parquet."""
    frame.to_parquet(file, index=False)


def save(out: str | os.PathLike[str], contents: "Mapping[str, str | pd.DataFrame | Figure]") -> list[str]:
    """Write a folder, as `write_all` does: each of the contents by its name, a text, a table as CSV or a picture as PNG."""
    return write_all({os.path.join(out, name): functools.partial(_write, content=content) for name, content in contents.items()})


def _write(file: Any, content: "str | pd.DataFrame | Figure") -> None:
    from matplotlib.figure import Figure

    if isinstance(content, str):
        text(file, content)
    elif isinstance(content, Figure):
        from analysis import plots

        plots.save(content, file)
    else:
        table(file, content)


def write_all(writers: Mapping[str | os.PathLike[str], Writer]) -> list[str]:
    """Write several files of one folder; on any error none of them is touched.

    Parameters
    ----------
    writers : mapping of path to callable
        Each is called with a binary file to write. All paths have the same parent, which is created if it does not exist.

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
        check(path)
    folder = paths[0].parent
    made = _missing(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.ExitStack() as stack:
            for path, write in zip(paths, writers.values(), strict=True):
                write(stack.enter_context(whole(path)))
    except BaseException:
        for new in made:
            shutil.rmtree(new, ignore_errors=True)
        raise
    return [str(path) for path in paths]


def _missing(folder: pathlib.Path) -> list[pathlib.Path]:
    """Return the topmost folder that does not exist yet, in a list; an empty list if all exist."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    return missing[-1:]
