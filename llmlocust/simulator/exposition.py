"""Prometheus' text format: families with HELP and TYPE, and histograms. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = Mapping[str, str]


def sample(name: str, labels: Labels, value: float) -> str:
    """Return the line of one sample."""
    return f"{name}{_braces(labels)} {_number(value)}"


def family(name: str, kind: str, help_text: str, samples: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    """Yield the lines of a family whose samples all have its name."""
    yield from _header(name, kind, help_text)
    for labels, value in samples:
        yield sample(name, labels, value)


class Histogram:
    """A Prometheus histogram."""

    def __init__(self, *bounds: float) -> None:
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, help_text: str, labels: Labels) -> Iterator[str]:
        yield from _header(name, "histogram", help_text)
        total = 0
        for bound, count in zip((*map(_number, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield sample(f"{name}_bucket", {**labels, "le": bound}, total)
        yield sample(f"{name}_count", labels, total)
        yield sample(f"{name}_sum", labels, self._sum)


def _header(name: str, kind: str, help_text: str) -> Iterator[str]:
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} {kind}"


def _braces(labels: Labels) -> str:
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return repr(float(value))
