"""How often is the cause of the SLO limit named right on virtual systems whose bottleneck is known?

    python bench/causes.py [--systems 208] [--seed 10000] [--processes 2] [--list]

Each system (bottlenecks.py) is drawn from its own seed, and loaded once with a ramp. The rules were chosen with seeds below
1000, so use other seeds. Prints the confusion matrix, and the same without telemetry: the load generator's figures alone
must never show a cause.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import bottlenecks

from llmlocust.analysis.breakpoints.verdict import find
from llmlocust.analysis.causes.cause import Degree
from llmlocust.analysis.causes.find import causes_of

TUNED_ON = 1000
NUMBERS = ("slo_limit", "knee", "saturation", "collapse")


@dataclass(frozen=True)
class Judged:
    seed: int
    kind: str
    variety: str
    reached: bool
    key: str
    degree: str
    without: str
    """The cause that is named without telemetry."""
    without_degree: str
    numbers: tuple[tuple[str, str, str], ...]
    """Name, key and degree of the four numbers that were reached."""
    says: str
    excluded: tuple[str, ...]


def judge(seed: int) -> Judged:
    case = bottlenecks.draw(seed)
    observed = bottlenecks.observe(case)
    verdict = find(observed.levels, [case.threshold])
    causes = causes_of(verdict, observed.levels, observed.context)
    bare_levels = [replace(level, telemetry={}) for level in observed.levels]
    bare = causes_of(verdict, bare_levels, replace(observed.context, sources=()))
    limit, alone = causes["slo_limit"], bare["slo_limit"]
    return Judged(
        seed,
        case.kind,
        case.variety,
        verdict.slo_limit.reached,
        limit.key or "-",
        limit.degree,
        alone.key or "-",
        alone.degree,
        tuple(
            (name, causes[name].key or "-", str(causes[name].degree))
            for name in NUMBERS
            if verdict.numbers()[name].reached
        ),
        str(limit.says),
        tuple(entry.key for entry in limit.excluded),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", type=int, default=208)
    parser.add_argument("--seed", type=int, default=10_400)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="list the systems for which a cause is wrong")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.processes) as pool:
        judged = list(pool.map(judge, range(options.seed, options.seed + options.systems)))
    print("\n".join(table(judged)))
    if options.list:
        for result in judged:
            is_wrong = result.key != "-" if result.kind in bottlenecks.SHAMS else result.key != result.kind
            if is_wrong or any(_is_wrong(result, key) for _, key, degree in result.numbers if degree == Degree.SHOWN):
                print(result)


def table(judged: Sequence[Judged]) -> list[str]:
    seeds = [result.seed for result in judged]
    lines = [f"{len(judged)} systems, seeds {seeds[0]} to {seeds[-1]}."]
    if seeds[0] < TUNED_ON:
        lines.append("THE RULES WERE CHOSEN ON THESE SEEDS.")
    bound = [result for result in judged if result.kind not in bottlenecks.SHAMS]
    shams = [result for result in judged if result.kind in bottlenecks.SHAMS]
    right = [result.key == result.kind for result in bound]
    wrong = [result.key != result.kind and result.degree == Degree.SHOWN for result in bound]
    shown = [result.key == result.kind and result.degree == Degree.SHOWN for result in bound]
    claimed = [result.key != "-" for result in shams]
    elsewhere = [
        any(_is_wrong(result, key) for _, key, degree in result.numbers if degree == Degree.SHOWN) for result in judged
    ]
    lines += [
        "",
        "| figure | result | required |",
        "|---|---:|---:|",
        f"| true cause named | {_share(right)} | ≥ 90 % |",
        f"| … and shown | {_share(shown)} | – |",
        f"| a wrong cause shown | {_share(wrong)} | ≤ 3 % |",
        f"| a cause claimed in a sham | {_share(claimed)} | ≤ 5 % |",
        f"| a wrong cause shown for any of the four numbers | {_share(elsewhere)} | – |",
        f"| without telemetry: true cause suspected | {_share([r.without == r.kind for r in bound])} | – |",
        f"| without telemetry: any cause shown | {_share([r.without_degree == Degree.SHOWN for r in judged])} | 0 |",
        "",
    ]
    keys = sorted({result.key for result in judged}, key=lambda key: (key == "-", _place(key), key))
    lines.append(f"| true \\ named (shown) | {' | '.join(keys)} |")
    lines.append("|---|" + "---:|" * len(keys))
    for kind in bottlenecks.KINDS:
        of_kind = [result for result in judged if result.kind == kind]
        count = Counter(result.key for result in of_kind)
        certain = Counter(result.key for result in of_kind if result.degree == Degree.SHOWN)
        cells = [f"{count[key]} ({certain[key]})" if count[key] else "" for key in keys]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


def _is_wrong(result: Judged, key: str) -> bool:
    """Whether a cause is not the system's. A queue without harm is due to the places, as is that before a proxy."""
    true = {"harmless_queue": ("slots",), "proxy": ("proxy", "slots")}.get(result.kind, (result.kind,))
    return key not in (*true, "-")


def _place(key: str) -> int:
    return bottlenecks.KINDS.index(key) if key in bottlenecks.KINDS else len(bottlenecks.KINDS)


def _share(hits: Sequence[bool]) -> str:
    return f"{100.0 * sum(hits) / len(hits):.1f} % of {len(hits)}" if hits else "–"


if __name__ == "__main__":
    main()
