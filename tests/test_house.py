"""The rules of this house, as programs: a rule that only a paragraph states is broken within a month."""

import ast
import graphlib
import pathlib
import re
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("hwmodel", "workloads", "analysis")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LAYERS = (
    {"jit", "byref", "store", "output", "arrow", "version", "outside", "html"},
    {"op", "config"},
    {"core", "trace"},
    {"parts"},
    {"primary"},
    {"engine", "feed", "build"},
    {"secondary"},
    {"machine", "limits", "modelled", "prelude", "regions", "events"},
    {"measure"},
    {"recorder"},
    {"run", "arguments"},
    {"simulate"},
    {"__init__"},
)
"""What stands in hwmodel, from the ground up: a module imports from its own floor and from those below."""
LONGEST = 400
KERNELS = {"part", "routine", "entry"}


def name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), name(path))


def imports(node: ast.AST) -> Iterator[str]:
    """Every module that is imported when the code runs, "hwmodel.core.clock" for `from hwmodel import clock` too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level and child.module, "imports are absolute"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from imports(child)


def top_imports(path: pathlib.Path) -> set[str]:
    """First names of what a module imports as soon as it is imported itself."""
    body = [node for node in tree(path).body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return {module.split(".")[0] for module in imports(ast.Module(body, []))}


def floor(module: str) -> int:
    for number, modules in enumerate(LAYERS):
        if module in modules:
            return number
    raise AssertionError(f"hwmodel/{module}: say in LAYERS of tests/test_house.py on which floor it stands")


def parts_of(module: str) -> list[str]:
    return module.split(".")


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_packages_import_one_way(path):
    rank = {"hwmodel": 0, "workloads": 1, "analysis": 2}
    own = rank[name(path).split("/")[0]]
    above = [module for module in imports(tree(path)) if rank.get(parts_of(module)[0], 0) > own]
    assert not above, f"{name(path)} imports {above}"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.is_relative_to(ROOT / "hwmodel")], ids=name)
def test_hwmodel_imports_one_way(path):
    own = floor(path.relative_to(ROOT / "hwmodel").with_suffix("").parts[0])
    for module in imports(tree(path)):
        first, *rest = parts_of(module)
        if first == "hwmodel" and rest and (ROOT / "hwmodel" / rest[0]).with_suffix("").name in known_modules():
            assert floor(rest[0]) <= own, f"{name(path)} imports {module}, which stands above it"


def known_modules() -> set[str]:
    return {path.stem for path in (ROOT / "hwmodel").iterdir() if path.suffix == ".py" or path.is_dir()}


def module_name(path: pathlib.Path) -> str:
    """Return what a file is imported as: "hwmodel.core.clock"."""
    return name(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def circle(modules: dict[str, ast.Module]) -> list[str]:
    """Return modules that import one another in a circle, in functions and for type checkers too; none: an empty list."""
    graph: dict[str, set[str]] = {}
    for module, code in modules.items():
        named = [f"{node.module}.{alias.name}" for node in ast.walk(code) if isinstance(node, ast.ImportFrom) for alias in node.names]
        named += [alias.name for node in ast.walk(code) if isinstance(node, ast.Import) for alias in node.names]
        found = {full if full in modules else full.rpartition(".")[0] for full in named}
        graph[module] = found & modules.keys() - {module}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_modules_do_not_import_in_circles():
    found = circle({module_name(path): tree(path) for path in SOURCES})
    assert not found, " <- ".join(found)


def test_an_import_circle_is_seen():
    """Wherever the import stands that closes it, and whichever way it is written."""
    late = "def f():\n    from house import first\n"
    typing = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.first import Thing\n"
    for closing in ("import house.first\n", "from house.first import thing\n", late, typing):
        code = {"house.first": "from house import second\n", "house.second": "from house.third import x\n", "house.third": closing}
        assert set(circle({module: ast.parse(text) for module, text in code.items()})) == code.keys(), closing
        code["house.third"] = "import numpy\n"
        assert circle({module: ast.parse(text) for module, text in code.items()}) == []


@pytest.mark.parametrize("path", sorted((ROOT / "hwmodel" / "secondary").glob("*.py")), ids=name)
def test_designs_never_import_one_another(path):
    others = {other.stem for other in path.parent.glob("*.py") if not other.stem.startswith("_")} - {path.stem, "protocol"}
    for module in imports(tree(path)):
        package, sibling = parts_of(module)[:2], set(parts_of(module)[2:3])
        assert not (package == ["hwmodel", "secondary"] and sibling & others), f"{name(path)} imports {module}"


def listed(node: ast.AST) -> list[ast.expr]:
    """The members of a literal collection; the keys of a dictionary."""
    if isinstance(node, ast.Dict):
        return [key for key in node.keys if key]
    return node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else []


WORDS = re.compile(r"(?i)\b(gru|kvm|ept|npt|vcpus?|tgh|sptes?|tfh|tfm|cch|chiplets?|cbrs?)\b|(?:gru|kvm|ept|vcpu)_")
"""What designs call their parts."""


@pytest.mark.parametrize("path", [path for path in SOURCES if path.is_relative_to(ROOT / "hwmodel")], ids=name)
def test_only_designs_have_words_of_designs(path):
    """What is shared knows no design: in hwmodel/ their words are in secondary/ only, and in the names of presets and the front page."""
    if path.parent.name != "secondary" and path != ROOT / "hwmodel" / "__init__.py":
        text = re.sub(r"[\w-]+-20\d\d", "", path.read_text(encoding="utf-8"))
        assert not (found := WORDS.search(text)), f"{name(path)}: {found and found.group()}"


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_no_test_lists_the_designs(path):
    """A list of designs does not know the next one; tests.support.designs finds them all. Words of a text count as its members."""
    designs = {file.stem for file in (ROOT / "hwmodel" / "secondary").glob("*.py") if not file.stem.startswith("_")} - {"protocol"}
    for node in ast.walk(tree(path)):
        members = {member.value for member in listed(node) if isinstance(member, ast.Constant)}
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            members = set(re.findall(r"(?<![\w-])\w+(?![\w-])", node.value))
        assert len(members & designs) < 2, f"{name(path)}:{node.lineno} lists designs"


def test_only_jit_imports_numba():
    guilty = [
        name(path)
        for path in SOURCES
        if any(parts_of(module)[0] in ("numba", "llvmlite") for module in imports(tree(path)))
        and path != ROOT / "hwmodel" / "jit.py"
    ]
    assert not guilty


def test_only_arrow_imports_pyarrow():
    """It imports pandas where a Ctrl-C would be lost; hwmodel/arrow.py does so before."""
    guilty = [name(path) for path in SOURCES if any(parts_of(module)[0] == "pyarrow" for module in imports(tree(path)))]
    assert guilty == ["hwmodel/arrow.py"]


TIMELINE = {ROOT / "hwmodel" / "measure" / file for file in ("picture.py", "figure.py")}
"""The picture of a result's timeline, which it has with it: `import hwmodel` is all that who asks for events needs."""


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_slow_imports_wait(path):
    heavy = {"pandas", "pyarrow"} | (set() if "plots" in path.parts or path in TIMELINE else {"matplotlib"})
    assert not top_imports(path) & heavy, f"{name(path)}: imported inside the functions that need them"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.is_relative_to(ROOT / "hwmodel")], ids=name)
