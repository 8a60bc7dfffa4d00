"""Everything in one run: a baseline, a linear ramp, a surge above it and the recovery from it, a soak.

    locust -f locustfiles/progressive.py --headless --host http://localhost:8000 --csv reports/progressive
    llmlocust report reports/progressive --threshold "ttft.p95 < 1s" --threshold "errors < 1%"

The report tells the parts apart, and reads the four numbers from the way up alone.
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
    """120 of the baseline, 420 of the ramp, 120 of the surge, 180 of the recovery, 360 of the soak."""
