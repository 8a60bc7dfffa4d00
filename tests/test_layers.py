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
    """Full names of what a module imports anywhere in it, and of the modules that it names for a later import."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports say the whole name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and str(node.value).startswith("llmlocust.") and " " not in str(node.value):
            names.add(str(node.value))
    return names


def name_of(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_every_module_has_its_layer(module):
    assert layer_of(module) in MAY_IMPORT


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_imports_go_down_only(module):
    own = {name.split(".")[1] for name in imported(module) if name.startswith("llmlocust.")}
    own &= MAY_IMPORT.keys() - {""}  # the rest are names of the package itself, such as its version
    assert own <= MAY_IMPORT[layer_of(module)] | {layer_of(module)}


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_layer_imports_what_would_weigh_on_it(module):
    foreign = {name.split(".")[0] for name in imported(module)}
    assert not foreign & MAY_NOT_IMPORT.get(layer_of(module), set())


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
