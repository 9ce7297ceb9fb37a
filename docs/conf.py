"""How the site is made of these pages, the notebooks and the docstrings: `make docs`, by Sphinx."""

import pathlib
import shutil

import analysis
import hwmodel
import workloads

HERE = pathlib.Path(__file__).resolve().parent
NOTEBOOKS = HERE / "_notebooks"
PACKAGES = (hwmodel, workloads, analysis)

project = "hwmodel"
author = copyright = "the authors of hwmodel"
version = release = "0.1.0"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "hwmodel"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3  # `model.md#the-ledger` is a link
nb_execution_mode = "off"  # notebooks are kept with the outputs of the run that CI repeats
suppress_warnings = ["misc.highlighting_failure"]  # of blocks that show what is no program

default_role = "py:obj"  # `analysis.sweep` is a link where there is such a page
autosummary_generate = True
autosummary_imported_members = True
autodoc_typehints = "none"  # numpy docstrings have them
autodoc_member_order = "bysource"
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_rtype = False
add_module_names = False


def _copy_notebooks() -> None:
    """Copy the notebooks to where Sphinx finds them; it takes no page from outside its folder."""
    shutil.rmtree(NOTEBOOKS, ignore_errors=True)
    shutil.copytree(HERE.parent / "notebooks", NOTEBOOKS, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))


def _write_reference() -> None:
    """Write the page of all public names: what the packages' `__all__` say, a page each."""
    lines = ["Reference", "=========", ""]
    for package in PACKAGES:
        name, summary = package.__name__, (package.__doc__ or "").partition("\n")[0]
        lines += [name, "-" * len(name), "", summary, "", f".. currentmodule:: {name}", ""]
        lines += [".. autosummary::", "   :toctree: _generated", ""]
        lines += [f"   {public}" for public in sorted(package.__all__, key=str.lower)] + [""]
    (HERE / "_reference.rst").write_text("\n".join(lines), encoding="utf-8")


def setup(app: object) -> None:
    """Hook into Sphinx."""
    _copy_notebooks()
    _write_reference()
