"""The server's own metrics, under vLLM's names, in Prometheus' text format. Pure."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from llmlocust.simulator.engine import Engine, Step

_SHORT = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.075, 0.08, 0.1, 0.15, 0.2)
_TTFT = (*_SHORT[::3], 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0)
_ITL = (*_SHORT, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_LONG = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0)


class Histogram:
    """A Prometheus histogram."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def lines(self, name: str, label: str) -> Iterator[str]:
        yield f"# TYPE {name} histogram"
        total = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{{label},le="{bound}"}} {total}'
        yield f"{name}_count{{{label}}} {total}"
        yield f"{name}_sum{{{label}}} {self._sum}"


class Metrics:
    """Counters and histograms since the server's start; gauges come from the engine."""

    def __init__(self) -> None:
        self.prompt_tokens = self.generation_tokens = 0
        self.cache_queries = self.cache_hits = 0
        self.finished = Counter[str]({"stop": 0, "length": 0, "abort": 0})
        self.ttft, self.itl = Histogram(_TTFT), Histogram(_ITL)
        self.e2e, self.queued = Histogram(_LONG), Histogram(_LONG)

    def step(self, step: Step) -> None:
        """Count the tokens of a step. The ITL of each token is the duration of the step; first tokens have none."""
        self.generation_tokens += len(step.sequences)
        self.itl.observe(step.due - step.began, len(step.sequences) - len(step.started))
        for sequence in step.started:
            self.ttft.observe(step.due - sequence.arrived)

    def text(self, model: str, engine: Engine) -> str:
        label = 'model_name="{}"'.format(model.replace("\\", r"\\").replace('"', r"\""))
        return "\n".join((*self._gauges(engine, label), *self._counters(engine, label), *self._histograms(label), ""))

    def _gauges(self, engine: Engine, label: str) -> Iterator[str]:
        for name, value in (
            ("num_requests_running", engine.running),
            ("num_requests_waiting", engine.waiting),
            ("kv_cache_usage_perc", engine.kv_usage),
            ("gpu_cache_usage_perc", engine.kv_usage),  # the older name
        ):
            yield from _plain(name, "gauge", label, value)

    def _counters(self, engine: Engine, label: str) -> Iterator[str]:
        for name, value in (
            ("prompt_tokens_total", self.prompt_tokens),
            ("generation_tokens_total", self.generation_tokens),
            ("num_preemptions_total", engine.preemptions),
            ("prefix_cache_queries_total", self.cache_queries),
            ("prefix_cache_hits_total", self.cache_hits),
        ):
            yield from _plain(name, "counter", label, value)
        yield "# TYPE vllm:request_success_total counter"
        for reason, count in self.finished.items():
            yield f'vllm:request_success_total{{{label},finished_reason="{reason}"}} {count}'

    def _histograms(self, label: str) -> Iterator[str]:
        yield from self.ttft.lines("vllm:time_to_first_token_seconds", label)
        yield from self.itl.lines("vllm:inter_token_latency_seconds", label)
        yield from self.itl.lines("vllm:time_per_output_token_seconds", label)  # the older name
        yield from self.e2e.lines("vllm:e2e_request_latency_seconds", label)
        yield from self.queued.lines("vllm:request_queue_time_seconds", label)


def _plain(name: str, kind: str, label: str, value: float) -> Iterator[str]:
    yield f"# TYPE vllm:{name} {kind}"
    yield f"vllm:{name}{{{label}}} {value}"
