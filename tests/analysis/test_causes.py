"""Each cause is named from its witnesses, and the readings that look like one are not."""

import math
from dataclasses import replace

import pytest
from closed_queue import closed_queue, figures

from llmlocust.analysis.advice import advise
from llmlocust.analysis.breakpoints.verdict import find
from llmlocust.analysis.causes.cause import NAMES, Degree
from llmlocust.analysis.causes.context import Context, FailureAges
from llmlocust.analysis.causes.engines import engine_of
from llmlocust.analysis.causes.find import RULES, causes_of
from llmlocust.analysis.checks.check import Check, Facts
from llmlocust.metrics.levels import Summary
from llmlocust.metrics.telemetry import TelemetryEvent, TelemetrySource, TelemetrySummary
from llmlocust.metrics.thresholds import Threshold

LOADS = (2, 4, 8, 16, 32)
FREE_CLIENT = Context(
    checks=[Check("client_cpu", True, 0.2, 0.9, "The busiest process used at most 20 % of its core.")]
)


def gauge(mean, top=None, low=None, increase=math.nan):
    return TelemetrySummary(
        20,
        mean,
        mean if low is None else low,
        mean if top is None else top,
        mean,
        mean if top is None else top,
        increase,
    )


def with_telemetry(level, **keys):
    """Return a level with telemetry: `kv_usage` is kv.usage. A pair is a mean with its maximum, or an increase."""
    telemetry = {}
    for name, value in keys.items():
        key = name.replace("__", ".")
        if name == "preemptions":
            telemetry[key] = (gauge(value / 60.0, increase=float(value)),)
        elif value is not None:
            telemetry[key] = (gauge(*value) if isinstance(value, tuple) else gauge(float(value)),)
    return replace(level, telemetry={**level.telemetry, **telemetry})


def with_itl(level, itl):
    return replace(
        level,
        metrics={
            **level.metrics,
            "itl": Summary(1000, itl, itl * 2, {"p50": itl, "p95": itl}),
            "tpot": Summary(1000, itl, itl * 2, {"p50": itl, "p95": itl}),
        },
    )


def batch(
    *, slots=8, kv=0.3, preempted=0, limit=None, step=0.02, slope=0.0, tokens=100, loads=LOADS, running=None, **more
):
    """Return levels of a server whose batch fills up: a queue before it from `slots` users on, and what it reports."""
    levels = []
    for level in closed_queue(loads, slots, step=step, slope=slope, tokens=tokens, prefill=0.05):
        inside = min(level.load, slots) if running is None else min(level.load, running)
        waits = level.load - inside
        share = inside / slots
        queue = waits / level.throughput
        reported = {
            "running": (inside, math.ceil(inside)),
            "waiting": waits,
            "kv__usage": (kv * min(1.0, share), kv * min(1.0, share)),
            "preemptions": preempted if waits else 0,
            "server__queue": queue,
            "server__prefill": 0.05,
            "server__ttft": level.metric("ttft").mean,
            "server__tpot": step + slope * inside,
            "server__decode": tokens * (step + slope * inside),
            "server__e2e": level.metric("e2e").mean,
            "running__limit": limit,
        } | more
        levels.append(with_telemetry(with_itl(level, step + slope * inside), **reported))
    return levels


def cause(levels, *limits, context=FREE_CLIENT, number="slo_limit"):
    verdict = find(levels, [Threshold.parse(text) for text in limits or ("ttft.p95 < 500ms",)])
    return causes_of(verdict, levels, context)[number]


def advice(levels, *limits, context=FREE_CLIENT):
    verdict = find(levels, [Threshold.parse(text) for text in limits or ("ttft.p95 < 500ms",)])
    return [item.do for item in advise(levels, verdict, context.checks, {}, context=context)]


def source(engine, *exposes, **settings):
    exposed = exposes or ("running", "waiting", "kv.usage", "server.queue")
    return TelemetrySource("server:8000", "http://server:8000/metrics", engine, settings=settings, exposes=exposed)


def test_every_cause_has_a_name_and_a_rule_with_its_source():
    assert set(RULES) == set(NAMES)
    assert all(rule.__doc__ for rule in RULES.values())


