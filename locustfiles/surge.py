"""How long does the server take to recover from a surge? Loads are requests per second, which a slow server does not reduce.

locust -f locustfiles/surge.py --headless --host http://localhost:8000 --csv reports/surge
llmlocust report reports/surge --threshold "ttft.p95 < 1s" --threshold "errors < 1%"
"""

from llmlocust import ChatUser, Surge


class Chat(ChatUser):
    max_tokens = 128


class Rush(Surge):
    arrivals = "poisson"
    """Arrival process. Without it, loads are users."""
    base = 5
    peak = 30
    seconds = 240
    """Seconds of the plan: 60 baseline, 60 surge, 120 recovery."""
