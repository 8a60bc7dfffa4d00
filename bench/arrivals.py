"""Open load against a server that logs the arrival of each request: is the rate as requested, and are requests on time?

    python bench/arrivals.py [RATE ...] [--arrivals poisson] [--seconds 30]      RATE: 2000 by default

Needs gcc and two cores. The C server and one process of Locust have a core each. Answers have two tokens; the last one
comes after about 55 ms. The rate is the server's count inside the level's window. Its error relative to the due requests
is the generator's own. Its error relative to the requested rate also includes that of a finite number of Poisson
arrivals (1/√n).

Two Kolmogorov-Smirnov tests of the arrivals that the server logged:
- the intervals between arrivals, compared with exponential or gamma ones. One thread sends one request after the other,
  and this test detects it.
- the moments of Poisson arrivals, which are uniform for a given number of them (Brown et al. 2005, Statistical Analysis
  of a Telephone Call Center, section 3). This test detects a rate that varies over time.
"""

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
import truth

TOKENS = 2
ITL_MS = 5.0
SAMPLES = 2_000_000
"""Number of intervals that are drawn to represent a distribution."""
TITLES = ("requested/s", "arrivals", "due/s", "received/s", "error of due", "error of requested", "by chance")
MORE = (
    "delay p50 ms",
    "p99",
    "max",
    "dropped",
    "failed",
    "CPU of a core",
    "µs/request",
    "KS intervals",
    "KS moments",
    "limit at 1 %",
)


def main() -> None:
    options = parse()
    print(f"| {' | '.join((*TITLES, *MORE))} |\n|{'---:|' * len(TITLES + MORE)}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        truth.build(Path(name))
        for rate in options.rates:
            print(row(Path(name), rate, options.arrivals, options.seconds), flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rates", type=float, nargs="*", default=[2000.0], metavar="RATE", help="requests per second")
    parser.add_argument("--arrivals", default="poisson", help="constant, poisson, gamma:CV or bursts:N")
    parser.add_argument("--seconds", type=float, default=30.0, help="seconds for which a rate is measured")
    return parser.parse_args()


def row(folder: Path, rate: float, arrivals: str, seconds: float) -> str:
    with truth.Server(folder, ITL_MS, tokens=TOKENS) as server:
        options = ["--headless", "--only-summary", "--host", server.host, "--csv", folder / "run"]
        load = ["--llm-rate", rate, "--llm-arrivals", arrivals, "--llm-hold", seconds, "--llm-warmup", 2]
        more = ["--llm-preflight=false", "--llm-max-tokens", TOKENS]
        truth.run(truth.locust(folder, *options, *load, *more), truth.on_core(1))
    level = truth.level(folder)
    arrived = np.sort(server.served[:, 5]) / 1e9 + truth.monotonic_began()
    inside = arrived[(arrived >= level.warmed_up) & (arrived < level.ended)]
    due, received = level.due / level.window, len(inside) / level.window
    delay = level.metric("delay")
    shares = [float(second["client_cpu"]) for second in truth.steady(folder, 1)]
    cpu = sum(shares) / len(shares)
    cells = [f"{rate:g}", arrivals, f"{due:.1f}", f"{received:.1f}"]
    cells += [f"{received / due - 1.0:+.2%}", f"{received / rate - 1.0:+.2%}"]
    cells += [f"±{1.0 / math.sqrt(len(inside)):.2%}", *(f"{delay[name] * 1e3:.2f}" for name in ("p50", "p99", "max"))]
    cells += [
        str(level.dropped),
        str(level.failed),
        f"{cpu:.0%}",
        f"{cpu / received * 1e6:.0f}",
        *ks(inside, rate, arrivals, (level.warmed_up, level.ended)),
    ]
    return f"| {' | '.join(cells)} |"


def ks(arrived: np.ndarray, rate: float, arrivals: str, window: tuple[float, float]) -> list[str]:
    """Return the distances of the intervals and of the moments, and their 1 % limit; dashes for even arrivals and bursts."""
    name, _, cv = arrivals.partition(":")
    if name not in ("poisson", "gamma"):
        return ["–", "–", "–"]
    shape = float(cv or 1.0) ** -2
    sample = np.sort(np.random.default_rng(1).gamma(shape, 1.0 / (shape * rate), SAMPLES))
    intervals = np.sort(np.diff(arrived))
    of_intervals = distance(np.searchsorted(sample, intervals) / SAMPLES)
    begin, end = window
    of_moments = f"{distance((arrived - begin) / (end - begin)):.4f}" if name == "poisson" else "–"
    return [f"{of_intervals:.4f}", of_moments, f"{1.628 / math.sqrt(len(intervals)):.4f}"]


def distance(expected: np.ndarray) -> float:
    """Return the Kolmogorov-Smirnov distance; `expected` is the distribution function at the sorted values."""
    ranks = np.arange(len(expected) + 1) / len(expected)
    return float(max(np.max(ranks[1:] - expected), np.max(expected - ranks[:-1])))


if __name__ == "__main__":
    main()