# ── the batch ──


def test_running_at_its_limit_with_a_queue_and_room_in_the_cache_is_the_limit_of_requests():
    named = cause(batch(limit=8))
    assert (named.key, named.degree) == ("slots", Degree.SHOWN)
    assert "kv_cache" in {excluded.key for excluded in named.excluded}
    assert {evidence.metric for evidence in named.evidence} >= {"running", "waiting"}


def test_a_limit_that_is_not_reported_is_seen_where_running_grows_no_more():
    assert cause(batch()).key == "slots"


def test_a_full_cache_with_preemptions_and_free_places_is_the_cache_and_not_the_places():
    """vLLM with 12 blocks: usage 0.94, 58 preemptions, 4.9 of 8 allowed run; "run more at once" was the advice."""
    levels = batch(slots=5, kv=0.94, preempted=58, limit=8, running=4.9)
    context = replace(FREE_CLIENT, sources=[source("vllm 0.32.0", max_num_seqs="8", gpu_memory_utilization="0.9")])
    named = cause(levels, context=context)
    assert (named.key, named.degree) == ("kv_cache", Degree.SHOWN)
    texts = " ".join(advice(levels, context=context))
    assert "max-num-seqs" not in texts
    assert "Let the server run more requests" not in texts
    assert "raise --gpu-memory-utilization (now 0.9), lower --max-model-len and set --kv-cache-dtype fp8" in texts


def test_running_below_its_limit_with_a_full_cache_and_a_queue_is_the_cache_even_without_preemptions():
    assert cause(batch(slots=5, kv=0.97, limit=64)).key == "kv_cache"


def test_a_well_used_cache_without_waiting_requests_is_no_cause():
    """Usage of 0.9 alone is good (SGLang's guide to tuning)."""
    levels = batch(slots=40, kv=1.1, limit=64)
    assert levels[-1].reported("kv.usage").mean > 0.85
    verdict = find(levels, [Threshold.parse("ttft.p95 < 500ms")])
    assert all(not known.is_known for known in causes_of(verdict, levels, FREE_CLIENT).numbers.values())
    slow = [*levels[:-1], with_itl(levels[-1], 0.06)]
    assert cause(slow, "itl.p95 < 50ms").key != "kv_cache"


def test_a_full_gpu_memory_is_a_setting_and_no_cause():
    levels = [with_telemetry(level, gpu__memory=0.99) for level in batch(limit=8)]
    assert cause(levels).key == "slots"
    idle = [with_telemetry(level, gpu__memory=0.99) for level in batch(slots=64, limit=64)]
    assert not cause(idle).is_known


def test_a_busy_gpu_says_little():
    """GPU utilisation of 100 % means that some kernel ran all the time, and not that it binds."""
    levels = [with_telemetry(level, gpu__utilisation=1.0, gpu__tensor_active=0.05) for level in batch(limit=8)]
    named = cause(levels)
    assert named.key == "slots"
    assert "compute" in {excluded.key for excluded in named.excluded}
    assert not cause([with_telemetry(level, gpu__utilisation=1.0) for level in batch(slots=64, limit=64)]).is_known


def test_a_queue_that_violates_no_threshold_is_no_fault():
    named = cause(batch(limit=8), "ttft.p95 < 60s")
    assert not named.is_known
    assert named.degree == Degree.UNKNOWN


def test_a_full_batch_whose_steps_only_get_slower_is_bound_by_decode():
    levels = batch(slots=16, limit=16, step=0.01, slope=0.005, loads=(1, 2, 4, 8, 16, 32, 48))
    levels = [with_telemetry(level, gpu__dram_active=0.2 + 0.6 * min(1.0, level.load / 16)) for level in levels]
    levels = [with_telemetry(level, gpu__clock=1980.0, gpu__utilisation=1.0) for level in levels]
    named = cause(levels, "e2e.p95 < 14s")
    assert (named.key, named.degree) == ("decode", Degree.SHOWN)


