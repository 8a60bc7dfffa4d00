"""The reader's C code alone, compiled with sanitizers and with warnings as errors: tests/reader/*.c."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WIRE = HERE.parent.parent / "llmlocust" / "wire"
SOURCES = [WIRE / "reader.c", WIRE / "framing.c"]
STRICT = ["-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fno-omit-frame-pointer"]
WRAPPED = [f"-Wl,--wrap={name}" for name in ("malloc", "realloc", "calloc")]
FAILING = 50
"""On average, one allocation in this number fails."""

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def compiled(program: Path, *arguments: str | Path) -> Path:
    done = subprocess.run(
        ["gcc", *STRICT, *arguments, "-o", program, "-lpthread"], capture_output=True, text=True, check=False
    )
    if "cannot find" in done.stderr and "san" in done.stderr:
        pytest.skip("this compiler has no sanitizers")
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture(scope="module", params=["address,undefined", "thread"])
def stress(request, tmp_path_factory):
    program = tmp_path_factory.mktemp("stress") / "stress"
    return compiled(program, f"-fsanitize={request.param}", "-Wno-conversion", *WRAPPED, HERE / "stress.c", *SOURCES)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("failing", [0, FAILING], ids=["", "without memory"])
def test_no_connection_gets_a_byte_of_another(stress, seed, failing):
    done = subprocess.run(
        [stress, str(seed), "2000", str(failing)], capture_output=True, text=True, timeout=500, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok ")


def test_clocks_polls_and_due_times(tmp_path):
    units = compiled(tmp_path / "units", "-fsanitize=address,undefined", HERE / "units.c", WIRE / "framing.c")
    done = subprocess.run([units], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def test_the_extension_has_no_warnings():
    headers = sysconfig.get_path("include")
    if not Path(headers, "Python.h").exists():
        pytest.skip("needs the headers of Python")
    command = ["gcc", *STRICT, "-fsyntax-only", f"-I{headers}", WIRE / "module.c", *SOURCES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
