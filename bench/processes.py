"""What two worker processes hold of what one holds.

    python bench/processes.py [STREAMS_A_PROCESS ...] [--share 0.4] [--gap-ms 20]      needs gcc, and root or four cores

With four cores or more, the server, each worker and the master have one of their own (not run yet: there was no such
machine). With fewer, two workers at full speed have no place: each is given a share of the client's core by a control
group (cgroup v1's cpu controller), and the master has what is left. The floor's tokens/s are those of a C client that
has the core for itself. A load is held where it is right and keeps up, as bench/floor.py says it; the loads are
climbed until one is not held, tried twice.
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
LEAST_QUOTA_US = 1000
"""The kernel allows no less; the shorter the period, the shorter a worker's pauses."""
TRIES = 2
TITLES = (
    *("processes", "streams", "tokens/s", "of the floor's", "busiest worker, of a core"),
    *("TTFT mean error ms", "gap p99 error ms", "coalesced", "right", "keeps up"),
)


def main() -> None:
    options = parse()
    shares = len(truth.cores()) < 4
    places = shared_core(options.share) if shares else own_cores()
    with tempfile.TemporaryDirectory() as name, places as (master, workers):
        truth.build(Path(name))
        print(how(options.share) if shares else "A core for the server, for each worker and for the master.")
        print(f"\n| {' | '.join(TITLES)} |\n|{'---:|' * len(TITLES)}")
        lowest = cache(lambda streams: floor.floor(Path(name), streams, options.gap_ms))
        held = [climb(Path(name), options, master, workers[:number], lowest) for number in (1, 2)]
    one, two = held
    times = f": {two / one:.2f} times as many" if one else ""
    print(f"\nOne process holds {one:,.0f} tokens/s, two hold {two:,.0f}{times}.")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("streams", type=int, nargs="*", default=[200, 250, 300], metavar="STREAMS_A_PROCESS")
    parser.add_argument("--share", type=float, default=0.4, help="of a core for each worker, where there are no four")
    parser.add_argument("--gap-ms", type=float, default=20.0, help="between the tokens of a stream")
    return parser.parse_args()


def how(share: float) -> str:
    return (
        f"Server on one core, workers and master on the other; each worker may use {share:.0%} of it "
        f"({LEAST_QUOTA_US / 1000:g} ms in every {LEAST_QUOTA_US / share / 1000:g})."
    )


Join = Callable[[], None]
"""Puts a child that begins into its place."""


def climb(folder: Path, options: argparse.Namespace, master: Join, workers: list[Join], lowest) -> float:
    """The most tokens/s that are held."""
    held = 0.0
    for each in options.streams:
        streams = each * len(workers)
        for _ in range(TRIES):
            got, low = measure(folder, streams, options.gap_ms, master, workers), lowest(streams)
            keeps_up = got.tokens_per_s >= floor.KEEPS_UP * low.tokens_per_s
            print(row(len(workers), streams, got, low, keeps_up), flush=True)
            if got.right and keeps_up:
                held = got.tokens_per_s
                break
        else:
            return held
    return held


def row(processes: int, streams: int, got: floor.Result, low: floor.Result, keeps_up: bool) -> str:
    ttft_mean, _, _, itl_p99 = got.errors()
    cells = [f"{processes}", f"{streams}", f"{got.tokens_per_s:,.0f}", f"{got.tokens_per_s / low.tokens_per_s:.1%}"]
    cells += [f"{got.cpu:.0%}", f"{ttft_mean * 1e3:+.2f}", f"{itl_p99 * 1e3:+.2f}", f"{got.coalesced:.2%}"]
    return f"| {' | '.join([*cells, *('yes' if each else 'no' for each in (got.right, keeps_up))])} |"


def measure(folder: Path, streams: int, gap_ms: float, master: Join, workers: list[Join]) -> floor.Result:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with truth.Server(folder, gap_ms) as server:
        of_worker = truth.locust(folder, "--worker", "--master-port", port, "--skip-log-setup")
        children = [subprocess.Popen(of_worker, stdout=subprocess.DEVNULL, preexec_fn=join) for join in workers]
        options = truth.headless(folder, server.host, streams, floor.SECONDS)
        expected = ["--master", "--master-bind-port", port, "--expect-workers", len(workers)]
        truth.run(truth.locust(folder, *expected, *options), master)
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
        yield truth.on_core(1), [partial(join, each, truth.on_core(1)) for each in groups]


@contextmanager
def group(name: str, share: float) -> Iterator[Path]:
    """A control group whose processes together may use that share of a core."""
    path = own_group() / name
    try:
        path.mkdir()
        (path / "cpu.cfs_period_us").write_text(f"{LEAST_QUOTA_US / share:.0f}")
        (path / "cpu.cfs_quota_us").write_text(f"{LEAST_QUOTA_US}")
    except OSError as problem:
        sys.exit(f"this needs four cores, or control groups that it may write (cgroup v1, as root): {problem}")
    try:
        yield path
    finally:
        path.rmdir()


def own_group() -> Path:
    told = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    return next((CONTROLLER / path[1:] for _, names, path in told if "cpu" in names.split(",")), CONTROLLER)


def join(path: Path, pin: Join) -> None:
    (path / "cgroup.procs").write_text("0")  # the one who writes
    pin()


if __name__ == "__main__":
    main()