def test_tensor_cores_that_are_busy_while_the_memory_is_not_are_computation():
    """The same steps as above: only the counters of the GPU tell computation from memory bandwidth."""
    levels = batch(slots=16, limit=16, step=0.01, slope=0.005, loads=(1, 2, 4, 8, 16, 32, 48))
    levels = [
        with_telemetry(
            level,
            gpu__tensor_active=0.1 + 0.6 * min(1.0, level.load / 16),
            gpu__dram_active=0.3,
            gpu__clock=1980.0,
            gpu__utilisation=1.0,
        )
        for level in levels
    ]
    named = cause(levels, "e2e.p95 < 14s")
    assert named.key == "compute"
    assert "gpu.tensor_active" in {evidence.metric for evidence in named.evidence}
    assert "computation" in named.says


def test_places_bind_although_another_program_makes_one_load_slow():
    """vLLM with --max-num-seqs 2: another program takes the cores at 4 users, so their steps take twice as long."""
    loads = (1, 2, 4, 8)
    usual, slow = (batch(slots=2, limit=2, step=step, loads=loads) for step in (0.02, 0.04))
    levels = [*usual[:2], slow[2], usual[3]]
    named = cause(levels, "e2e.p95 < 5s")
    assert named.key == "slots"
    assert "4 users" in " ".join(evidence.says for evidence in named.evidence)


def test_computed_prompts_that_fill_the_time_are_prefill_and_cached_ones_are_not():
    def level_of(place, load):
        rate = min(load / 1.35, 1 / 0.3)  # a prompt takes 0.3 s
        prefill = load / rate - 1.0
        level = with_itl(figures(load, rate, prefill, prefill + 1.0, index=place), 0.02)
        return with_telemetry(
            level, running=load, waiting=0, kv__usage=0.2, server__queue=0.0, server__prefill=prefill,
            server__ttft=prefill, server__tpot=0.02, server__decode=1.0, server__e2e=prefill + 1.0,
            tokens_per_step=900, running__limit=256, computed_tokens=rate * 3000,
        )  # fmt: skip

    named = cause([level_of(n, load) for n, load in enumerate((2, 4, 8, 16, 24))], "ttft.p95 < 1s")
    assert (named.key, named.degree) == ("prefill", Degree.SHOWN)
    assert {"slots", "kv_cache"} <= {excluded.key for excluded in named.excluded}


# ── the way to the engine ──


def plain(place, load, *, late=0.0, front=0.0, running=None, e2e=1.0, **reported):
    """Return a level of an engine with room: `late` seconds outside the server, `front` in its front end."""
    inside = load * 1.0 / (e2e + late + front) if running is None else running
    level = figures(load, load / (e2e + late + front), 0.05 + late + front, e2e + late + front, index=place)
    return with_telemetry(
        with_itl(level, 0.01),
        **{
            "running": inside, "waiting": 0, "kv__usage": 0.1, "server__queue": 0.0, "server__prefill": 0.05,
            "server__ttft": 0.05 + front, "server__tpot": 0.01, "server__decode": e2e - 0.05, "server__e2e": e2e + front,
        } | reported,
    )  # fmt: skip


def test_a_core_that_fills_up_and_time_outside_the_engine_are_the_front_end():
    """The machine's CPU is at 2 %: one process of one core says more."""
    levels = [
        plain(n, load, front=0.05 * max(0, load - 8), cpu=0.02, process__cpu=min(1.0, load / 16))
        for n, load in enumerate(LOADS)
    ]
    named = cause(levels)
    assert (named.key, named.degree) == ("front_end", Degree.SHOWN)
    assert "process.cpu" in {evidence.metric for evidence in named.evidence}


def noisy(level, factor, count=500):
    """Return a level with the intervals of its latencies, as factors, and the number of its values."""
    metrics = {
        name: replace(
            summary,
            count=count,
            intervals={key: (value / factor, value * factor) for key, value in summary.quantiles.items()},
        )
        for name, summary in level.metrics.items()
    }
    return replace(level, metrics=metrics)


