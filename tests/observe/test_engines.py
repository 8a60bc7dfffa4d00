"""The rules of `llmlocust.observe.engines` on sample expositions, and on recordings of real servers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmlocust.metrics.telemetry import VOCABULARY
from llmlocust.observe.engines import ENGINES, HINTS, engines_of
from llmlocust.observe.engines.machines import NODE_EXPORTER
from llmlocust.observe.engines.servers import LLAMACPP, SGLANG, TGI, TRITON, VLLM
from llmlocust.observe.rules import Engine, Labels, Rule
from tools import write_telemetry_tables

EXPOSITIONS = Path(__file__).parent / "expositions"
SAMPLES = {path.relative_to(EXPOSITIONS).as_posix(): path for path in sorted(EXPOSITIONS.rglob("*.prom"))}
EXPECTED = json.loads((EXPOSITIONS / "expected.json").read_text())
RULES = [(engine, rule) for engine in ENGINES for rule in engine.rules]
ENGINE_OF = {"vllm": "vLLM", "sglang": "SGLang", "tgi": "TGI", "llamacpp": "llama.cpp", "triton": "Triton"}
ENGINE_OF |= {"dcgm": "DCGM exporter", "node_exporter": "node_exporter"}

ELSEWHERE = {
    # vLLM until 0.9
    *("vllm:gpu_cache_usage_perc", "vllm:gpu_prefix_cache_hits", "vllm:gpu_prefix_cache_queries"),
    "vllm:time_per_output_token_seconds",
    # SGLang: /v1/loads, separate prefill and decode, settings, and an older release
    *("sglang_loads_running", "sglang_loads_waiting", "sglang_loads_token_usage"),
    *("sglang:num_prefill_bootstrap_queue_reqs", "sglang:num_prefill_inflight_queue_reqs"),
    *("sglang:num_decode_transfer_queue_reqs", "sglang:per_stage_req_latency_seconds", "sglang:process_cpu_seconds"),
    *("sglang:page_size", "sglang:context_len", "sglang:time_per_output_token_seconds"),
    # llama.cpp's /slots
    *("llamacpp_slots_busy", "llamacpp_slots_total"),
    # Triton, by option
    *("nv_inference_first_response_histogram_ms", "nv_cpu_memory_used_bytes", "nv_cpu_memory_total_bytes"),
    # DCGM, by the exporter's list of counters
    *("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "DCGM_FI_DEV_POWER_MGMT_LIMIT"),
    *("DCGM_FI_DEV_POWER_VIOLATION", "DCGM_FI_DEV_THERMAL_VIOLATION"),
    # node_exporter: absent from the sample
    *("node_memory_SwapTotal_bytes", "node_memory_SwapFree_bytes", "node_exporter_build_info"),
}
"""Names that no sample has, with the reason."""


def series(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, labels, value = re.fullmatch(r"([\w:]+)(?:\{(.*)\})? (\S+)", line).groups()
            yield name, dict(re.findall(r'(\w+)="([^"]*)"', labels or "")), float(value)


def names_of(text: str) -> set[str]:
    return {name for name, _, _ in series(text)}


def has(name: str, present: set[str]) -> bool:
    return any(name + suffix in present for suffix in ("", "_total", "_count"))


def accepts(where: Labels, labels: dict[str, str]) -> bool:
    for label, accepted in where.items():
        values, value = (accepted,) if isinstance(accepted, str) else accepted, labels.get(label, "")
        if value not in values if not values[0].startswith("!") else f"!{value}" in values:
            return False
    return True


def total(names: tuple[str, ...], where: Labels, adds: bool, text: str) -> float | None:
    """Return the sum of the series of counters, and nothing if the exposition does not have them."""
    present = tuple(name for name in names if has(name, names_of(text)))
    if not present or (adds and present != names):
        return None
    forms = {form for name in (present if adds else present[:1]) for form in (name, f"{name}_total")}
    return sum(value for name, labels, value in series(text) if name in forms and accepts(where, labels))


def increase(engine: Engine, key: str, sample: str) -> float:
    """Return the increase from one exposition to the next by the first rule with values, in the vocabulary's unit."""
    before, after = (SAMPLES[f"{sample}{which}.prom"].read_text() for which in ("", ".later"))
    for rule in (rule for rule in engine.rules if rule.key == key):
        start, end = (total(rule.names, rule.where, rule.adds, text) for text in (before, after))
        if end is not None or rule.absent_is_zero:
            value = ((end or 0) - (start or 0)) * rule.scale
            if rule.per:
                start, end = (total(rule.per, rule.per_where, rule.adds, text) for text in (before, after))
                value /= end - start
            return 1 - value if rule.complement else value
    raise AssertionError(f"{engine.name} has no {key}")


