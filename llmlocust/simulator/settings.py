"""The simulator's settings, with units, defaults and help texts. The command line is made from this table."""

import math
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NamedTuple

from llmlocust.simulator import faults

BLOCK_TOKENS = 16
"""Tokens in one block of the cache."""
REASONING_FIELDS = ("reasoning_content", "reasoning")


def _knob(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the simulated server.

    The defaults are a small model on one large GPU: 12 ms per token for a single request, 36 ms with all slots in use,
    and at most 3,333 tokens/s, for any number of users. The API key is not a setting; it is read from the environment
    variable LLMLOCUST_SIMULATOR_KEY.
    """

    host: str = _knob("127.0.0.1", "address to listen on")
    port: int = _knob(8000, "port to listen on; 0: a free one, which is printed")
    model: str = _knob("simulated-llm", "name of the model")
    slots: int = _knob(120, "maximum sequences that run at once; further ones wait in a queue")
    step_ms: float = _knob(12.0, "milliseconds of a decoding step with nothing running")
    step_ms_per_seq: float = _knob(0.2, "milliseconds that each running sequence adds to a step")
    prefill_ms_per_token: float = _knob(0.02, "milliseconds that each prompt token adds to the step that reads it")
    prefill_chunk: int = _knob(2048, "prompt tokens read in one step; 0: no limit, long prompts delay all streams")
    prefix_cache: bool = _knob(False, "a prompt seen before costs no prefill")
    cache_prompts: int = _knob(100_000, "prompts that the prefix cache remembers; it forgets the longest unused one")
    kv_tokens: int = _knob(
        0, "tokens of prompts and answers that fit in the cache at once, in blocks of 16; 0: no limit"
    )
    compute_ms_per_token: float = _knob(0.0, "milliseconds of computation per token of a step, which is never shorter")
    power_cap_after_s: float = _knob(
        0.0, "busy seconds, minus idle ones, after which the GPU lowers its clock; 0: never"
    )
    power_cap_factor: float = _knob(0.7, "the lowered clock as a share of the full one")
    cold_start_s: float = _knob(0.0, "seconds after the first request in which steps take longer; 0: none")
    cold_start_factor: float = _knob(3.0, "times as long as later that such a step takes")
    tenant_share: float = _knob(0.0, "share of the GPU that another tenant takes, 0 to below 1")
    front_end_ms: float = _knob(0.0, "milliseconds of CPU of the front end's one process for each request")
    front_end_ms_per_token: float = _knob(0.0, "milliseconds of CPU of the same process for each token of an answer")
    network_ms: float = _knob(0.0, "milliseconds that the network takes each way")
    network_mbit: float = _knob(
        0.0, "bandwidth for all answers together in Mbit/s, at about 240 bytes a token; 0: no limit"
    )
    rate_limit: float = _knob(0.0, "requests/s above which a proxy answers 429; 0: no limit")
    rate_burst: int = _knob(1, "requests that may come at once within the rate limit")
    proxy_timeout_s: float = _knob(0.0, "seconds after which a proxy cuts an answer off, or sends 504; 0: never")
    max_model_len: int = _knob(32768, "maximum tokens of a prompt and its answer; longer requests get 400")
    queue_limit: int = _knob(-1, "maximum waiting requests; further ones get 503; 0: none may wait; -1: 100,000")
    timeout_s: float = _knob(0.0, "seconds of silence after which a request gets 504; 0: never")
    drain_s: float = _knob(
        0.0, "seconds after SIGTERM in which requests in flight may end; new ones get 503; 0: all are cut off"
    )
    start_s: float = _knob(0.0, "seconds that the server needs until it listens, like the loading of a model")
    oom_at: int = _knob(0, "requests in flight at which new ones get 500, CUDA out of memory; 0: never")
    default_max_tokens: int = _knob(1024, "maximum tokens of an answer if the request sets no limit")
    answer_tokens: int = _knob(200, "mean tokens of an answer that ends before its limit")
    reasoning_share: float = _knob(0.0, "share of each chat answer's tokens that are reasoning, 0 to 1")
    reasoning_field: str = _knob("reasoning_content", f"name of the reasoning delta: {' or '.join(REASONING_FIELDS)}")
    tokens_per_chunk: int = _knob(1, "tokens in one event of a stream")
    fault: str = _knob("", f"faults of some requests, e.g. drop@5; known: {', '.join(faults.GRAMMAR)}")
    fault_share: float = _knob(1.0, "share of the requests that get the fault, 0 to 1")
    only: str = _knob("", "prefix of the paths that are answered, such as /v1/messages: a server of one protocol")
    models_fail: bool = _knob(False, "/v1/models answers 500 although chat works, as in some real servers")
    truth_tokens: int = _knob(1_000_000, "number of tokens whose times /truth keeps; older requests are removed")
    seed: int = _knob(0, "seed of the answer lengths and of the choice of requests that get the fault")

    def __post_init__(self) -> None:
        """Check the values. ValueError in one line."""
        faults.parse(self.fault)
        for setting in fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{setting.name} must be a number, and not {value}")
        for wrong, why in (
            (not 0 <= self.port <= 65535, "port must be 0 to 65535"),
            (self.slots < 1, "slots must be at least 1"),
            (min(self.step_ms, self.step_ms_per_seq, self.prefill_ms_per_token) < 0, "times must not be negative"),
            (self.step_ms + self.step_ms_per_seq < 0.01, "a step must take at least 0.01 ms"),
            (min(self.kv_tokens, self.prefill_chunk, self.oom_at, self.timeout_s) < 0, "limits must not be negative"),
            (
                min(self.compute_ms_per_token, self.power_cap_after_s, self.cold_start_s) < 0,
                "times must not be negative",
            ),
            (min(self.front_end_ms, self.front_end_ms_per_token, self.network_ms) < 0, "times must not be negative"),
            (min(self.network_mbit, self.rate_limit, self.proxy_timeout_s) < 0, "limits must not be negative"),
            (min(self.drain_s, self.start_s) < 0, "times must not be negative"),
            (self.rate_burst < 1, "rate_burst must be at least 1"),
            (self.cache_prompts < 1, "cache_prompts must be at least 1"),
            (not 0 < self.power_cap_factor <= 1, "power_cap_factor must be above 0, and at most 1"),
            (self.cold_start_factor < 1, "cold_start_factor must be at least 1"),
            (not 0 <= self.tenant_share < 1, "tenant_share must be 0 to below 1"),
            (0 < self.kv_tokens < BLOCK_TOKENS, f"kv_tokens must be 0 (no limit) or at least {BLOCK_TOKENS}"),
            (self.queue_limit < -1, "queue_limit must be -1 (100,000), 0 or more"),
            (min(self.default_max_tokens, self.answer_tokens) < 1, "answers have at least 1 token"),
            (self.max_model_len < 2, "max_model_len must be at least 2"),
            (self.tokens_per_chunk < 1, "tokens_per_chunk must be at least 1"),
            (not 0 <= self.reasoning_share <= 1, "reasoning_share must be 0 to 1"),
            (not 0 <= self.fault_share <= 1, "fault_share must be 0 to 1"),
            (self.reasoning_field not in REASONING_FIELDS, f"reasoning_field: {' or '.join(REASONING_FIELDS)}"),
            (self.truth_tokens < 1, "truth_tokens must be at least 1"),
        ):
            if wrong:
                raise ValueError(why)

    @property
    def kv_blocks(self) -> int:
        """Blocks of the cache; 0: no limit."""
        return self.kv_tokens // BLOCK_TOKENS

    def step_seconds(self, running: int) -> float:
        """Return the duration in seconds of a step that reads no prompts, which is the ITL of a stream."""
        return (self.step_ms + self.step_ms_per_seq * running) / 1e3

    def tokens_per_second(self, running: int, prompt_tokens: float = 0, output_tokens: float = 1) -> float:
        """Return the throughput with `running` sequences, each replaced as soon as it ends."""
        prefill = self.prefill_ms_per_token / 1e3 * running * prompt_tokens / output_tokens
        return running / (self.step_seconds(running) + prefill)

    def capacity(self, prompt_tokens: float = 0, output_tokens: float = 1) -> float:
        """Return the maximum throughput in tokens per second.

        In a closed loop without think time, throughput reaches it with `slots` users and then stays constant; further users
        wait. A limit of the cache (`kv_tokens`) and the bottlenecks that can be set, such as `tenant_share`, reduce it.
        Reading prompts takes time by their length.
        """
        return self.tokens_per_second(self.slots, prompt_tokens, output_tokens)


class Knob(NamedTuple):
    """One setting, for a command line."""

    name: str
    kind: type
    default: Any
    help: str

    @property
    def option(self) -> str:
        return "--" + self.name.replace("_", "-")


def knobs() -> Iterator[Knob]:
    """Yield all settings in order, for a command line."""
    for setting in fields(Settings):
        assert setting.default is not MISSING
        yield Knob(setting.name, type(setting.default), setting.default, setting.metadata["help"])
