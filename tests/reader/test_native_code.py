"""The reader's C code, compiled with sanitizers and with warnings as errors: alone (tests/reader/*.c), and inside Python."""

import os
import resource
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WIRE = HERE.parent.parent / "llmlocust" / "wire"
SOURCES = [WIRE / "reader.c", WIRE / "framing.c"]
STRICT = ["-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fno-omit-frame-pointer"]
WRAPPED = [f"-Wl,--wrap={name}" for name in ("malloc", "realloc", "calloc")]
HEADERS = sysconfig.get_path("include")
FAILING = 50
"""On average, one allocation in this number fails."""
MANY, MANY_DESCRIPTORS = 2500, 8000
"""Connections that are open at a time, and the descriptors that they need."""
WITH_EXTENSION = """
import sys
from importlib.util import module_from_spec, spec_from_file_location

spec = spec_from_file_location("llmlocust.wire._native", sys.argv[1])
sys.modules[spec.name] = module_from_spec(spec)
spec.loader.exec_module(sys.modules[spec.name])

import pytest

sys.exit(pytest.main(sys.argv[2:]))
"""
"""Run tests with the extension of this path instead of the installed one."""

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def compiled(program: Path, *arguments: str | Path) -> Path:
    done = subprocess.run(
        ["gcc", *STRICT, *arguments, "-o", program, "-lpthread"], capture_output=True, text=True, check=False
    )
    if "cannot find" in done.stderr and "san" in done.stderr:
        pytest.skip("this compiler has no sanitizers")
    assert done.returncode == 0, done.stderr
    return program


def needs_headers() -> None:
    if not Path(HEADERS, "Python.h").exists():
        pytest.skip("needs the headers of Python")


@pytest.fixture(scope="module", params=["address,undefined", "thread"])
def stress(request, tmp_path_factory):
    program = tmp_path_factory.mktemp("stress") / "stress"
    return compiled(program, f"-fsanitize={request.param}", "-Wno-conversion", *WRAPPED, HERE / "stress.c", *SOURCES)


@pytest.mark.parametrize(("seed", "requests", "connections"), [(1, 2000, 60), (2, 2000, 60), (3, 6000, MANY)])
@pytest.mark.parametrize("failing", [0, FAILING], ids=["", "without memory"])
def test_no_connection_gets_a_byte_of_another(stress, seed, requests, connections, failing):
    numbers = map(str, (seed, requests, connections, failing))
    done = subprocess.run([stress, *numbers], capture_output=True, text=True, timeout=500, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    result, at_a_time, *_ = done.stdout.split()
    assert result == "ok"
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if connections < MANY or limit == resource.RLIM_INFINITY or limit >= MANY_DESCRIPTORS:
        assert int(at_a_time) == connections


def test_the_extension_inside_python_under_a_sanitizer(tmp_path):
    needs_headers()
    sanitizer = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(sanitizer).is_absolute():
        pytest.skip("this compiler has no sanitizers")
    options = ["-shared", "-fPIC", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{HEADERS}"]
    extension = compiled(tmp_path / "_native.abi3.so", *options, WIRE / "module.c", *SOURCES)
    # with its own allocator, Python would reuse memory unseen; what it leaves at its end is no leak of the extension
    environment = {"LD_PRELOAD": sanitizer, "PYTHONMALLOC": "malloc", "ASAN_OPTIONS": "detect_leaks=0"}
    command = [
        sys.executable,
        "-c",
        WITH_EXTENSION,
        extension,
        "-qs",
        "-p",
        "no:cacheprovider",
        HERE / "test_reader.py",
    ]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_clocks_polls_and_due_times(tmp_path):
    units = compiled(tmp_path / "units", "-fsanitize=address,undefined", HERE / "units.c", WIRE / "framing.c")
    done = subprocess.run([units], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def test_the_extension_has_no_warnings():
    needs_headers()
    command = ["gcc", *STRICT, "-fsyntax-only", f"-I{HEADERS}", WIRE / "module.c", *SOURCES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