def test_hwmodel_does_not_plot(path):
    assert path in TIMELINE or "matplotlib" not in {parts_of(module)[0] for module in imports(tree(path))}


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_nothing_prints(path):
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert "print" not in {call.func.id for call in calls}


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_only_the_terminal_prints(path):
    """What others wrote must not become markup or an order to a terminal: all goes through analysis/terminal.py, as plain text."""
    if name(path) in ("analysis/terminal.py", "workloads/recorders/launch.py", "workloads/recorded/make.py"):
        return  # itself; what passes a program's errors on; what makes the recordings shipped here and tells their sizes
    allowed = {"rich.table.Table"}  # its cells are rendered by the console
    printing = {module for module in imports(tree(path)) if parts_of(module)[0] in ("rich", "click", "logging")} - allowed
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("sys.stdout", "sys.stderr", "typer", "rich"):
            if node.attr in ("write", "writelines", "buffer", "echo", "secho", "style", "print"):
                printing.add(ast.unparse(node))
        if isinstance(node, ast.keyword) and node.arg in ("markup", "emoji"):
            printing.add(node.arg)
    assert not printing, f"{name(path)} prints or marks text up by {printing}: analysis/terminal.py does"


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name)
def test_files_are_short(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{name(path)} has {lines} lines"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.is_relative_to(ROOT / "hwmodel")], ids=name)
def test_functions_are_short(path):
    """Forty lines without the docstring; eight parameters without a default, or a docstring, also of the class, that says why more."""
    for owner in [node for node in ast.walk(tree(path)) if isinstance(node, ast.Module | ast.ClassDef)]:
        for node in [node for node in owner.body if isinstance(node, ast.FunctionDef)]:
            doc = node.body[0] if ast.get_docstring(node) else None
            lines = node.end_lineno - node.lineno + 1 - (doc.end_lineno - doc.lineno + 1 if doc else 0)
            assert lines <= 40, f"{name(path)}:{node.lineno} {node.name} has {lines} lines"
            said = f"{ast.get_docstring(node)} {'' if isinstance(owner, ast.Module) else ast.get_docstring(owner)}"
            optional = len(node.args.defaults) + sum(default is not None for default in node.args.kw_defaults)
            few = len(node.args.args) + len(node.args.kwonlyargs) - optional <= 8
            assert few or re.search("parameters, (?:more than eight|as )|parameters are more than eight", said), f"{node.name} takes many"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.is_relative_to(ROOT / "hwmodel")], ids=name)
