"""Increases over a window are exactly those that the sample expositions were made with, also over a restart."""

import json
from pathlib import Path

import pytest

from llmlocust.observe.account import Account
from llmlocust.observe.engines import ENGINES

SAMPLES = Path(__file__).parent / "expositions"
EXPECTED = json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8"))
SECONDS = 30.0
ZEROS = {"vllm": "vllm:", "sglang": "sglang:", "llamacpp": "llamacpp:"}


def text(name):
    return (SAMPLES / f"{name}.prom").read_bytes()


def counted(*scrapes):
    """Return the summaries of a window over scrapes that are 30 s apart, and the account."""
    account = Account(ENGINES)
    account.begin(0, 0.0)
    moment = 0.0
    for scrape in scrapes:
        account.take(moment, scrape)
        moment += SECONDS
    account.end(0, moment - SECONDS)
    account.take(moment, scrapes[-1])
    return {result.rule.key: result.summary for result in account.results(0)}, account


@pytest.mark.parametrize(
    ("sample", "keys"),
    [
        ("vllm", {}),
        ("vllm_dp2", {}),
        ("sglang", {"retractions": "preemptions"}),
        ("tgi", {"success": "finished", "generated_tokens": "generation_tokens"}),
        ("llamacpp", {"tokens_predicted_total": "generation_tokens", "n_decode_total": "steps"}),
        ("triton", {"success": "finished", "rejected": "rejected"}),
        ("node_exporter", {"retransmits": "network.retransmits", "oom_kills": "oom_kills"}),
    ],
)
def test_increases_are_exact(sample, keys):
    deltas = EXPECTED[sample]["delta"]
    figures, _ = counted(text(sample), text(f"{sample}.later"))
    names = {name: keys.get(name, name) for name in deltas}
    compared = {name: figures[key].increase for name, key in names.items() if key in figures}
    assert compared
    assert compared == pytest.approx({name: deltas[name] for name in compared}, rel=1e-12)


def test_increases_that_are_sums_or_quotients_are_exact():
    figures, _ = counted(text("tgi"), text("tgi.later"))
    failures = sum(figures[key].increase for key in ("failed", "aborted", "rejected"))
    assert failures == EXPECTED["tgi"]["delta"]["failure"]
    figures, _ = counted(text("triton"), text("triton.later"))
    delta = EXPECTED["triton"]["delta"]
    assert figures["server.queue"].mean == pytest.approx(delta["queue_us"] / delta["success"] / 1e6)
    figures, _ = counted(text("dcgm"), text("dcgm.later"))
    joules = EXPECTED["dcgm"]["delta"]["gpu0_joules"] + EXPECTED["dcgm"]["delta"]["gpu1_joules"]
    assert figures["gpu.energy"].increase == pytest.approx(joules)
    figures, _ = counted(text("node_exporter"), text("node_exporter.later"))
    assert figures["cpu"].mean == pytest.approx(EXPECTED["node_exporter"]["delta"]["cpu_busy_share"], abs=5e-4)
    figures, _ = counted(text("llamacpp"), text("llamacpp.later"))
    assert figures["computed_tokens"].increase == 13340  # llama.cpp prints six digits


@pytest.mark.parametrize("sample", ["vllm", "vllm_dp2", "sglang", "tgi", "llamacpp", "triton"])
def test_a_restart_between_two_scrapes_adds_what_the_new_process_counted(sample):
    """The process restarts after the later scrape; the new one then counts as much as the first sample shows."""
    once, _ = counted(text(sample), text(f"{sample}.later"))
    figures, account = counted(text(sample), text(f"{sample}.later"), text(sample))
    alone = Account(ENGINES)
    alone.begin(0, 0.0)
    alone.take(0.0, b"other 1\n")
    alone.end(0, SECONDS)
    alone.take(SECONDS, text(sample))
    alone.take(2 * SECONDS, text(sample))
    anew = {result.rule.key: result.summary for result in alone.results(0)}
    assert account.restarts == 1
    counters = [result.rule.key for result in account.results(0) if result.rule.kind == "counter"]
    assert len(counters) >= 2
    for key in counters:
        assert figures[key].increase == pytest.approx(once[key].increase + anew[key].increase), key


@pytest.mark.parametrize("sample", sorted(path.name for path in SAMPLES.glob("recordings/*.prom")))
def test_recordings_of_real_servers_give_their_main_figures(sample):
    _, account = counted((SAMPLES / "recordings" / sample).read_bytes())
    engine = "vLLM" if sample.startswith("vllm") else "llama.cpp"
    assert engine in [known.name for known in account.engines]
    assert {"running", "waiting", "generation_tokens", "prompt_tokens"} <= set(account.exposes)