@pytest.mark.parametrize(
    ("limit", "factor", "count", "degree"),
    [
        ("ttft.p95 < 500ms", 1.1, 500, Degree.SHOWN),
        ("ttft.p95 < 500ms", 5.0, 500, Degree.SUSPECTED),
        ("ttft.p50 < 300ms", 1.1, 500, Degree.SHOWN),
        ("ttft.p50 < 300ms", 5.0, 500, Degree.SUSPECTED),
        ("ttft.mean < 300ms", 5.0, 500, Degree.SUSPECTED),
    ],
)
def test_a_difference_that_noise_explains_shows_no_cause(limit, factor, count, degree):
    levels = [
        noisy(plain(n, load, front=0.05 * max(0, load - 8), process__cpu=min(1.0, load / 16)), factor, count)
        for n, load in enumerate(LOADS)
    ]
    named = cause(levels, limit)
    assert (named.key, named.degree) == ("front_end", degree)


def test_the_tail_of_a_few_requests_shows_no_cause():
    """With 20 requests, the highest p95 by chance is not known: the median decides whether there is a difference."""
    levels = [
        plain(n, load, front=0.4 if load > 8 else 0.0, process__cpu=min(1.0, load / 16)) for n, load in enumerate(LOADS)
    ]
    median = levels[0].metric("ttft")["p50"]

    def few(level):
        ttft = level.metric("ttft")
        return replace(
            level, metrics={**level.metrics, "ttft": replace(ttft, quantiles={**ttft.quantiles, "p50": median})}
        )

    many = [noisy(few(level), 1.1, 500) for level in levels]
    assert cause(many).degree == Degree.SHOWN
    assert cause([noisy(level, 1.1, 20) for level in many]).degree == Degree.SUSPECTED


def test_an_engine_that_polls_with_a_whole_core_at_any_load_is_no_sign_of_the_front_end():
    levels = [with_telemetry(level, process__cpu=1.0) for level in batch(limit=8)]
    named = cause(levels)
    assert named.key == "slots"
    assert not cause([plain(n, load, process__cpu=1.0) for n, load in enumerate(LOADS)]).is_known


def test_a_process_that_a_busy_loop_hides_is_seen_under_its_own_name():
    name = "namedprocess_namegroup_cpu_seconds_total"
    levels = [
        replace(
            plain(n, load, front=0.05 * max(0, load - 8), process__cpu=1.0),
            telemetry={
                **plain(n, load, front=0.05 * max(0, load - 8), process__cpu=1.0).telemetry,
                name: (gauge(1.0), gauge(min(1.0, load / 16))),
            },
        )
        for n, load in enumerate(LOADS)
    ]
    assert "process.cpu" in " ".join(evidence.metric for evidence in cause(levels).evidence)


def test_open_files_at_their_limit_are_the_front_end_and_no_queue():
    """`ulimit -n 40` on the server: it knows 31 of 40 connections, few run and none wait, and clients wait to connect."""
    levels = [
        plain(
            n, load, late=max(0.0, load / 31.0 - 1.0), running=min(load, 31),
            process__files=(min(1.0, (load + 9) / 40), min(1.0, (load + 9) / 40)),
        )
        for n, load in enumerate((5, 10, 20, 31, 40))
    ]  # fmt: skip
    named = cause(levels, "ttft.p95 < 200ms")
    assert (named.key, named.degree) == ("front_end", Degree.SHOWN)
    assert "slots" in {excluded.key for excluded in named.excluded}
    assert any("ulimit -n" in text for text in advice(levels, "ttft.p95 < 200ms"))


def test_time_outside_the_server_with_retransmits_is_the_network_if_the_load_generator_is_not_late():
    levels = [
        plain(n, load, late=0.1 * max(0, load - 8), network__retransmits=3.0 * max(0, load - 8), network__sent=1e6)
        for n, load in enumerate(LOADS)
    ]
    named = cause(levels)
    assert (named.key, named.degree) == ("network", Degree.SHOWN)
    assert "client" in {excluded.key for excluded in named.excluded}
    unchecked = cause(levels, context=Context())
    assert (unchecked.key, unchecked.degree) == ("network", Degree.SUSPECTED)


def test_the_time_of_retries_is_not_the_networks():
    levels = [plain(n, load, late=0.1 * max(0, load - 8)) for n, load in enumerate(LOADS)]
    assert cause(levels).key == "network"
    assert cause([replace(level, retries=5 if level.load > 8 else 0) for level in levels]).key != "network"


