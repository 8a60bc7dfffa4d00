"""Made runs of every kind that a report has sentences for."""

from made_run import EPOCH, MadeRun

from llmlocust.assessment.assessment import assess
from llmlocust.metrics import vocabulary
from llmlocust.metrics.thresholds import Threshold
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.locate import load_run

LIMITS = [Threshold.parse("ttft.p95 < 1s"), Threshold.parse("errors < 1%")]
OF_THE_RUN = {"time", "Clocks agree."}
"""A made run's own check: words that come from the file."""


def made(folder, limits=(), leave_out=(), *, ended=True, **how):
    how = {"loads": (2, 4, 8), "slots": 24, "hold": 10.0, "warmup": 2.0} | how
    return assess(load_run(MadeRun(**how).write(folder / "x", leave_out=leave_out, ended=ended)), limits)


COUNTED = {"unit": "users", "levels": [5], "warmup": None, "hold": None, "requests": 200}
TRACE = {
    "plan": {"unit": "users", "levels": [2, 4, 8], "warmup": 0.0, "hold": 10.0, "trace": {"rows": 9, "speed": 2.0}},
    "checks": [
        {
            "name": "run",
            "ok": False,
            "says": "10 of the trace's 20 rows were never due: a worker was lost, or does not have the trace.",
        }
    ],
}
LOST = "Worker a:1 was lost 12 s into the run: the figures lack at least 3 of its requests (in flight at its last report), and "
LATER = [
    "those that it sent later (their number is not known).",
    *(
        f"probably about 1900 more that it sent until second 72 (estimated from {basis})."
        for basis in ("the rate of its last reports", "its share of the rate", "its share of the trace")
    ),
]
RAMP = {"loads": (5, 10, 20, 40, 60, 90), "hold": 30.0}
GATES = (
    "ttft.p95 < 500ms ~ 1s @ 5, ttft.p95 < 200ms ~ 1s @ 10, e2e.p95 < 3s, gpu.utilisation < 90% @ 5, errors < 1% @ 7"
)
RUNS = {
    "ramp": {"limits": LIMITS, **RAMP},
    "derived": RAMP,
    "not reached": {"limits": LIMITS},
    "empty answers": {"limits": LIMITS, "empty": (1, 2)},
    "nothing but empty answers": {"empty": (0, 1, 2)},
    "stopped": {
        "limits": LIMITS,
        "loads": (2, 4),
        "last_hold": 2.2,
        "told": {"plan": {"unit": "users", "levels": [2, 4, 8], "warmup": 2.0, "hold": 10.0}, "stopped": True},
    },
    "ended by a gate": {
        "limits": LIMITS,
        "last_hold": 2.2,
        "told": {"ended_by": "ttft.p95 < 500ms ~ 1s at 8 users", "stopped": True},
    },
    "gates": {"told": {"options": {"llm_threshold": GATES}}, **RAMP},
    "gates in doubt": {
        "last_hold": 2.2,
        "told": {"options": {"llm_threshold": "e2e.p95 < 60s, itl.p99 < 1ms"}, "stopped": True},
    },
    "gates of few requests": {
        "limit": 0.001,
        "told": {"options": {"llm_threshold": "ttft.p95 < 1s @ 2, itl.p99 < 1s"}},
    },
    "dies": {"limits": LIMITS, "dies": 17.0},
    "no server": {"dies": -1.0},
    **{f"lacks, {kind}": {"limits": LIMITS, "lacks": (kind, 0.9)} for kind in vocabulary.CLIENT_KINDS},
    "starved": {
        "limits": LIMITS,
        "starved": {"throttled": 0.4, "core_wait": 0.5, "loop_lag": 9000.0, "turn_wait": 9000.0, "client_queue": 165.0},
    },
    "paused": {"limits": LIMITS, "paused": 0.6},
    "paused, where many fail": {"limits": LIMITS, "paused": 0.6, **RAMP},
    "hardly paused": {"limits": LIMITS, "paused": 0.02},
    "a level without requests": {"limits": LIMITS, "silent": (2,), "paused": 0.97},
    "a level of long requests": {"limits": LIMITS, "silent": (1,)},
    "lost workers": {"told": {"checks": [{"name": "run", "ok": False, "says": LOST + later} for later in LATER]}},
    "rows of another run": {"told": {"started": EPOCH + 20.0, "rows": {"seen": 9, "kept": 9}}},
    "rows are missing": {"told": {"rows": {"seen": 9**6, "kept": 9**6}}},
    "no rows": {"leave_out": (formats.REQUESTS,)},
    "two clocks": {"told": {"clocks": {"kernel": 4000, "user": 40}}},
    "two clocks, late": {"told": {"clocks": {"kernel": 4, "user": 4}}, "starved": {"loop_lag": 9000.0}},
    "two clocks, hardly": {"told": {"clocks": {"kernel": 4999, "user": 1}}},
    "outage": {"limits": LIMITS, "out": ("connect", 27.0, 32.0)},
    "outages": {"limits": LIMITS, "loads": (2, 4, 8, 16), "out": ("connect", 21.0, 27.0)},
    "lacks a little": {"limits": LIMITS, "lacks": ("client_limit", 0.005), **RAMP},
    "lacks all": {"limits": LIMITS, "lacks": ("name_lookup", 1.0)},
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
    "spike without a word": {"loads": (2, 4, 2), "phases": ("baseline", "spike", "recovery"), "hold": 2.0},
    "soak": {"loads": (10,), "phases": ("soak",), "hold": 60.0},
    "short soak": {"loads": (1,), "phases": ("soak",), "hold": 4.0, "limits": LIMITS},
    "wave": {"loads": (2, 20, 40, 20), "phases": ("rise", "rise", "rise", "fall")},
    "one level with limits": {"loads": (5,), "limits": LIMITS},
    "fixed number": {"loads": (5,), "slots": 3, "warmup": 0.0, "hold": 4.0, "told": {"plan": COUNTED}},
    "fixed number, stopped": {"loads": (5,), "told": {"plan": COUNTED, "stopped": True}},
    "fixed number, no streams": {"loads": (5,), "streams": False, "told": {"plan": COUNTED}},
    "fixed number, no success": {"loads": (5,), "limit": 0.001, "told": {"plan": COUNTED}},
    "a trace that keeps its limits": {"limits": [Threshold.parse("ttft.p95 < 100s")], "told": TRACE},
    "a trace that breaks them": {"limits": LIMITS, **RAMP, "told": TRACE},
    "a trace without limits": {"told": TRACE},
    "killed": {"ended": False},
    "no requests": {"leave_out": (formats.REQUESTS,)},
    "no histograms": {"leave_out": (formats.HISTOGRAMS,)},
    "no timeline": {"leave_out": (formats.TIMELINE,)},
    "no run.json": {"leave_out": (formats.RUN,)},
    "no levels": {"leave_out": (formats.LEVELS,)},
}
