"""How long until it is well again after a surge? Here in requests a second: they do not spare a server that is slow.

locust -f locustfiles/surge.py --headless --host http://localhost:8000 --csv reports/surge
llmlocust report reports/surge --threshold "ttft.p95 < 1s" --threshold "errors < 1%"
"""

from llmlocust import ChatUser, Surge


class Chat(ChatUser):
    max_tokens = 128


class Rush(Surge):
    arrivals = "poisson"
    """Without it, loads are users."""
    base = 5
    peak = 30
    seconds = 240
    """60 at rest, 60 of the surge, 120 to be well again in."""