def test_a_late_load_generator_is_named_before_the_network():
    levels = [plain(n, load, late=0.1 * max(0, load - 8)) for n, load in enumerate(LOADS)]
    late = Check("client_cpu", False, 0.99, 0.9, "The load generator had too little CPU.", (3, 4))
    facts = Facts(client_cpu={n: load / 16 for n, load in enumerate(LOADS)})
    named = cause(levels, context=Context(facts, [late]))
    assert (named.key, named.degree) == ("client", Degree.SHOWN)


def test_users_who_think_look_like_a_slow_load_generator_and_are_not_one():
    levels = [replace(plain(n, load, running=load * 0.1), throughput=load * 0.1) for n, load in enumerate(LOADS)]
    named = cause(levels, context=replace(FREE_CLIENT, facts=Facts(think_time=9.0)), number="saturation")
    assert (named.key, named.degree) == ("think_time", Degree.SHOWN)
    assert not cause(levels, number="saturation").is_known  # the think time is not known


# ── failures ──


def failing(place, load, kind, share, **reported):
    level = plain(place, load, **reported)
    failed = round(level.ok * share / (1 - share))
    return replace(level, requests=level.ok + failed, error_kinds={kind: failed} if failed else {})


def test_rejections_by_a_server_with_room_are_a_rate_limit_although_its_latencies_get_better():
    levels = [
        failing(n, load, "http_429", 0.6 if load > 8 else 0.0, running=min(load, 7), e2e=0.8 if load > 8 else 1.0)
        for n, load in enumerate(LOADS)
    ]
    named = cause(levels, "errors < 1%")
    assert (named.key, named.degree) == ("rate_limit", Degree.SHOWN)


def test_rejections_by_a_full_server_are_no_rate_limit():
    levels = [
        replace(level, requests=level.ok * 2, error_kinds={"http_503": level.ok}) if level.load > 8 else level
        for level in batch(limit=8)
    ]
    assert cause(levels, "errors < 1%").key == "slots"


def test_failures_of_one_age_with_aborted_requests_are_a_proxy():
    levels = [
        failing(n, load, "http_504", 0.3 if load > 8 else 0.0, aborted=2.0 if load > 8 else 0.0)
        for n, load in enumerate(LOADS)
    ]
    ages = {3: FailureAges(80, 60.0, 60.0, 60.1), 4: FailureAges(90, 60.0, 60.0, 60.2)}
    named = cause(levels, "errors < 1%", context=replace(FREE_CLIENT, ages=ages))
    assert (named.key, named.degree) == ("proxy", Degree.SHOWN)
    assert named.says == "A proxy in front of the server ends requests after 60 s."
    # vLLM's counter of aborted requests may stay 0
    silent = [replace(level, telemetry={**level.telemetry, "aborted": (gauge(0.0),)}) for level in levels]
    assert cause(silent, "errors < 1%", context=replace(FREE_CLIENT, ages=ages)).key == "proxy"


# ── conditions that change ──


def clocked(loads, clocks, *, busy=1.0, itl=0.02):
    levels = []
    for n, (load, clock) in enumerate(zip(loads, clocks, strict=True)):
        step = itl * 1980.0 / clock if busy > 0.5 else itl
        level = with_itl(figures(load, load / (100 * step), 0.05, 100 * step, index=n), step)
        levels.append(
            with_telemetry(
                level,
                running=load,
                waiting=0,
                kv__usage=0.1,
                server__queue=0.0,
                server__prefill=0.05,
                server__ttft=0.05,
                server__tpot=step,
                server__decode=100 * step - 0.05,
                server__e2e=100 * step,
                gpu__clock=clock,
                gpu__utilisation=busy,
                gpu__power=699.0 if clock < 1980 else 480.0,
            )
        )
    return levels


def test_a_clock_that_falls_under_load_at_the_maximum_of_power_is_power():
    named = cause(clocked(LOADS, (1980, 1980, 1980, 1300, 1300)), "tpot.p95 < 25ms")
    assert (named.key, named.degree) == ("power", Degree.SHOWN)


