"""The rules of the house, as data and as tests: who may import whom, what is public, and what git may hold."""

import ast
import importlib
import json
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from workbench.cli import app

ROOT = Path(__file__).parents[1]

# A room imports only from its own floor and those below. CONTRIBUTING.md shows the same table.
FLOORS = {
    0: "_lazy _optional devices downloads errors folders hub images metrics processes progress protocols similarity "
    "texts tokens vectors",
    1: "backends clustering models projection quantization search",
    2: "cross_encoder encoding model_card persist batching pool registry sentence_transformer",
    3: "evaluation losses mining readers store",
    4: "datasets training",
    5: "recipes",
    6: "__main__ cli commands distributed report scorecard util cross_encoder.evaluation cross_encoder.losses "
    "cross_encoder.trainer cross_encoder.training_args sampler similarity_functions trainer training_args",
    7: "widgets",
}
ADDRESSES = {"sampler", "similarity_functions", "trainer", "training_args", "util"}  # hand on others' names
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms.split()}
LINES = {  # of code, blanks, comments and docstrings not counted: a room that grows past its share is too big
    "clustering": 400, "mining": 850, "projection": 250, "quantization": 400, "search": 2_600, "store": 650,
    "evaluation": 1_490, "losses": 1_400, "training": 1_630, "datasets": 300, "images": 120, "readers": 220,
    "recipes": 1_850, "report": 270, "distributed": 660, "registry": 120, "backends": 670, "the rest": 5_200,
}  # fmt: skip
LARGEST_FILE = 2**20  # bytes of a tracked file outside workbench/assets

# Put together from pieces, so that this file passes its own test.
FORBIDDEN = {
    "a package registry's host": "|".join(
        re.escape(".".join(host))
        for host in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("debian", "org"), ("crates", "io"))
    ),
    "a path of one machine": r"(?<![\w.])/" + r"(?:work|home/\w+|Users/\w+)/|(?<![\w.])/" + r"root/\w",
}


