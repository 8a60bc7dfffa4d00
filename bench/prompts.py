"""How long a large file of prompts takes until the first of them can be asked, and how much memory a process then has.

    python bench/prompts.py

A file of LINES lines of each kind is made, of about 500 bytes a line. Each is opened in a process of its own, as a
worker does; what it held before is told beside it. Then 1,000 prompts are picked at random. Where the package datasets
is installed, a folder that it saved is opened as well: its files are mapped, so that a process's peak counts what the
system keeps of them, and what is the process's own at the end is told too.
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
    told = open("/proc/self/status").read()
    return int(told.partition("RssAnon:")[2].split()[0]) / 1024

before, begun = peak(), perf_counter()
prompts = Prompts(load(sys.argv[1]))
opened = perf_counter()
source = random.Random(1)
for _ in range({PICKED}):
    prompts.prepare(prompts.pick(source), source)
each = (perf_counter() - opened) / {PICKED} * 1e6
print(f"{{len(prompts.questions):,}} | {{opened - begun:.2f}} | {{before:.0f}} | {{peak():.0f}} | {{own():.0f}} | {{each:.0f}} |")
"""


def main() -> None:
    print("| file | MB | prompts | opened in s | peak MB before | and after | own MB after | µs a prompt |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for kind, write in KINDS.items():
            path = Path(folder) / f"prompts{kind}"
            write(path)
            size = sum(each.stat().st_size for each in (path, *path.glob("*"))) / 1e6
            source = f"hf:{path}" if path.is_dir() else str(path)
            told = subprocess.run(
                [sys.executable, "-c", WORKER, source], capture_output=True, text=True, check=True
            ).stdout.strip()
            print(f"| {kind} | {size:.0f} | {told}", flush=True)
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def questions() -> list[str]:
    """Of about 500 bytes each, all of them different."""
    source, long = random.Random(1), " ".join(built_in()["long"]).split()
    for number in range(LINES):
        begin = source.randrange(len(long) - 80)
        yield f"{number}: " + " ".join(long[begin : begin + 80])


def _text(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{each}\n" for each in questions())


def _jsonl(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"id": str(i), "prompt": each}) + "\n" for i, each in enumerate(questions()))


def _csv(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prompt"])
        writer.writerows(enumerate(questions()))


def _sharegpt(path: Path) -> None:
    """As its file is: one array; half of each entry is the model's."""
    with path.open("w", encoding="utf-8") as file:
        for i, each in enumerate(questions()):
            said = [{"from": "human", "value": each[:250]}, {"from": "gpt", "value": each[250:]}]
            file.write(("," if i else "[") + json.dumps({"id": str(i), "conversations": said}) + "\n")
        file.write("]")


def _saved(path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset.from_generator(_rows, cache_dir=path.parent / "made").save_to_disk(str(path))


def _rows() -> Iterator[dict[str, str]]:
    return ({"question": each} for each in questions())


KINDS = {".txt": _text, ".jsonl": _jsonl, ".csv": _csv, ".json": _sharegpt}
if find_spec("datasets"):
    KINDS["-saved"] = _saved


if __name__ == "__main__":
    main()
