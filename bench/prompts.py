"""The time to open a large file of prompts, and the memory of the process afterwards.

    python bench/prompts.py

The script writes a file of LINES lines of each kind, with about 500 bytes per line, and opens each file in a separate
process, as a worker does. The table has the memory before and after it. Then the process picks 1,000 prompts at random. If
the package datasets is installed, the script also opens a folder that the package saved. The files of this folder are
mapped, so the peak of the process includes pages of the system's cache; the table also has the process's own memory at the
end.
"""

import csv
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from llmlocust.load.builtin_prompts import built_in

LINES = 1_000_000
PICKED = 1000
WORKER = f"""
import random, resource, sys
from time import perf_counter
import llmlocust.plugin.users.users
from llmlocust.load.prompts import Prompts, load

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def own():
    status = open("/proc/self/status").read()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024

before, begun = peak(), perf_counter()
prompts = Prompts(load(sys.argv[1]))
opened = perf_counter()
source = random.Random(1)
for _ in range({PICKED}):
    prompts.prepare(prompts.pick(source), source)
per_prompt = (perf_counter() - opened) / {PICKED} * 1e6
print(f"{{len(prompts.questions):,}} | {{opened - begun:.2f}} | {{before:.0f}} | {{peak():.0f}} | {{own():.0f}} | {{per_prompt:.0f}} |")
"""


def main() -> None:
    print("| file | MB | prompts | opened in s | peak MB before | and after | own MB after | µs per prompt |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for kind, write in KINDS.items():
            path = Path(folder) / f"prompts{kind}"
            write(path)
            size = sum(file.stat().st_size for file in (path, *path.glob("*"))) / 1e6
            source = f"hf:{path}" if path.is_dir() else str(path)
            cells = subprocess.run(
                [sys.executable, "-c", WORKER, source], capture_output=True, text=True, check=True
            ).stdout.strip()
            print(f"| {kind} | {size:.0f} | {cells}", flush=True)
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def questions() -> list[str]:
    """Return different questions of about 500 bytes each."""
    source, long = random.Random(1), " ".join(built_in()["long"]).split()
    for number in range(LINES):
        begin = source.randrange(len(long) - 80)
        yield f"{number}: " + " ".join(long[begin : begin + 80])


def _text(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{question}\n" for question in questions())


def _jsonl(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"id": str(i), "prompt": question}) + "\n" for i, question in enumerate(questions()))


def _csv(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prompt"])
        writer.writerows(enumerate(questions()))


def _sharegpt(path: Path) -> None:
    """Write one JSON array, as ShareGPT's file is; half of each entry is the model's answer."""
    with path.open("w", encoding="utf-8") as file:
        for i, question in enumerate(questions()):
            messages = [{"from": "human", "value": question[:250]}, {"from": "gpt", "value": question[250:]}]
            file.write(("," if i else "[") + json.dumps({"id": str(i), "conversations": messages}) + "\n")
        file.write("]")


def _saved(path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset.from_generator(_rows, cache_dir=path.parent / "cache").save_to_disk(str(path))


def _rows() -> Iterator[dict[str, str]]:
    return ({"question": question} for question in questions())


KINDS = {".txt": _text, ".jsonl": _jsonl, ".csv": _csv, ".json": _sharegpt}
if find_spec("datasets"):
    KINDS["-saved"] = _saved


if __name__ == "__main__":
    main()
