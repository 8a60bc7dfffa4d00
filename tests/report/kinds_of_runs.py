"""Simulated runs of every kind that a report has sentences for."""

from array import array

from made_run import EPOCH, MadeRun
from made_telemetry import MadeTelemetry

from llmlocust.analysis.gates import Breach
from llmlocust.assessment.assessment import assess
from llmlocust.load.traces import Replay, Trace
from llmlocust.metrics import vocabulary
from llmlocust.metrics.levels import RATE, Level
from llmlocust.metrics.thresholds import Gate, Threshold
from llmlocust.plugin.cluster.lost import WorkerState
from llmlocust.plugin.run.description import failed_check
from llmlocust.plugin.run.lost_workers import loss
from llmlocust.plugin.run.trace_rows import Rows
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.locate import load_run
from llmlocust.text.message import to_json
from tests.plugin.run.fake_cluster import make_run, played

LIMITS = [Threshold.parse("ttft.p95 < 1s"), Threshold.parse("errors < 1%")]
WORDS_OF_THE_RUN = {"time", "Clocks agree."}
"""Words that a page takes from the files of a simulated run: its own check."""


def assessment_of(folder, limits=(), leave_out=(), *, ended=True, **options):
    options = {"loads": (2, 4, 8), "slots": 24, "hold": 10.0, "warmup": 2.0} | options
    return assess(load_run(MadeRun(**options).write(folder / "x", leave_out=leave_out, ended=ended)), limits)


COUNTED = {"unit": "users", "levels": [5], "warmup": None, "hold": None, "requests": 200}


def lost(state, due=None):
    """Return the check of a lost worker. `due`: the requests that it had to send afterwards, if their number is known."""
    return {"checks": [failed_check(loss("a:1", 12.0, state.missing(72.0, due)))]}


def replaying():
    """Return a run that replays a trace of one row per second, before its first row is due."""
    run, _ = make_run({"a": 1, "b": 1})
    trace = Trace("trace.csv", moments=array("d", range(20)), prompt_tokens=array("I", [1] * 20))
    run.assignment.replay(Rows(Replay(trace), ""), "a trace")
    run.begin_level(1.0, RATE)
    run.end_warmup()
    return run


def by_rate():
    """Return a run of open load."""
    run, _ = make_run({"a": 1, "b": 1})
    run.assignment.open("poisson", 50)
    run.begin_level(30.0, RATE)
    return run


def too_few():
    """Return the problem of a run of a fixed number of requests that lost its users."""
    run, cluster = make_run({"a": 1, "b": 1})
    run.assignment.count_requests(4)
    run.begin_level(2)
    run.end_warmup()
    run.merge(played(run, 2), "a")
    cluster.users["b"] = 0
    run.end_level()
    return run.problems[0]


BREACH = Breach(Gate.parse("ttft.p95 < 500ms ~ 1s"), Level(2, 8.0), 10, 20)
SILENT = WorkerState("a:1", sent=90, ended=87)
REPORTING = WorkerState("a:1")
for moment in (3.0, 6.0, 9.0):
    REPORTING.add(moment, 90, 89)
