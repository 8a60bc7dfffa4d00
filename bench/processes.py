"""The throughput of two worker processes, relative to one.

    python bench/processes.py [STREAMS_PER_PROCESS ...] [--share 0.4] [--itl-ms 20]      needs gcc, and root or four cores

With four cores or more, the server, each worker and the master have their own core (not tested yet: no such machine was
available). Fewer cores are not enough for two workers at full speed: a control group (cgroup v1's cpu controller) limits
each worker to a share of the client's core, and the master has the remainder. The floor's tokens/s are those of a C client
that has the core to itself. A load passes if the run is right and keeps up, as bench/floor.py defines it. The loads
increase until one fails twice.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path

import floor
import truth

CONTROLLER = Path("/sys/fs/cgroup/cpu")
MIN_QUOTA_US = 1000
"""The kernel's minimum. It gives the shortest period, and so the shortest pauses of a worker."""
TRIES = 2
TITLES = (
    *("processes", "streams", "tokens/s", "of the floor's", "busiest worker, share of a core"),
    *("TTFT mean error ms", "ITL p99 error ms", "coalesced", "right", "keeps up"),
)


def main() -> None:
    options = parse()
    share_core = len(truth.cores()) < 4
    placement = shared_core(options.share) if share_core else own_cores()
    with tempfile.TemporaryDirectory() as name, placement as (master, workers):
        truth.build(Path(name))
        print(
            description(options.share) if share_core else "A core for the server, for each worker and for the master."
        )
        print(f"\n| {' | '.join(TITLES)} |\n|{'---:|' * len(TITLES)}")
        floor_of = cache(lambda streams: floor.floor(Path(name), streams, options.itl_ms))
        one, two = (climb(Path(name), options, master, workers[:number], floor_of) for number in (1, 2))
    times = f": {two / one:.2f} times as many" if one else ""
    print(f"\nOne process reaches {one:,.0f} tokens/s, two reach {two:,.0f}{times}.")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("streams", type=int, nargs="*", default=[200, 250, 300], metavar="STREAMS_PER_PROCESS")
    parser.add_argument(
        "--share", type=float, default=0.4, help="share of a core for each worker, with fewer than four cores"
    )
    parser.add_argument("--itl-ms", type=float, default=20.0, help="milliseconds between the tokens of a stream")
    return parser.parse_args()


def description(share: float) -> str:
    return (
        f"Server on one core, workers and master on the other; each worker may use {share:.0%} of it "
        f"({MIN_QUOTA_US / 1000:g} ms in every {MIN_QUOTA_US / share / 1000:g})."
    )


Join = Callable[[], None]
"""Called in a new child process: moves it to its core or control group."""


def climb(folder: Path, options: argparse.Namespace, master: Join, workers: list[Join], floor_of) -> float:
    """Return the tokens/s of the highest load that passes; 0 if none does."""
    reached = 0.0
    for per_process in options.streams:
        streams = per_process * len(workers)
        for _ in range(TRIES):
            result, low = measure(folder, streams, options.itl_ms, master, workers), floor_of(streams)
            keeps_up = result.tokens_per_s >= floor.KEEPS_UP * low.tokens_per_s
            print(row(len(workers), streams, result, low, keeps_up), flush=True)
            if result.right and keeps_up:
                reached = result.tokens_per_s
                break
        else:
            return reached
    return reached


def row(processes: int, streams: int, result: floor.Result, low: floor.Result, keeps_up: bool) -> str:
    ttft_mean, _, _, itl_p99 = result.errors()
    share = result.tokens_per_s / low.tokens_per_s
    cells = [f"{processes}", f"{streams}", f"{result.tokens_per_s:,.0f}", f"{share:.1%}"]
    cells += [f"{result.cpu:.0%}", f"{ttft_mean * 1e3:+.2f}", f"{itl_p99 * 1e3:+.2f}", f"{result.coalesced:.2%}"]
    return f"| {' | '.join([*cells, *('yes' if passed else 'no' for passed in (result.right, keeps_up))])} |"


def measure(folder: Path, streams: int, itl_ms: float, master: Join, workers: list[Join]) -> floor.Result:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with truth.Server(folder, itl_ms) as server:
        command = truth.locust(folder, "--worker", "--master-port", port, "--skip-log-setup")
        children = [subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=join) for join in workers]
        options = truth.headless(folder, server.host, streams, floor.SECONDS)
        master_options = ["--master", "--master-bind-port", port, "--expect-workers", len(workers)]
        truth.run(truth.locust(folder, *master_options, *options), master)
        for child in children:
            child.wait()
    return floor.of_run(folder, streams, server)


@contextmanager
def own_cores() -> Iterator[tuple[Join, list[Join]]]:
    yield truth.on_core(3), [truth.on_core(1), truth.on_core(2)]


@contextmanager
def shared_core(share: float) -> Iterator[tuple[Join, list[Join]]]:
    with ExitStack() as stack:
        groups = [stack.enter_context(group(f"llmlocust-{os.getpid()}-{number}", share)) for number in (1, 2)]
        yield truth.on_core(1), [partial(join, path, truth.on_core(1)) for path in groups]


@contextmanager
def group(name: str, share: float) -> Iterator[Path]:
    """A control group whose processes together may use this share of a core."""
    path = own_group() / name
    try:
        path.mkdir()
        (path / "cpu.cfs_period_us").write_text(f"{MIN_QUOTA_US / share:.0f}")
        (path / "cpu.cfs_quota_us").write_text(f"{MIN_QUOTA_US}")
    except OSError as problem:
        sys.exit(f"this needs four cores, or root and control groups (cgroup v1): {problem}")
    try:
        yield path
    finally:
        path.rmdir()


def own_group() -> Path:
    entries = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    return next((CONTROLLER / path[1:] for _, names, path in entries if "cpu" in names.split(",")), CONTROLLER)


def join(path: Path, pin: Join) -> None:
    (path / "cgroup.procs").write_text("0")  # 0 is the process that writes
    pin()


if __name__ == "__main__":
    main()
