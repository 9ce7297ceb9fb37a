"""What the tests of readers share: modules beside them are imported by their names, and files of a few bytes are written."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture
def file(tmp_path, request):
    """A function that writes bytes or a text and returns the file, which the test's module may name (`FILE`)."""
    usual = getattr(request.module, "FILE", "log.7")

    def write(content, name=usual):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