@cache
def modules():
    """Every module of the two packages: its dotted name and its syntax tree."""
    found = {}
    for path in sorted([*ROOT.glob("workbench/**/*.py"), *ROOT.glob("widgets/**/*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def is_package(name):
    return (ROOT / Path(*name.split(".")) / "__init__.py").is_file()


def room(name):
    """The row of the table that a module belongs to; the front door ``workbench`` itself has none."""
    first, _, rest = name.partition(".")
    if first != "workbench":
        return first
    return rest if rest in FLOOR_OF else rest.partition(".")[0]  # a file may hand on names from higher floors


def imports(name):
    """The modules of this project that ``name`` imports, at the top or inside a function, or reaches as attributes."""
    tree = modules()[name]
    skipped = set()
    if is_package(name):  # the lazy names of a package are told to type checkers only
        blocks = [
            node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        ]
        skipped = {id(inner) for block in blocks for node in block.body for inner in ast.walk(node)}
    found, called = set(), {}  # called: what `import` makes of a name in this file
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            for alias in node.names:
                first = alias.name.split(".")[0]
                called[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: write the import from the package's root."
            found |= {_home(node.module or "", alias.name) for alias in node.names}
    for node in ast.walk(tree):  # after `import workbench`, `workbench.hub` is reached when the line runs
        first, *rest = ast.unparse(node).split(".") if isinstance(node, ast.Attribute) else [""]
        target = called.get(first, "")
        for part in rest if target.split(".")[0] in ("workbench", "widgets") else ():
            target = _home(target, part)
            found.add(target)
    return {target for target in found if target.split(".")[0] in ("workbench", "widgets")} - {name}


def _home(module, name):
    """The module that ``from module import name`` reaches: a submodule, a lazy name's home, or ``module`` itself."""
    if f"{module}.{name}" in modules():
        return f"{module}.{name}"
    if is_package(module) and module in modules():
        home = getattr(importlib.import_module(module), "_HOMES", {}).get(name)
        return f"{module}.{home}" if home else module
    return module


@pytest.mark.parametrize("name", modules())
def test_every_module_lives_in_a_room_and_imports_only_downward(name):
    if name == "workbench":
        assert imports(name) == {"workbench._lazy"}
        return
    assert room(name) in FLOOR_OF, f"{name}: give it a floor in FLOORS and in CONTRIBUTING.md"
    for target in imports(name) - {"workbench"}:  # `from workbench import __version__` reaches the front door
        assert FLOOR_OF[room(target)] <= FLOOR_OF[room(name)], f"{name} imports {target}, which is on a higher floor"


def test_a_reach_through_an_imported_package_counts_as_an_import(monkeypatch):
    source = (
        "import workbench\nimport workbench.models as m\n\ndef f():\n    workbench.SentenceTransformer(m.Pooling)\n"
    )
    monkeypatch.setitem(modules(), "workbench.texts", ast.parse(source))
    assert imports("workbench.texts") - {"workbench", "workbench.models"} == {
        "workbench.sentence_transformer",
        "workbench.models.pooling",
    }


def test_the_table_names_no_room_that_is_gone():
    assert set(FLOOR_OF) == {room(name) for name in modules()} - {""}


def test_no_imports_go_in_a_circle():
    graph = {name: {target for target in imports(name) if target in modules()} for name in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports go in a circle: {' -> '.join(error.args[1])}")


def test_contributing_shows_the_same_floors():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) [^|]*\| ([^|]*)\|", text, re.MULTILINE)
    assert {int(floor): set(re.findall(r"`([\w.]+)/?`", rooms)) for floor, rooms in rows} == {
        floor: set(rooms.split()) for floor, rooms in FLOORS.items()
    }


@pytest.mark.parametrize("name", [name for name in modules() if name.startswith("widgets.")])
def test_panels_use_public_names_of_the_core_and_never_each_other(name):
    for target in imports(name):
        if target.startswith("widgets."):
            assert target.split(".")[1].startswith("_"), f"{name} imports the panel {target}"
        else:
            assert not re.search(r"\._", target), f"{name} imports the private module {target}"
    names = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(modules()[name])
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workbench")
        for alias in node.names
    ]
    assert not [full for full in names if re.search(r"\._(?!_)", full)]


@pytest.mark.parametrize("name", modules())
def test_all_names_exactly_what_is_public(name):
    tree = modules()[name]
    assert ast.get_docstring(tree), f"{name} begins with no sentence that says what it holds"
    listed, defined = None, set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)}
            if "__all__" in names:
                listed = ast.literal_eval(node.value)
            defined |= names
    assert listed is not None, f"{name} has no __all__"
    assert len(listed) == len(set(listed))
    public = {word for word in defined if not word.startswith("_") and word != "logger"}
    if is_package(name) or room(name) in ADDRESSES or "." in room(name):
        assert public <= set(listed)
        module = importlib.import_module(name)
        assert [word for word in listed if not hasattr(module, word)] == []
    else:
        assert public == set(listed)


def test_importing_the_package_or_its_command_line_loads_neither_torch_nor_transformers():
    heavy = "{'torch', 'transformers', 'sklearn', 'scipy', 'pandas', 'numpy'} & set(sys.modules)"
    code = f"import sys, workbench, workbench.models, workbench.cli; print(sorted({heavy}))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_import_of_torch_leaves_the_collector_on_and_what_was_garbage_before_collected():
    code = """if True:
        import gc, weakref
        class Ring: pass
        ring = Ring(); ring.self = ring; gone = weakref.ref(ring); del ring
        import workbench
        workbench.SentenceTransformer
        print(gc.isenabled(), gone() is None, gc.get_freeze_count() > 100_000)
        frozen = gc.get_freeze_count()
        workbench.CrossEncoder, workbench.EmbeddingStore
        print(gc.get_freeze_count() <= frozen)  # torch is there already: a user's objects are left alone
    """
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["True", "True", "True", "True"]


def test_every_room_stays_small():
    found = dict.fromkeys(LINES, 0)
    for path in ROOT.glob("workbench/**/*.py"):
        name = path.relative_to(ROOT / "workbench").parts[0].removesuffix(".py")
        found[name if name in LINES else "the rest"] += lines_of_code(path.read_text(encoding="utf-8"))
    assert {name: lines for name, lines in found.items() if lines > LINES[name]} == {}


def lines_of_code(source):
    """Lines that hold code: no blanks, comments or docstrings."""
    lines = {number for number, line in enumerate(source.splitlines(), 1) if line.strip() and line.strip()[0] != "#"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_every_command_of_the_readme_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines() if line]
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = {command.callback.__name__.replace("_", "-") for command in app.registered_commands}
    seen = set()
    for line in lines:
        program, *words = line.partition("#")[0].split()
        assert program in {"git", "cd", "make", "workbench", "pip"}, f"the README runs {line!r}"
        if program == "make":
            assert set(words) <= targets, line
        if program == "workbench":
            assert words[0] in commands, line
            seen.add(words[0])
    assert seen == commands, "the README shows every command"
    assert {"make lab", "make test"} <= {line.partition("#")[0].strip() for line in lines}


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("path", sorted(ROOT.glob("notebooks/**/*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_stripped_and_have_one_cell_of_parameters(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []
    assert "widgets" not in notebook["metadata"]
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert len([cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]) == 1


@cache
def tracked():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def test_tracked_files_are_small_outside_the_bundled_models():
    assets = ROOT / "workbench" / "assets"
    assert [path for path in tracked() if path.stat().st_size >= LARGEST_FILE and not path.is_relative_to(assets)] == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_names(what):
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # pictures and weights
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in re.finditer(FORBIDDEN[what], text)]
    assert found == []