def test_a_clock_that_is_low_because_the_gpu_is_idle_is_no_cause():
    levels = clocked(LOADS, (345, 345, 1980, 1980, 1980), busy=0.1)
    levels = [*levels[:-1], with_itl(levels[-1], 0.05)]
    assert cause(levels, "tpot.p95 < 25ms").key != "power"


def shared(load, busy, step, **reported):
    """Return a level whose steps have one sequence, on a GPU that is busy a share of the time."""
    level = with_itl(figures(load, load * 0.1, 0.05, 0.05 + 100 * step, index=round(load)), step)
    return with_telemetry(
        level,
        **{
            "running": 0.1 * load, "waiting": 0, "kv__usage": 0.02, "server__queue": 0.0, "server__prefill": 0.05,
            "server__ttft": 0.05, "server__tpot": step, "server__decode": 100 * step, "server__e2e": 0.05 + 100 * step,
            "gpu__utilisation": busy, "gpu__clock": 1980.0,
        } | reported,
    )  # fmt: skip


def test_a_gpu_that_is_busy_while_the_engine_is_idle_has_another_program_on_it():
    steps = {1: 0.02, 2: 0.02, 3: 0.06, 4: 0.06}
    named = cause([shared(load, 0.98, step) for load, step in steps.items()], "tpot.p95 < 50ms")
    assert (named.key, named.degree) == ("tenant", Degree.SHOWN)
    assert "98 % of the time at 1 user," in named.evidence[0].says
    # the same with a GPU that is idle where the engine is: no other program
    assert cause([shared(load, 0.1 * load, step) for load, step in steps.items()], "tpot.p95 < 50ms").key != "tenant"
    # with a clock that falls, it may be heat
    hot = [shared(load, 0.98, step, gpu__clock=1980.0 * 0.02 / step) for load, step in steps.items()]
    assert cause(hot, "tpot.p95 < 50ms").key == "power"


def test_a_prefix_cache_that_loses_prompts_is_named_before_the_prefill_that_follows():
    levels = []
    for n, load in enumerate(LOADS):
        cached = 0.9 if load <= 8 else 0.3
        prefill = 0.08 if load <= 8 else 0.6
        level = plain(n, load, server__prefill=prefill, server__ttft=prefill, cached_share=cached)
        ttft = figures(load, level.throughput, prefill, prefill + 1.0, index=n).metrics
        levels.append(replace(level, metrics={**level.metrics, **ttft}))
    assert cause(levels, "ttft.p95 < 500ms").key == "prefix_cache"


def test_a_cold_start_is_named_where_higher_loads_are_faster():
    levels = [plain(n, load) for n, load in enumerate(LOADS)]
    cold = figures(2, 0.5, 3.0, 4.0, index=0)
    levels[0] = replace(levels[0], metrics={**levels[0].metrics, **cold.metrics})
    levels = [replace(level, began=1e9 + 60.0 * n, ended=1e9 + 60.0 * (n + 1)) for n, level in enumerate(levels)]
    assert cause(levels, "ttft.p95 < 1s").key == "cold_start"


# ── interruptions ──


def timed(levels):
    return [replace(level, began=1e9 + 60.0 * level.level, ended=1e9 + 60.0 * (level.level + 1)) for level in levels]


def test_a_server_that_was_frozen_is_an_outage_and_no_limit():
    levels = timed([plain(n, load) for n, load in enumerate(LOADS)])
    frozen = with_itl(figures(16, 14.0, 3.0, 5.0, index=3), 0.01)
    streams = Summary(1000, 0.02, 8.1, {"p50": 0.01, "p95": 0.02})
    levels[3] = replace(levels[3], metrics={**frozen.metrics, "itl": streams})
    silent = TelemetryEvent(1e9 + 200.0, "silent", "server:8000", 8.0)
    named = cause(levels[:4], "ttft.p95 < 1s", context=replace(FREE_CLIENT, events=[silent]))
    assert (named.key, named.degree) == ("outage", Degree.SHOWN)


def test_requests_that_wait_for_their_first_token_need_places_even_if_a_larger_batch_is_slow():
    """8 places, steps of 20 ms and 5 ms more for each sequence: with more places, no request would wait."""
    named = cause(batch(limit=8, slope=0.005), "ttft.p95 < 200ms")
    assert (named.key, named.degree) == ("slots", Degree.SHOWN)


