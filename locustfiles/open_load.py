"""What happens if more requests arrive than the server can handle? Requests arrive at a rate that does not depend on the server.

    locust -f locustfiles/open_load.py --headless --host http://localhost:8000 --csv reports/rates
    llmlocust report reports/rates --threshold "ttft.p95 < 1s"

Users wait for their answers, so a slow server gets fewer requests; with a rate it does not. docs/open-load.md explains it.
"""

from llmlocust import ChatUser, RateRamp


class Chat(ChatUser):
    max_tokens = 128


class Rates(RateRamp):
    levels = (1, 2, 5, 10, 20, 50)
    """Requests per second."""
    arrivals = "poisson"
    """constant, poisson, gamma:2 (burstier) or bursts:10 (ten at a time)."""
    warmup = 5
    hold = 30
