"""The project's own files agree with each other: help lines, examples, the image, the wheel."""

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.simulators import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXAMPLES = sorted((ROOT / "locustfiles").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_how_to_run_it(example):
    docstring = ast.get_docstring(ast.parse(example.read_text())) or ""
    assert f"locust -f locustfiles/{example.name} " in docstring


def test_the_makefile_has_the_targets_of_its_help():
    help_lines = "\n".join(line for line in MAKEFILE.splitlines() if line.startswith("#"))
    targets = set(re.findall(r"make (\w+)  ", help_lines))
    assert {"demo", "test"} <= targets
    assert targets <= set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))


def test_every_target_without_a_file_is_phony():
    phony = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())
    assert phony == set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))


def test_services_of_the_compose_file_wait_for_services_that_it_has():
    services = re.findall(r"^  (\w+):$", COMPOSE.partition("\nservices:\n")[2], re.MULTILINE)
    assert services == ["simulator", "master", "worker", "prometheus", "grafana"]
    assert re.findall(r"(\w+): { condition: service_healthy }", COMPOSE) == ["simulator", "master", "prometheus"]
    assert COMPOSE.count("healthcheck:") == 4


def test_keys_pass_through_the_compose_file_and_are_in_no_file():
    assert re.search(r"^ +LLMLOCUST_API_KEY:$", COMPOSE, re.MULTILINE)
    assert "API_KEY" not in DOCKERFILE


def test_ports_are_published_on_this_machine_only():
    published = re.findall(r"^ +ports: \[(.+)\]$", COMPOSE, re.MULTILINE)
    assert len(published) == len(re.findall(r"^ +ports:", COMPOSE, re.MULTILINE)) == 3
    for ports in published:
        assert all(port.strip().startswith('"127.0.0.1:') for port in ports.split(",")), ports


def test_images_are_pinned_by_version():
    images = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    images += re.findall(r"^ +image: \$\{\w+:-(\S+)\}$", COMPOSE, re.MULTILINE)
    assert len(images) == 3
    for image in images:
        assert re.search(r":v?\d+\.\d+\.\d+", image), image


def test_the_image_runs_as_a_user_that_is_not_root():
    assert re.findall(r"^USER (.+)$", DOCKERFILE.rpartition("\nFROM ")[2], re.MULTILINE) == ["llmlocust"]
    assert COMPOSE.count("user: root") == 1  # the master, until its entry point switches to another user


def test_the_web_ui_answers_under_the_name_that_prometheus_asks_for():
    targets = re.search(r"targets: \[(\w+):8089\]", (ROOT / "monitoring/prometheus.yml").read_text())
    assert re.search(rf"LLMLOCUST_WEB_HOSTS: {targets[1]},", COMPOSE)


def test_the_image_is_given_every_file_that_it_copies():
    included = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    for name in " ".join(copies).split():
        assert name in included
        assert (ROOT / name).exists()


def test_examples_named_in_docs_exist():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "docker-compose.yml"):
        for name in re.findall(r"locustfiles/\w+\.py", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    if child.returncode and re.search("No matching distribution|Connection|No module named pip", child.stderr):
        pytest.skip(f"no wheel can be built here: {child.stderr.strip().splitlines()[-1]}")
    assert child.returncode == 0, child.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def test_the_wheel_has_the_package_and_nothing_else(wheel):
    outside = {name.partition("/")[0] for name in wheel.namelist()} - {"llmlocust"}
    assert [name.endswith(".dist-info") for name in outside] == [True]


def test_the_wheel_has_every_file_of_the_package(wheel):
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "llmlocust").rglob("*") if path.is_file()}
    ours = {name for name in files if "__pycache__" not in name}
    assert {Path(name).suffix for name in ours} >= {".py", ".json", ".css"}
    assert ours <= set(wheel.namelist())