def test_telemetry_that_hangs_under_load_is_no_outage_while_tokens_come():
    """vLLM's /metrics hangs for seconds under load."""
    silent = TelemetryEvent(1e9 + 200.0, "silent", "server:8000", 8.0)
    named = cause(timed(batch(limit=8)), context=replace(FREE_CLIENT, events=[silent]))
    assert named.key == "slots"


def test_a_server_that_was_killed_and_restarted_within_a_level_is_an_outage():
    levels = timed([failing(n, load, "connect", 0.1 if n == 3 else 0.0) for n, load in enumerate(LOADS[:4])])
    restart = TelemetryEvent(1e9 + 200.0, "restart", "server:8000")
    named = cause(levels, "errors < 1%", context=replace(FREE_CLIENT, events=[restart]))
    assert (named.key, named.degree) == ("outage", Degree.SHOWN)
    assert "no limit of the load" in named.says


# ── degrees, sources and engines ──


@pytest.mark.parametrize("slope", [0.0, 0.002])
def test_without_telemetry_nothing_is_more_than_suspected_and_the_missing_source_is_named(slope):
    levels = [replace(level, telemetry={}) for level in batch(slope=slope)]
    context = replace(FREE_CLIENT, server="llamacpp")
    known = cause(levels, context=context)
    assert known.key is not None
    assert known.degree == Degree.SUSPECTED
    assert "start it with --metrics" in known.says


def test_an_unknown_cause_names_the_source_that_would_tell():
    levels = [replace(level, metrics={"e2e": level.metrics["e2e"]}, telemetry={}) for level in batch()]
    unknown = cause(levels, "e2e.p95 < 3s", context=Context(server="sglang"))
    assert unknown.degree != Degree.SHOWN
    assert "--enable-metrics" in unknown.says


@pytest.mark.parametrize(
    "given, engine",
    [
        ("vllm 0.32.0", "vLLM"),
        ("vLLM 0.33.0", "vLLM"),
        ("sglang", "SGLang"),
        ("llamacpp", "llama.cpp"),
        ("llama.cpp b11434", "llama.cpp"),
        ("library", "Ollama"),
        ("TGI 3.3", "TGI"),
        ("TensorRT-LLM", "TensorRT-LLM"),
        ("acme", None),
    ],
)
def test_an_engine_is_recognised_by_its_telemetry_or_by_the_owner_of_its_models(given, engine):
    assert engine_of(Context(server=given)) == engine
    assert engine_of(Context(sources=[source(given)])) == engine


def test_the_option_is_that_of_the_engine_and_no_other():
    """vLLM's option was named for llama.cpp, although /v1/models names the owner."""
    levels = batch(limit=8)
    texts = " ".join(advice(levels, context=replace(FREE_CLIENT, server="llamacpp")))
    assert "In llama.cpp: raise -np (now 8)." in texts
    assert "max-num-seqs" not in texts
    assert not any("raise" in text for text in advice(levels))


def test_an_option_that_is_set_already_is_not_named():
    """vLLM's cache_config_info shows that its prefix cache is on, and the type of its KV cache."""
    levels = batch(slots=5, kv=0.94, preempted=58, limit=8, running=4.9)

    def texts(dtype):
        settings = {"cache_dtype": dtype, "gpu_memory_utilization": "0.9"}
        return " ".join(advice(levels, context=replace(FREE_CLIENT, sources=[source("vLLM 0.32.0", **settings)])))

    assert "set --kv-cache-dtype fp8 (now auto)" in texts("auto")
    assert "kv-cache-dtype" not in texts("fp8_e4m3")
    assert "raise --gpu-memory-utilization (now 0.9) and lower --max-model-len" in texts("fp8")


def test_an_opinion_never_is_shown_by_two_gauges_of_one_counter():
    bare = {"running", "waiting"}
    levels = [
        replace(level, telemetry={key: value for key, value in level.telemetry.items() if key in bare})
        for level in batch()
    ]
    named = cause(levels)
    assert named.degree == Degree.SUSPECTED  # a full cache is not excluded
