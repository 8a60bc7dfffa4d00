"""Open load beside a server that logs when each request came: is the rate what was asked for, and are requests on time?

    python bench/arrivals.py [RATE ...] [--arrivals poisson] [--seconds 30]      2000 unless told; gcc and two cores

The C server and one process of Locust have a core each; answers are two tokens, the last after some 55 ms. The rate is
what the server counted inside the level's window. Its error against what was due there is the generator's own; against
what was asked for, that of a finite number of Poisson arrivals is in it (1/√n).

Two Kolmogorov-Smirnov tests of what the server saw. Of the times between arrivals, against exponential or gamma ones:
it sees that one thread sends one request after the other. Of the moments of Poisson arrivals, which are uniform once
their number is given (Brown et al. 2005, Statistical Analysis of a Telephone Call Center, section 3): it sees whether
there are more of them at one time than at another.
"""

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
import truth

TOKENS = 2
GAP_MS = 5.0
DRAWN = 2_000_000
"""Gaps that stand for a distribution."""
TITLES = ("asked/s", "arrivals", "due/s", "server saw/s", "off the due", "off the asked", "by chance")
MORE = (
    "delay p50 ms",
    "p99",
    "max",
    "dropped",
    "failed",
    "CPU of a core",
    "µs/request",
    "KS gaps",
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
    parser.add_argument("rates", type=float, nargs="*", default=[2000.0], metavar="RATE", help="requests a second")
    parser.add_argument("--arrivals", default="poisson", help="constant, poisson, gamma:CV or bursts:N")
    parser.add_argument("--seconds", type=float, default=30.0, help="for which a rate is measured")
    return parser.parse_args()


def row(folder: Path, rate: float, arrivals: str, seconds: float) -> str:
    with truth.Server(folder, GAP_MS, tokens=TOKENS) as server:
        options = ["--headless", "--only-summary", "--host", server.host, "--csv", folder / "run"]
        load = ["--llm-rate", rate, "--llm-arrivals", arrivals, "--llm-hold", seconds, "--llm-warmup", 2]
        more = ["--llm-preflight=false", "--llm-max-tokens", TOKENS]
        truth.run(truth.locust(folder, *options, *load, *more), truth.on_core(1))
    level = truth.level(folder)
    came = np.sort(server.served[:, 0]) / 1e9 + truth.monotonic_began()
    inside = came[(came >= level.warmed_up) & (came < level.ended)]
    due, saw = level.due / level.window, len(inside) / level.window
    delay = level.metric("delay")
    busy = [float(each["client_cpu"]) for each in truth.steady(folder, 1)]
    cpu = sum(busy) / len(busy)
    cells = [f"{rate:g}", arrivals, f"{due:.1f}", f"{saw:.1f}", f"{saw / due - 1.0:+.2%}", f"{saw / rate - 1.0:+.2%}"]
    cells += [f"±{1.0 / math.sqrt(len(inside)):.2%}", *(f"{delay[name] * 1e3:.2f}" for name in ("p50", "p99", "max"))]
    cells += [
        str(level.dropped),
        str(level.failed),
        f"{cpu:.0%}",
        f"{cpu / saw * 1e6:.0f}",
        *ks(inside, rate, arrivals, (level.warmed_up, level.ended)),
    ]
    return f"| {' | '.join(cells)} |"


def ks(came: np.ndarray, rate: float, arrivals: str, window: tuple[float, float]) -> list[str]:
    """Distances of the gaps and of the moments, and what either may be; of even arrivals and bursts nothing is said."""
    name, _, cv = arrivals.partition(":")
    if name not in ("poisson", "gamma"):
        return ["–", "–", "–"]
    shape = float(cv or 1.0) ** -2
    drawn = np.sort(np.random.default_rng(1).gamma(shape, 1.0 / (shape * rate), DRAWN))
    gaps = np.sort(np.diff(came))
    of_gaps = distance(np.searchsorted(drawn, gaps) / DRAWN)
    begin, end = window
    of_moments = f"{distance((came - begin) / (end - begin)):.4f}" if name == "poisson" else "–"
    return [f"{of_gaps:.4f}", of_moments, f"{1.628 / math.sqrt(len(gaps)):.4f}"]


def distance(expected: np.ndarray) -> float:
    """Kolmogorov and Smirnov's, of sorted values of which `expected` is the distribution function."""
    ranks = np.arange(len(expected) + 1) / len(expected)
    return float(max(np.max(ranks[1:] - expected), np.max(expected - ranks[:-1])))


if __name__ == "__main__":
    main()
