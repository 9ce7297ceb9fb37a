"""The site: every page is in it, it is made without a warning, and the code of its pages runs."""

import pathlib
import re
import subprocess
import sys

import pytest

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(DOCS.glob("[!_]*.md"))
WITH_CODE = ["tutorial.md", "howto.md", "byhand.md"]
"""The pages whose blocks a reader runs from top to bottom."""


def blocks(page):
    """The blocks of Python of a page."""
    return re.findall(r"(?ms)^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", WITH_CODE)
def test_the_code_of_a_page_runs(page, monkeypatch, tmp_path):
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    names = {}
    for number, block in enumerate(blocks(page)):
        exec(compile(block, f"{page}, block {number}", "exec"), names)
    plt.close("all")
    assert len(blocks(page)) > 3


def test_only_these_pages_have_code_for_readers():
    assert {page.name for page in PAGES if len(blocks(page.name)) > 3} == set(WITH_CODE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_is_in_the_index(page):
    listed = re.findall(r"(?m)^(\w+)$", (DOCS / "index.md").read_text(encoding="utf-8"))
    assert page.stem == "index" or page.stem in listed


def test_the_site_is_made_without_a_warning(tmp_path):
    """A link to nowhere is a warning, and so is a public name without a page."""
    pytest.importorskip("sphinx", reason="NOT SHOWN: the site, for Sphinx is not installed")
    strict = ["--fail-on-warning", "--keep-going", "--quiet"]
    command = [sys.executable, "-m", "sphinx", *strict, DOCS, tmp_path / "html", "-d", tmp_path / "trees"]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    pages = {path.name for path in (tmp_path / "html" / "_generated").glob("*.html")}
    assert {"analysis.compare.html", "hwmodel.simulate.html", "workloads.zipf.html"} <= pages
