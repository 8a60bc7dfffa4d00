"""Many streams, and long ones: whether any is lost, what they take of memory, and for how long the loop is held.

    python bench/streams.py [STREAMSxTOKENS@GAP_MS ...]      needs gcc and two cores; about four minutes

One process of Locust on a core of its own, against the C server. Users end what they have begun: sent, ended and
served whole by the server are to be the same number, and connections as many as streams. Of long answers each user
asks for one, and the run goes on after the last has ended: summing up is a part of what holds the loop.
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
# nothing to speak of, for comparison; many; long; very long
SETTINGS = ("1x100@10", "1500x100@100", "300x4000@12", "1x200000@0.25")
BEGINS_LATE = "    def on_start(self):\n        sleep(2)\n"
"""A level begins when all users are there: so that even the first question falls into it, and is counted in full."""
TITLES = (
    *("streams", "tokens each", "gap ms", "tokens/s", "of a core", "sent", "ended", "ok", "served whole"),
    *("connections", "peak memory MB", "longest loop lag ms", "longest read lag ms", "coalesced"),
)


def main(settings: list[str]) -> None:
    print(f"| {' | '.join(TITLES)} |\n|{'---:|' * len(TITLES)}")
    with tempfile.TemporaryDirectory() as name:
        truth.build(Path(name))
        for setting in settings:
            streams, _, rest = setting.partition("x")
            tokens, _, gap = rest.partition("@")
            print(f"| {' | '.join(row(Path(name), int(streams), int(tokens), float(gap)))} |", flush=True)


def row(folder: Path, streams: int, tokens: int, gap_ms: float) -> list[str]:
    with truth.Server(folder, gap_ms) as server:
        answer = tokens * gap_ms / 1000
        once = ["--llm-think-time", ENDS_WITHIN] if answer > SECONDS else []
        options = truth.headless(folder, server.host, streams, 1.1 * answer + 7 if once else SECONDS, tokens)
        memory = peak_memory(truth.locust(folder, *options, *once, "--stop-timeout", ENDS_WITHIN, user=BEGINS_LATE))
    counts = json.loads((folder / "run_llm_run.json").read_text())["counts"]
    whole, connections = (server.served[:, 3] == tokens).sum(), len(set(server.served[:, 4]))
    seconds, requests = (truth.rows(folder / f"run_llm_{name}.csv") for name in ("timeline", "requests"))
    # rows are sampled above a rate; each says how many it stands for
    ok, chunks, coalesced = (
        sum(float(each[name]) for each in requests if each["outcome"] == "ok")
        for name in ("weight", "chunks", "coalesced")
    )
    busy = [each for each in seconds if float(each["tokens"])]
    speed, cpu = (sum(float(each[name]) for each in busy) / len(busy) for name in ("tokens", "client_cpu"))
    loop_lag, read_lag = (max(float(each[name]) for each in seconds) for name in ("loop_lag", "client_lag"))
    cells = [f"{streams:,}", f"{tokens:,}", f"{gap_ms:g}", f"{speed:,.0f}", f"{cpu:.0%}"]
    cells += [f"{each:,}" for each in (counts["sent"], counts["ended"], round(ok), whole, connections)]
    return [*cells, f"{memory:.0f}", f"{loop_lag:.1f}", f"{read_lag:.1f}", f"{coalesced / chunks:.2%}"]


def peak_memory(command: list[str]) -> float:
    """Run it to its end; the largest that its process ever was, in MB."""
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(command, stdout=said, stderr=said, preexec_fn=truth.on_core(1))
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            sys.exit(said.read())
    return used.ru_maxrss / 1024


if __name__ == "__main__":
    main(sys.argv[1:] or list(SETTINGS))
