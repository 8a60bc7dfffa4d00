"""The server's own metrics: those of vLLM 0.33, with its names, labels and buckets. Pure.

As in vLLM, the front end counts tokens when it handles them. TTFT and E2E are its own times; all other times are between
steps of the engine. So the front end's delay is TTFT minus queue and prefill. Requests that were aborted are only counted.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from llmlocust.simulator.calls import Call
from llmlocust.simulator.engine import Engine, Step
from llmlocust.simulator.exposition import Histogram, Labels, family
from llmlocust.simulator.settings import BLOCK_TOKENS, Settings

_COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
_STEP_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_TTFT = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
    *(160.0, 640.0, 2560.0),
)
_ITL = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_LONG = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0),
    *(1920.0, 7680.0),
)
_RESIDENT_BYTES = 1.4e9


@dataclass(frozen=True, slots=True)
class Process:
    """The front end's process, as the operating system describes it."""

    started_epoch: float
    cpu_seconds: float


class Metrics:
    """Counters and histograms since the server's start; gauges come from the engine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.prompt_tokens = self.cached_tokens = self.generation_tokens = 0
        self.cache_queries = self.cache_hits = 0
        self.queue_full = 0
        """Requests that were refused because the queue was full."""
        self.finished = Counter[str](dict.fromkeys(("stop", "length", "abort", "error", "repetition"), 0))
        self._ttft, self._itl, self._tpot = Histogram(*_TTFT), Histogram(*_ITL), Histogram(*_ITL)
        self._e2e, self._queue, self._inference = (Histogram(*_LONG) for _ in range(3))
        self._prefill, self._decode = Histogram(*_LONG), Histogram(*_LONG)
        self._step_tokens = Histogram(*_STEP_TOKENS)
        self._prompt_lengths, self._answer_lengths = Histogram(*_COUNTS), Histogram(*_COUNTS)
        self._preemptions = Histogram(1, 2, 3, 4, 5, 10, 20)

    def step(self, step: Step) -> None:
        if tokens := step.work.read + len(step.sequences):
            self._step_tokens.observe(tokens)

    def token(self, call: Call, stepped: float, at: float) -> None:
        """Count one more token of a request: of the step that ended at `stepped`, and handled by the front end at `at`."""
        self.generation_tokens += 1
        call.passed += 1
        if call.passed > 1:
            self._itl.observe(stepped - call.last)
        else:
            call.first = stepped
            self._ttft.observe(at - call.received)
            self.prompt_tokens += call.prompt_tokens
            self.cached_tokens += call.cached_tokens
        call.last = stepped
        if call.passed == call.output_tokens:
            self._finish(call, at)

    def _finish(self, call: Call, at: float) -> None:
        self.finished[call.finish_reason] += 1
        admitted = call.arrived if call.admitted is None else call.admitted
        decoding = call.last - call.first
        self._e2e.observe(at - call.received)
        self._queue.observe(admitted - call.arrived)
        self._inference.observe(call.last - admitted)
        self._prefill.observe(call.first - admitted)
        self._decode.observe(decoding)
        self._tpot.observe(decoding / (call.output_tokens - 1) if call.output_tokens > 1 else 0.0)
        self._prompt_lengths.observe(call.prompt_tokens)
        self._answer_lengths.observe(call.output_tokens)
        self._preemptions.observe(call.preemptions)

    def text(self, engine: Engine, process: Process) -> str:
        model = {"model_name": self._settings.model}
        labels = {"engine": "0", **model}
        return "\n".join(
            (
                *self._gauges(engine, labels),
                *self._counters(engine, labels, model),
                *self._histograms(labels),
                *self._process(process),
                "",
            )
        )

    def _gauges(self, engine: Engine, labels: Labels) -> Iterator[str]:
        for name, help_text, value in (
            ("num_requests_running", "Number of requests in model execution batches.", engine.running),
            ("num_requests_waiting", "Number of requests waiting to be processed.", engine.waiting),
            ("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", engine.kv_usage),
        ):
            yield from family(f"vllm:{name}", "gauge", help_text, [(labels, value)])
        # a request is deferred while it waits for something other than room, such as an adapter
        reasons = (({**labels, "reason": "capacity"}, engine.waiting), ({**labels, "reason": "deferred"}, 0))
        help_text = "Number of waiting requests, by the reason why they wait."
        yield from family("vllm:num_requests_waiting_by_reason", "gauge", help_text, reasons)
        if self._settings.kv_blocks:
            config = {
                "block_size": str(BLOCK_TOKENS),
                "cache_dtype": "auto",
                "enable_prefix_caching": str(self._settings.prefix_cache),
                "engine": "0",
                "gpu_memory_utilization": "0.9",
                "num_gpu_blocks": str(self._settings.kv_blocks),
            }
            help_text = "Information of the LLMEngine CacheConfig"
            yield from family("vllm:cache_config_info", "gauge", help_text, [(config, 1)])

    def _counters(self, engine: Engine, labels: Labels, model: Labels) -> Iterator[str]:
        for name, help_text, value in (
            ("num_preemptions", "Cumulative number of preemptions from the engine.", engine.preemptions),
            ("prefix_cache_queries", "Prefix cache queries, in tokens.", self.cache_queries),
            ("prefix_cache_hits", "Prefix cache hits, in tokens.", self.cache_hits),
            ("prompt_tokens", "Number of prefill tokens processed, cached ones included.", self.prompt_tokens),
            ("prompt_tokens_cached", "Number of prompt tokens that were cached.", self.cached_tokens),
            ("generation_tokens", "Number of generation tokens processed.", self.generation_tokens),
        ):
            yield from family(f"vllm:{name}_total", "counter", help_text, [(labels, value)])
        computed = self.prompt_tokens - self.cached_tokens
        sources = {"local_compute": computed, "local_cache_hit": self.cached_tokens, "external_kv_transfer": 0}
        for name, help_text, label, values in (
            ("prompt_tokens_by_source", "Number of prompt tokens by source.", "source", sources),
            ("request_success", "Count of finished requests, by reason.", "finished_reason", self.finished),
        ):
            samples = (({**labels, label: key}, value) for key, value in values.items())
            yield from family(f"vllm:{name}_total", "counter", help_text, samples)
        refused = {"max_num_queued_reqs": self.queue_full, "max_num_queued_tokens": 0}
        samples = (({**model, "reason": reason}, value) for reason, value in refused.items())
        help_text = "Requests rejected before they were queued."
        yield from family("vllm:admission_rejections_total", "counter", help_text, samples)

    def _histograms(self, labels: Labels) -> Iterator[str]:
        for name, help_text, histogram in (
            ("request_prompt_tokens", "Number of prefill tokens of a request.", self._prompt_lengths),
            ("request_generation_tokens", "Number of generation tokens of a request.", self._answer_lengths),
            ("iteration_tokens_total", "Number of tokens per engine step.", self._step_tokens),
            ("time_to_first_token_seconds", "Time to first token in seconds.", self._ttft),
            ("inter_token_latency_seconds", "Inter-token latency in seconds.", self._itl),
            ("request_time_per_output_token_seconds", "Mean time per output token of a request.", self._tpot),
            ("e2e_request_latency_seconds", "End-to-end request latency in seconds.", self._e2e),
            ("request_queue_time_seconds", "Time in the WAITING phase.", self._queue),
            ("request_inference_time_seconds", "Time in the RUNNING phase.", self._inference),
            ("request_prefill_time_seconds", "Time in the PREFILL phase.", self._prefill),
            ("request_decode_time_seconds", "Time in the DECODE phase.", self._decode),
            ("request_num_preemptions", "Number of preemptions of a request.", self._preemptions),
        ):
            yield from histogram.lines(f"vllm:{name}", help_text, labels)

    def _process(self, process: Process) -> Iterator[str]:
        for name, kind, help_text, value in (
            ("start_time_seconds", "gauge", "Start time of the process since unix epoch.", process.started_epoch),
            ("cpu_seconds_total", "counter", "Total user and system CPU time spent.", process.cpu_seconds),
            ("resident_memory_bytes", "gauge", "Resident memory size in bytes.", _RESIDENT_BYTES),
        ):
            yield from family(f"process_{name}", kind, help_text, [({}, value)])