@pytest.mark.parametrize("engine, rule", RULES, ids=lambda value: getattr(value, "key", getattr(value, "name", "")))
def test_a_rule_is_complete(engine: Engine, rule: Rule):
    assert rule.key in VOCABULARY
    assert rule.names
    assert bool(rule.per) == (rule.kind == "ratio") or rule.kind == "gauge"
    assert rule.per or not rule.complement
    assert not rule.minus or rule.kind == "gauge"
    assert not rule.product or rule.kind == "gauge"
    if rule.kind in ("counter", "rate", "ratio"):
        assert not any(name.endswith("_total") for name in (*rule.names, *rule.per))
    for accepted in (*rule.where.values(), *rule.per_where.values()):
        assert len({value.startswith("!") for value in ((accepted,) if isinstance(accepted, str) else accepted)}) == 1


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_no_engine_computes_a_metric_twice_from_the_same_series(engine: Engine):
    rules = [(rule.key, name, str(rule.where), rule.adds, rule.per) for rule in engine.rules for name in rule.names]
    assert len(set(rules)) == len(rules)
    assert len({other.name for other in ENGINES}) == len(ENGINES)


def test_every_metric_of_the_vocabulary_has_a_rule():
    assert {rule.key for _, rule in RULES} == set(VOCABULARY)


@pytest.mark.parametrize(
    "engine", [engine for engine in ENGINES if engine.name in ENGINE_OF.values()], ids=lambda e: e.name
)
def test_every_name_is_in_a_sample_or_is_known_to_be_elsewhere(engine: Engine):
    used = {name for rule in engine.rules for name in (*rule.names, *rule.per, *rule.minus)}
    used |= {setting.partition("{")[0] for setting in engine.settings.values()} | set((engine.version or ())[:1])
    present = set().union(*(names_of(path.read_text()) for path in SAMPLES.values()))
    assert {name for name in used if not has(name, present)} <= ELSEWHERE


def test_no_name_is_listed_as_elsewhere_without_need():
    present = set().union(*(names_of(path.read_text()) for path in SAMPLES.values()))
    assert not {name for name in ELSEWHERE if has(name, present)}


SERIES = [row for path in SAMPLES.values() for row in series(path.read_text())]


@pytest.mark.parametrize(
    "rule", [rule for _, rule in RULES if rule.kind in ("gauge", "histogram", "changes")], ids=lambda rule: rule.key
)
def test_labels_of_a_rule_are_those_of_the_samples(rule: Rule):
    for names, where in ((rule.names, rule.where), (rule.per, rule.per_where)):
        present = [labels for name, labels, _ in SERIES if name.removesuffix("_count") in names]
        matching = [labels for labels in present if accepts(where, labels)]
        if "server" not in where:  # no sample is of a router
            assert bool(matching) == bool(present)
        for labels in matching:
            assert set(rule.product) <= set(labels)
            assert not rule.by or set(rule.by) & set(labels)


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_is_recognised(sample):
    names = names_of(SAMPLES[sample].read_text())
    family = re.match(r"(vllm|sglang|tgi|llamacpp|triton|dcgm|node_exporter)", sample.rpartition("/")[2])[1]
    processes = ("Python process",) if "python_info" in names else ()
    assert tuple(engine.name for engine in engines_of(names)) == (ENGINE_OF[family], *processes)


