"""A simulated run whose requests have the toy metric, and all its views as plain values."""

import csv
import json
import sys
from pathlib import Path

from prometheus_client import generate_latest

from llmlocust.analysis.live import COLUMNS, Live
from llmlocust.assessment.assessment import assess
from llmlocust.metrics.thresholds import Threshold
from llmlocust.plugin.views.prometheus import Collector
from llmlocust.report.as_json import data
from llmlocust.report.comparison import tables
from llmlocust.report.comparison.compared import compare_runs
from llmlocust.report.sections import level_table, one_level
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.locate import load_run
from llmlocust.runfiles.reading.published_table import load_table
from llmlocust.runfiles.writer import RunFiles
from tests.metrics.records import record_of
from tests.played_run import PlayedRun

LIMIT = Threshold.parse("toy.p95 < 1s")
TABLE = "users,requests,toy p95 ms,throughput\n2,100,500,5\n4,100,700,10\n"


def main(folder: Path) -> None:
    run = played(toys={2: 0.5, 4: 2.0})
    write_files(run, folder / "run")
    write_files(played(toys={2: 0.25, 4: 1.0}), folder / "other")
    (folder / "table.csv").write_text(TABLE)
    report = assess(load_run(folder / "run"), [LIMIT])
    compared = compare_runs([load_run(folder / name) for name in ("run", "other")], ["run", "other"], [LIMIT], 0.05)
    live = Live(run)
    views = {
        "tally": run.ledger.tally(0).histograms["toy"].count,
        "requests": cells(folder / "run_llm_requests.csv", "toy"),
        "levels": cells(folder / "run_llm_levels.csv", "toy_p95"),
        "with_failures": cells(folder / "run_llm_levels.csv", "toy_p95_with_failures"),
        "histograms": cells(folder / "run_llm_histograms.csv", "metric"),
        "threshold": str(LIMIT),
        "meets": [report.meets(LIMIT, level) for level in report.levels],
        "goodput": list(report.goodput.values()),
        "good": [run.ledger.tally(level.index).numbers["good"] for level in run.ledger.levels],
        "table": [(column.group, column.head, column.cells) for column in level_table.columns(report)],
        "one_level": [name for name, _ in one_level.percentiles(report.levels[0])[1]],
        "json": [level["toy"]["p50"] for level in data(report)["levels"]],
        "comparison": [row.name for row in tables.table(compared.comparisons[0])],
        "runs": tables.runs_table(compared)[0],
        "prometheus": generate_latest(Collector(live)).decode(),
        "live": [level["toy"]["p50"] for level in live.snapshot()["levels"]],
        "points": [point[COLUMNS.index("toy_p50")] for point in live.snapshot()["points"].values()],
        "published": [level.metric("toy")["p95"] for level in load_table(folder / "table.csv").levels],
    }
    print(json.dumps(views))


def played(toys: dict[int, float]) -> PlayedRun:
    """Return a run with a level of 30 s for each load. `toys`: the value of the toy metric in seconds, by load."""
    run = PlayedRun(str(LIMIT))
    for users, toy in toys.items():
        run.begin(users)
        run.warmup()
        for _ in range(30):
            for number in range(10 * users):
                sent = run.at + number / (10 * users)
                run.worker.note_sent(sent, "chat")
                arrivals = [0.1 + 0.04 * chunk for chunk in range(10)]
                run.worker.add(record_of(arrivals, tpot=0.04, toy=toy * (1.0 + number % 5 / 100.0)), sent)
            run.worker.note_gauges(run.at, users=users, in_flight=users, client_cpu=0.2, loop_lag=0.1)
            run.at += 1.0
        run.ledger.merge(run.worker.take())
        for ledger in (run.ledger, run.worker):
            ledger.end_level(run.at)
    return run


def write_files(run: PlayedRun, prefix: Path) -> None:
    files = RunFiles(str(prefix))
    files.append(formats.REQUESTS, run.ledger.take_rows(run.began))
    files.write_levels(run.ledger.figures(level, run.at, run.began) for level in run.ledger.levels)
    files.write_histograms(run.ledger)
    files.write_timeline(run.ledger, run.began)
    files.write_run({"format": 1, "started": run.began, "ended": run.began + run.at})
    files.close()


def cells(file: Path, column: str) -> list[str]:
    """Return the distinct cells of a column in their order."""
    with file.open(newline="", encoding="utf-8") as rows:
        return list(dict.fromkeys(row[column] for row in csv.DictReader(rows)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
