"""Imports go down only (docs/design.md). The tests read the source, so imports inside functions count, too."""

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
    "wire": set(),
    "metrics": {"stream", "text"},
    "load": {"metrics", "stream", "text"},
    "analysis": {"metrics", "stream", "text"},
    "observe": {"metrics", "text"},
    "faults": {"metrics", "text"},
    "runfiles": PURE,
    "assessment": READ,
    "report": {*READ, "assessment"},
    "simulator": PURE,
    "plugin": {
        *READ,
        "cli",
        "observe",
        "faults",
        "wire",
    },  # it starts the command that judges a run's files in another process
    "calibration": {*READ, "report", "simulator"},  # it starts the simulator as another process
    "cli": {*READ, "assessment", "report", "simulator", "plugin", "calibration", "observe", "faults"},
    "__main__": {"cli"},
}
LOCUST = {"locust", "gevent", "geventhttpclient"}
CHARTS = {"pandas", "matplotlib", "jinja2"}
MAY_NOT_IMPORT = {
    "": LOCUST | CHARTS,
    **dict.fromkeys(("stream", "text", "wire", "metrics", "load"), LOCUST | CHARTS | {"numpy", "scipy"}),
    "observe": LOCUST | CHARTS | {"numpy", "scipy"},
    "faults": LOCUST | CHARTS | {"numpy", "scipy"},
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
    """Return the folder in the package, or the module if it is in none."""
    first = module.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imported(module: Path) -> set[str]:
    """Return the full names that a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports have the full name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def named(module: Path) -> set[str]:
    """Return the full names of modules in the strings of a module, for a later import or for another process."""
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
    own &= MAY_IMPORT.keys() - {""}  # other names are those of the package itself, such as its version
    assert own <= MAY_IMPORT[layer_of(module)] | {layer_of(module)}


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_layer_imports_heavy_packages(module):
    foreign = {name.split(".")[0] for name in imported(module)}
    assert not foreign & MAY_NOT_IMPORT.get(layer_of(module), set())


def import_graph() -> dict[str, set[str]]:
    """Return, for each file of llmlocust/ and bench/, the files that it imports, also for types alone and inside functions."""
    files = {}
    for file in (*MODULES, *sorted((PACKAGE.parent / "bench").rglob("*.py"))):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        # files of bench/ import each other without the name of a package
        files[".".join(parts[1:] if parts[0] == "bench" else parts).removesuffix(".__init__")] = file
    return {
        name: {own for import_ in imported(file) if (own := file_of(import_, files)) != name} - {""}
        for name, file in files.items()
    }


def file_of(name: str, files: dict[str, Path]) -> str:
    """Return the file of an imported name, which is a module or a name in one; empty for a name from elsewhere."""
    while name and name not in files:
        name = name.rpartition(".")[0]
    return name


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of files that import each other, directly or through others."""
    reached = {name: reachable(name, graph) for name in graph}
    sets = {frozenset({name, *(other for other in reached[name] if name in reached[other])}) for name in graph}
    return [set(circle) for circle in sets if len(circle) > 1]


def reachable(name: str, graph: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    left = [name]
    while left:
        left += (new := graph[left.pop()] - reached)
        reached |= new
    return reached


def description(circle: set[str], graph: dict[str, set[str]]) -> str:
    return "\n".join(f"{name} imports {', '.join(sorted(graph[name] & circle))}" for name in sorted(circle))


def test_no_files_import_each_other_in_a_circle():
    graph = import_graph()
    files_in_circles = circles(graph)
    assert not files_in_circles, "\n\n".join(description(circle, graph) for circle in files_in_circles)


def test_a_circle_of_files_is_found_with_all_of_its_files_and_nothing_else():
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": set(), "f": {"a"}}
    assert circles(graph) == [{"a", "b", "c"}]
    assert description({"a", "b", "c"}, graph) == "a imports b\nb imports c\nc imports a"


def patched(module: Path) -> set[str]:
    """Return the attributes of Locust and gevent to which a module assigns, such as `runners.HEARTBEAT_LIVENESS`."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    foreign = {
        (alias.asname or alias.name).split(".")[0]
        for node in imports
        for alias in node.names
        if (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0] in LOCUST
    }
    targets = [target for node in ast.walk(tree) if isinstance(node, ast.Assign) for target in node.targets]
    names = {ast.unparse(target) for target in targets if isinstance(target, ast.Attribute)}
    return {name for name in names if name.split(".")[0] in foreign}


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_patches_of_locust_are_in_one_module(module):
    assert not patched(module) or name_of(module) == "plugin/locust_patches.py"


def test_patches_of_locust_are_found():
    assert patched(PACKAGE / "plugin" / "locust_patches.py") >= {"rpc.Server", "runners.HEARTBEAT_LIVENESS"}


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a new interpreter has loaded after a statement."""
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