@pytest.mark.parametrize(
    "names, engines",
    [
        (["vllm:num_requests_running", "vllm:current_qps", "vllm:healthy_pods_total"], ["vLLM router"]),
        (["ray_vllm_kv_cache_usage_perc", "ray_vllm_num_requests_running"], ["vLLM"]),
        (["vllm_request_success"], ["vLLM"]),
        (["amd_gpu_gfx_activity"], ["AMD exporter"]),
        (["nginx_vts_info"], ["nginx VTS"]),
        (["nginx_up", "nginx_connections_active", "process_cpu_seconds_total"], ["nginx"]),
        (["dynamo_component_inflight_requests", "sglang:token_usage"], ["SGLang", "Dynamo worker"]),
        (["dynamo_frontend_inflight_requests", "dynamo_component_router_requests_total"], ["Dynamo front end"]),
        (["llmlocust_users", "llmlocust_requests_in_flight", "llmlocust_client_cpu_ratio"], []),
        (["te_queue_size"], ["TEI"]),
        (["container_memory_working_set_bytes"], ["cAdvisor"]),
        (["llmlocust_container_memory_bytes"], ["local containers"]),
        ([], []),
    ],
)
def test_names_are_recognised(names, engines):
    assert [engine.name for engine in engines_of(names)] == engines


@pytest.mark.parametrize(
    "sample, engine, keys",
    [
        ("vllm", VLLM, {}),
        ("vllm_dp2", VLLM, {}),
        ("sglang", SGLANG, {"retractions": "preemptions"}),
        ("tgi", TGI, {"success": "finished", "failure": "rejected", "generated_tokens": "generation_tokens"}),
        ("triton", TRITON, {"success": "finished"}),
        ("node_exporter", NODE_EXPORTER, {"cpu_busy_share": "cpu", "retransmits": "network.retransmits"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_increases_are_those_that_the_samples_were_made_with(sample, engine, keys):
    deltas = EXPECTED[sample]["delta"]
    compared = {name: keys.get(name, name) for name in deltas if keys.get(name, name) in VOCABULARY}
    for name, key in compared.items():
        assert increase(engine, key, sample) == pytest.approx(deltas[name], rel=1e-3), name
    assert len(compared) >= 3 or sample == "triton"


def test_increases_of_other_rules():
    assert increase(TRITON, "rejected", "triton") == EXPECTED["triton"]["delta"]["rejected"]
    delta = EXPECTED["triton"]["delta"]
    assert increase(TRITON, "server.queue", "triton") == pytest.approx(delta["queue_us"] / 1e6 / delta["success"])
    assert increase(TRITON, "failed", "triton") == increase(TGI, "aborted", "tgi") == 0
    delta = EXPECTED["llamacpp"]["delta"]
    assert increase(LLAMACPP, "generation_tokens", "llamacpp") == delta["tokens_predicted_total"]
    assert increase(LLAMACPP, "steps", "llamacpp") == delta["n_decode_total"]
    assert increase(LLAMACPP, "computed_tokens", "llamacpp") == 13340  # it writes six digits: expected.json
    dcgm = next(engine for engine in ENGINES if engine.name == "DCGM exporter")
    delta = EXPECTED["dcgm"]["delta"]
    assert increase(dcgm, "gpu.energy", "dcgm") == pytest.approx(delta["gpu0_joules"] + delta["gpu1_joules"])


def test_a_router_is_not_an_engine():
    text = 'vllm:num_requests_running{server="http://a:8000"} 7\nvllm:num_requests_running{engine="0"} 3\n'
    rules = {rule.key: rule for engine in ENGINES for rule in engine.rules if "vllm:num_requests_running" in rule.names}
    assert {key: total(rule.names, rule.where, False, text) for key, rule in rules.items()} == {
        "running": 3,
        "proxy.in_flight": 7,
    }


def test_names_of_ray_and_of_a_prefix_become_those_of_the_rules():
    assert VLLM.renamed("ray_vllm_num_requests_running") == VLLM.renamed("vllm_num_requests_running")
    assert VLLM.renamed("ray_vllm_num_requests_running") == "vllm:num_requests_running"
    assert VLLM.renamed("vllm:num_requests_running") == "vllm:num_requests_running"


def test_every_exporter_of_others_has_a_hint():
    assert set(HINTS) == {engine.name for engine in ENGINES if not engine.name.startswith("local ")}
    assert all(hint.endswith(".") and "\n" not in hint for hint in HINTS.values())


def test_the_page_has_the_tables_of_the_code():
    text = write_telemetry_tables.PAGE.read_text(encoding="utf-8")
    assert write_telemetry_tables.page(text) == text, "python tools/write_telemetry_tables.py"
