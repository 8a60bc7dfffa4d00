"""Imports go down only (docs/design.md). Read from the source, so also those inside functions count."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "llmlocust"

PURE = {"stream", "text", "metrics", "load", "analysis"}
READ = {*PURE, "runfiles"}
MAY_IMPORT = {
    "": {"plugin", "stream"},  # the package's own names, which load on first use
    "stream": set(),
    "text": set(),
    "metrics": {"stream", "text"},
    "load": {"metrics", "stream", "text"},
    "analysis": {"metrics", "stream", "text"},
    "runfiles": PURE,
    "assessment": READ,
    "report": {*READ, "assessment"},
    "simulator": PURE,
    "plugin": {*READ, "cli"},  # which it names to have a run's files judged in a process of its own
    "calibration": {*READ, "report", "simulator"},  # which it names to run it as a process of its own
    "cli": {*READ, "assessment", "report", "simulator", "plugin", "calibration"},
    "__main__": {"cli"},
}
LOCUST = {"locust", "gevent", "geventhttpclient"}
CHARTS = {"pandas", "matplotlib", "jinja2"}
MAY_NOT_IMPORT = {
    "": LOCUST | CHARTS,
    **dict.fromkeys(("stream", "text", "metrics", "load"), LOCUST | CHARTS | {"numpy", "scipy"}),
    "analysis": LOCUST | CHARTS - {"pandas"},
    "runfiles": LOCUST | CHARTS - {"pandas"},
    "assessment": LOCUST | CHARTS - {"pandas"},
    "report": LOCUST,
    "simulator": LOCUST | CHARTS,
    "plugin": CHARTS,
    "calibration": LOCUST,
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def layer_of(module: Path) -> str:
    """The folder of the package, or the module where it lies in none."""
    first = module.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imported(module: Path) -> set[str]:
    """Full names of what a module imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports say the whole name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def named(module: Path) -> set[str]:
    """Full names of the modules that a module names: for a later import, or for a process of their own."""
    texts = (
        node.value for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)
    )
    return {text for text in texts if isinstance(text, str) and text.startswith("llmlocust.") and " " not in text}


def name_of(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_every_module_has_its_layer(module):
    assert layer_of(module) in MAY_IMPORT


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_imports_go_down_only(module):
    own = {name.split(".")[1] for name in imported(module) | named(module) if name.startswith("llmlocust.")}
    own &= MAY_IMPORT.keys() - {""}  # the rest are names of the package itself, such as its version
    assert own <= MAY_IMPORT[layer_of(module)] | {layer_of(module)}


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_layer_imports_what_would_weigh_on_it(module):
    foreign = {name.split(".")[0] for name in imported(module)}
    assert not foreign & MAY_NOT_IMPORT.get(layer_of(module), set())


def import_graph() -> dict[str, set[str]]:
    """For each file of llmlocust/ and bench/: the files that it imports, also for types alone and inside functions."""
    files = {}
    for file in (*MODULES, *sorted((PACKAGE.parent / "bench").rglob("*.py"))):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        # what bench/ imports of itself has no package before its name
        files[".".join(parts[1:] if parts[0] == "bench" else parts).removesuffix(".__init__")] = file
    return {
        name: {own for each in imported(file) if (own := file_of(each, files)) != name} - {""}
        for name, file in files.items()
    }


def file_of(name: str, files: dict[str, Path]) -> str:
    """The file that an imported name is of: the name may be a module or a name in one. Empty: none of these files."""
    while name and name not in files:
        name = name.rpartition(".")[0]
    return name


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The sets of files that import each other, directly or by way of others."""
    reached = {name: reachable(name, graph) for name in graph}
    found = {frozenset({name, *(other for other in reached[name] if name in reached[other])}) for name in graph}
    return [set(circle) for circle in found if len(circle) > 1]


def reachable(name: str, graph: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    left = [name]
    while left:
        left += (new := graph[left.pop()] - found)
        found |= new
    return found


def in_words(circle: set[str], graph: dict[str, set[str]]) -> str:
    return "\n".join(f"{name} imports {', '.join(sorted(graph[name] & circle))}" for name in sorted(circle))


def test_no_files_import_each_other_in_a_circle():
    graph = import_graph()
    found = circles(graph)
    assert not found, "\n\n".join(in_words(circle, graph) for circle in found)


def test_a_circle_of_files_is_found_with_all_of_its_files_and_nothing_else():
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": set(), "f": {"a"}}
    assert circles(graph) == [{"a", "b", "c"}]
    assert in_words({"a", "b", "c"}, graph) == "a imports b\nb imports c\nc imports a"


def patched(module: Path) -> set[str]:
    """What a module assigns to of what it imports from Locust and gevent, such as `runners.HEARTBEAT_LIVENESS`."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    theirs = {
        (alias.asname or alias.name).split(".")[0]
        for node in imports
        for alias in node.names
        if (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0] in LOCUST
    }
    targets = [target for node in ast.walk(tree) if isinstance(node, ast.Assign) for target in node.targets]
    names = {ast.unparse(target) for target in targets if isinstance(target, ast.Attribute)}
    return {name for name in names if name.split(".")[0] in theirs}


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_patches_of_locust_stand_in_one_module(module):
    assert not patched(module) or name_of(module) == "plugin/locust_patches.py"


def test_patches_of_locust_are_found():
    assert patched(PACKAGE / "plugin" / "locust_patches.py") >= {"rpc.Server", "runners.HEARTBEAT_LIVENESS"}


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return set(child.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("package", ["llmlocust", "llmlocust.report", "llmlocust.simulator", "llmlocust.analysis"])
def test_importing_it_patches_nothing(package):
    assert not modules_after(f"import {package}") & LOCUST


@pytest.mark.parametrize(
    "name", ["stream.record", "stream.dialects.openai", "metrics.ledger", "load.curves", "load.prompts"]
)
def test_pure_modules_load_without_locust(name):
    assert not modules_after(f"import llmlocust.{name}") & (LOCUST | CHARTS | {"numpy"})


@pytest.mark.parametrize(
    "statement", ["import llmlocust.plugin.users.users", "from llmlocust import ChatUser, SteppedRamp"]
)
def test_the_load_path_loads_no_charts(statement):
    assert not modules_after(statement) & (CHARTS - {"jinja2"})  # Flask, which Locust brings, loads jinja2


def test_looking_at_the_names_of_the_package_loads_nothing():
    assert not modules_after("import llmlocust; assert 'ChatUser' in dir(llmlocust)") & LOCUST