def test_kernel_generations_differ_in_policy_only(path):
    if path == ROOT / "hwmodel" / "primary" / "policy.py":
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            constants = [side.value for side in sides if isinstance(side, ast.Constant)]
            names = [ast.unparse(side).split(".")[-1] for side in sides]
            generations = [value for value in constants if isinstance(value, str) and value.startswith("linux-")]
            assert not generations and "kernel" not in names and "policy" not in names, (
                f"{name(path)}:{node.lineno}: a rule of one kernel belongs in primary/policy.py"
            )


NO_VERBS = frozenset(
    "a an the what whether which who whose why when where how it its they this that these those is are was were has have does "
    "every each all no any some one two nothing of for in on at from with without".split()
)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_docstrings_of_functions_begin_with_a_verb(path):
    """"Return ...", "Drop ...", after a phase's name in capitals if it has one."""
    found = [(node.name, ast.get_docstring(node)) for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]
    first = {function: re.sub(r"^[A-Z0-9_, ]+: ", "", text).split()[0] for function, text in found if text}
    assert {function: word for function, word in first.items() if word.lower() in NO_VERBS} == {}


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_public_things_have_docstrings(path):
    def public(body: list[ast.stmt]) -> Iterator[ast.stmt]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                yield node
                if isinstance(node, ast.ClassDef):
                    yield from public(node.body)

    module = tree(path)
    assert ast.get_docstring(module), f"{name(path)} has no docstring"
    bare = [node.name for node in public(module.body) if not ast.get_docstring(node)]
    assert not bare, f"{name(path)}: {', '.join(bare)}"


def words_of(path):
    """The text of a file; of a notebook without its pictures, whose letters mean nothing."""
    return re.sub(r'"image/png": "[^"]*"', "", path.read_text(encoding="utf-8", errors="ignore"))


def test_nothing_is_left_to_do():
    unfinished = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)))
    kinds = {".py", ".md", ".toml", ".ipynb", ".c", ".yml", ""}
    skipped = {".git", ".venv", "out", ".ruff_cache", ".mypy_cache", "__pycache__", ".hypothesis"}
    for path in ROOT.rglob("*"):
        if path.is_file() and path.suffix in kinds and not skipped & set(path.relative_to(ROOT).parts):
            found = unfinished.search(words_of(path))
            assert not found, f"{name(path)}: {found and found.group()}"


def test_no_path_of_a_machine():
    """What one developer's machine calls its folders helps nobody else."""
    home = re.compile(r"(?<![\w.])/(?:" + "|".join(("home", "Users", "root")) + r")/\w")
    for path in [*SOURCES, *TESTS, *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.ipynb")]:
        found = home.search(words_of(path))
        assert not found, f"{name(path)}: {found and found.group()}"
