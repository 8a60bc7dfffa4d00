"""All phases in one run: a baseline, a linear ramp, a surge above it, the recovery, and a soak.

    locust -f locustfiles/progressive.py --headless --host http://localhost:8000 --csv reports/progressive
    llmlocust report reports/progressive --threshold "ttft.p95 < 1s" --threshold "errors < 1%"

The report distinguishes the phases, and derives the four numbers only from the ramp.
"""

from llmlocust import ChatUser, Progressive


class Chat(ChatUser):
    max_tokens = 128


class Plan(Progressive):
    base = 5
    peak = 60
    surge = 90
    soak = 30
    seconds = 1200
    """Seconds of the plan: 120 baseline, 420 ramp, 120 surge, 180 recovery, 360 soak."""
