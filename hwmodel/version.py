"""Which version of the model this is: what it computes may change with any of its files."""

import functools
import hashlib
import importlib.metadata
import pathlib


@functools.cache
def model_version() -> str:
    """Return the package's version and a hash of the model's code: "0.1.0+1f3a9c0b2d4e".

    Two runs of one configuration and one trace have the same result if this is the same. Settings and traces are not part of it.
    """
    root, digest = pathlib.Path(__file__).resolve().parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    try:
        package = importlib.metadata.version("hwmodel")
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        package = "0"
    return f"{package}+{digest.hexdigest()[:12]}"
