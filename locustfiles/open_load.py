"""What happens when more people come than the server can take? Requests arrive at a rate, whatever the server does.

    locust -f locustfiles/open_load.py --headless --host http://localhost:8000 --csv reports/rates
    llmlocust report reports/rates --threshold "ttft.p95 < 1s"

Users wait for their answers, and so spare a slow server: a rate does not. docs/open-load.md says how it is kept.
"""

from llmlocust import ChatUser, RateRamp


class Chat(ChatUser):
    max_tokens = 128


class Rates(RateRamp):
    levels = (1, 2, 5, 10, 20, 50)
    """Requests a second."""
    arrivals = "poisson"
    """constant, poisson, gamma:2 (burstier) or bursts:10 (ten at once)."""
    warmup = 5
    hold = 30