LOST = {
    "whose number of requests is not known": lost(SILENT),
    "by its reports": lost(REPORTING),
    "by its share of the rate": lost(SILENT, by_rate().assignment.due_of("b", 2.0, 6.0)),
    "by its share of the trace": lost(SILENT, replaying().assignment.due_of("b", 5.0, 15.0)),
}
TRACE = {
    "plan": {"unit": "users", "levels": [2, 4, 8], "warmup": 0.0, "hold": 10.0, "trace": {"rows": 9, "speed": 2.0}},
    "checks": [failed_check(replaying().assignment.missing_rows())],
}
RAMP = {"loads": (5, 10, 20, 40, 60, 90), "hold": 30.0}
GATES = (
    "ttft.p95 < 500ms ~ 1s @ 5, ttft.p95 < 200ms ~ 1s @ 10, e2e.p95 < 3s, gpu.utilisation < 90% @ 5, errors < 1% @ 7"
)
RUNS = {
    "ramp": {"limits": LIMITS, **RAMP},
    "derived": RAMP,
    "not reached": {"limits": LIMITS},
    "empty answers": {"limits": LIMITS, "empty": (1, 2)},
    "only empty answers": {"empty": (0, 1, 2)},
    "stopped": {
        "limits": LIMITS,
        "loads": (2, 4),
        "last_hold": 2.2,
        "info": {"plan": {"unit": "users", "levels": [2, 4, 8], "warmup": 2.0, "hold": 10.0}, "stopped": True},
    },
    "ended by a gate": {
        "limits": LIMITS,
        "last_hold": 2.2,
        "info": {"ended_by": to_json(BREACH.name), "stopped": True},
    },
    "gates": {"info": {"options": {"llm_threshold": GATES}}, **RAMP},
    "gates in doubt": {
        "last_hold": 2.2,
        "info": {"options": {"llm_threshold": "e2e.p95 < 60s, itl.p99 < 1ms"}, "stopped": True},
    },
    "gates of few requests": {
        "limit": 0.001,
        "info": {"options": {"llm_threshold": "ttft.p95 < 1s @ 2, itl.p99 < 1s"}},
    },
    "dies": {"limits": LIMITS, "dies": 17.0},
    "no server": {"dies": -1.0},
    **{f"unsent, {kind}": {"limits": LIMITS, "unsent": (kind, 0.9)} for kind in vocabulary.CLIENT_KINDS},
    "starved": {
        "limits": LIMITS,
        "starved": {"throttled": 0.4, "core_wait": 0.5, "loop_lag": 9000.0, "turn_wait": 9000.0, "client_queue": 165.0},
    },
    "paused": {"limits": LIMITS, "paused": 0.6},
    "paused, with many failures": {"limits": LIMITS, "paused": 0.6, **RAMP},
    "hardly paused": {"limits": LIMITS, "paused": 0.02},
    "a level without requests": {"limits": LIMITS, "silent": (2,), "paused": 0.97},
    "a level of long requests": {"limits": LIMITS, "silent": (1,)},
    **{f"a lost worker, {kind}": {"info": info} for kind, info in LOST.items()},
    "a run that sent too few requests": {"info": {"checks": [failed_check(too_few())]}},
    "rows of another run": {"info": {"started": EPOCH + 20.0, "rows": {"seen": 9, "kept": 9}}},
    "rows are missing": {"info": {"rows": {"seen": 9**6, "kept": 9**6}}},
    "no rows": {"leave_out": (formats.REQUESTS,)},
    "read by the event loop": {"info": {"clocks": {"kernel": 4000}, "readers": {"native": 1000, "loop": 3000}}},
    "two clocks": {"info": {"clocks": {"kernel": 4000, "user": 40}}},
    "two clocks, late": {"info": {"clocks": {"kernel": 4, "user": 4}}, "starved": {"loop_lag": 9000.0}},
    "two clocks, one hardly used": {"info": {"clocks": {"kernel": 4999, "user": 1}}},
    "outage": {"limits": LIMITS, "out": ("connect", 27.0, 32.0)},
    "outages": {"limits": LIMITS, "loads": (2, 4, 8, 16), "out": ("connect", 21.0, 27.0)},
    "few unsent": {"limits": LIMITS, "unsent": ("client_limit", 0.005), **RAMP},
    "all unsent": {"limits": LIMITS, "unsent": ("name_lookup", 1.0)},
    "no success": {"limit": 0.001},
    "no streams": {"limits": LIMITS, "streams": False},
    "one level": {"loads": (5,)},
    "progressive": {
        "limits": LIMITS,
        "loads": (4, 4, 12, 20, 60, 4, 10),
        "phases": ("baseline", "linear", "linear", "linear", "surge", "recovery", "soak"),
        "hold": 20.0,
    },
    "surge": {"loads": (6, 60, 6), "phases": ("baseline", "surge", "recovery"), "hold": 30.0},
    "spike without thresholds": {"loads": (2, 4, 2), "phases": ("baseline", "spike", "recovery"), "hold": 2.0},
    "soak": {"loads": (10,), "phases": ("soak",), "hold": 60.0},
    "short soak": {"loads": (1,), "phases": ("soak",), "hold": 4.0, "limits": LIMITS},
    "wave": {"loads": (2, 20, 40, 20), "phases": ("rise", "rise", "rise", "fall")},
    "one level with thresholds": {"loads": (5,), "limits": LIMITS},
    "fixed number": {"loads": (5,), "slots": 3, "warmup": 0.0, "hold": 4.0, "info": {"plan": COUNTED}},
    "fixed number, stopped": {"loads": (5,), "info": {"plan": COUNTED, "stopped": True}},
    "fixed number, no streams": {"loads": (5,), "streams": False, "info": {"plan": COUNTED}},
    "fixed number, no success": {"loads": (5,), "limit": 0.001, "info": {"plan": COUNTED}},
    "a trace that meets its thresholds": {"limits": [Threshold.parse("ttft.p95 < 100s")], "info": TRACE},
    "a trace that violates them": {"limits": LIMITS, **RAMP, "info": TRACE},
    "a trace without thresholds": {"info": TRACE},
    "telemetry": {"limits": LIMITS, **RAMP, "telemetry": MadeTelemetry()},
    "telemetry of a server that works for others, too": {"telemetry": MadeTelemetry(more=3.0, gpu=False)},
    "telemetry of a server that counts more": {"telemetry": MadeTelemetry(more=3.0, without={"generation_tokens"})},
    "telemetry of one of three replicas": {**RAMP, "telemetry": MadeTelemetry(more=0.33)},
    "killed": {"ended": False},
    "no requests": {"leave_out": (formats.REQUESTS,)},
    "no histograms": {"leave_out": (formats.HISTOGRAMS,)},
    "no timeline": {"leave_out": (formats.TIMELINE,)},
    "no run.json": {"leave_out": (formats.RUN,)},
    "no levels": {"leave_out": (formats.LEVELS,)},
}
