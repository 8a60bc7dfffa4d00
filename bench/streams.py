"""Many streams, and long ones: lost requests, memory, and how long the event loop is blocked.

    python bench/streams.py [STREAMSxTOKENS@ITL_MS ...]      needs gcc and two cores; takes about four minutes

One process of Locust on its own core loads the C server. Users complete the requests that they have sent, so the numbers of
requests sent, ended and completely served must be equal, and there must be as many connections as streams. Each user sends
one request for a long answer, and the run continues after the last answer, because counting an answer also blocks the loop.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import truth

SECONDS = 15
ENDS_WITHIN = 300
# one short stream for comparison; many streams; long ones; a very long one
SETTINGS = ("1x100@10", "1500x100@100", "300x4000@12", "1x200000@0.25")
STARTS_LATE = "    def on_start(self):\n        sleep(2)\n"
"""Body of the user class. A level begins when all users have started; users wait, so that it counts every request."""
TITLES = (
    *("streams", "tokens each", "ITL ms", "tokens/s", "share of a core", "sent", "ended", "ok", "completely served"),
    *("connections", "peak memory MB", "longest loop lag ms", "longest read lag ms", "coalesced"),
)


def main(settings: list[str]) -> None:
    print(f"| {' | '.join(TITLES)} |\n|{'---:|' * len(TITLES)}")
    with tempfile.TemporaryDirectory() as name:
        truth.build(Path(name))
        for setting in settings:
            streams, _, rest = setting.partition("x")
            tokens, _, itl = rest.partition("@")
            print(f"| {' | '.join(row(Path(name), int(streams), int(tokens), float(itl)))} |", flush=True)


def row(folder: Path, streams: int, tokens: int, itl_ms: float) -> list[str]:
    with truth.Server(folder, itl_ms) as server:
        answer_seconds = tokens * itl_ms / 1000
        once = ["--llm-think-time", ENDS_WITHIN] if answer_seconds > SECONDS else []
        options = truth.headless(folder, server.host, streams, 1.1 * answer_seconds + 7 if once else SECONDS, tokens)
        memory = peak_memory(truth.locust(folder, *options, *once, "--stop-timeout", ENDS_WITHIN, user=STARTS_LATE))
    counts = json.loads((folder / "run_llm_run.json").read_text())["counts"]
    served, connections = (server.served[:, 3] == tokens).sum(), len(set(server.served[:, 4]))
    seconds, requests = (truth.rows(folder / f"run_llm_{name}.csv") for name in ("timeline", "requests"))
    # above a rate, rows are sampled; the weight of a row is the number of requests that it represents
    ok, chunks, coalesced = (
        sum(float(request[name]) for request in requests if request["outcome"] == "ok")
        for name in ("weight", "chunks", "coalesced")
    )
    busy = [second for second in seconds if float(second["tokens"])]
    speed, cpu = (sum(float(second[name]) for second in busy) / len(busy) for name in ("tokens", "client_cpu"))
    loop_lag, read_lag = (max(float(second[name]) for second in seconds) for name in ("loop_lag", "client_lag"))
    cells = [f"{streams:,}", f"{tokens:,}", f"{itl_ms:g}", f"{speed:,.0f}", f"{cpu:.0%}"]
    cells += [f"{count:,}" for count in (counts["sent"], counts["ended"], round(ok), served, connections)]
    return [*cells, f"{memory:.0f}", f"{loop_lag:.1f}", f"{read_lag:.1f}", f"{coalesced / chunks:.2%}"]


def peak_memory(command: list[str]) -> float:
    """Run a command to its end, and return the peak memory of its process in MB."""
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, preexec_fn=truth.on_core(1))
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            output.seek(0)
            sys.exit(output.read())
    return used.ru_maxrss / 1024


if __name__ == "__main__":
    main(sys.argv[1:] or list(SETTINGS))
